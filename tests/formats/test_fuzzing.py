"""A few mutants of every file that hpax reads; `python -m experiments.fuzz_files` tries as many as one likes."""

import json
import os
import pathlib
import signal
import time
import typing

import numpy as np
import pytest

from experiments import fuzz_files
from hpax.formats import fuzzing, mutants
from hpax.recipes import fuzz_samples

SAMPLES = {f"{kind}/{sample.name}": sample for kind in fuzz_files.KINDS for sample in fuzz_samples.samples(kind)}
MANY = {"tables": 10_000, "pictures": 1000, "masks": 1000, "networks": 1000, "archives": 1000}
FEW = 50


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sound_file_is_read_and_mutants_are_read_or_refused_by_name(tmp_path, name):
    sample = SAMPLES[name]
    path = tmp_path / sample.name
    path.write_bytes(sample.data)
    assert fuzzing.outcome(sample, path) == fuzzing.READ
    ends = []
    for number in range(FEW):
        path.write_bytes(sample.mutant(number, seed=1))
        ends.append(fuzzing.outcome(sample, path))
    assert set(ends) <= {fuzzing.READ, fuzzing.REFUSED}
    assert ends.count(fuzzing.REFUSED) > FEW / 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz_files.KINDS)
def test_many_mutants_are_read_or_refused_in_bounds(tmp_path, kind):
    assert fuzz_files.main(["--kinds", kind, "--mutants", str(MANY[kind]), "--workdir", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "default" / "seed0" / "result.json").read_text())
    assert record["counts"][f"{kind}, mutants"] == MANY[kind] * len(fuzz_samples.samples(kind))
    assert record["metrics"][f"{kind}, read"] > 0


def by_content(path: pathlib.Path) -> bytes:
    """A reader that errs in every way that its file asks for: some of three bytes each."""
    data = path.read_bytes()
    errors = {
        b"key": KeyError("id"),
        b"own": ValueError("it names no file"),
        b"fat": ValueError(f"{path}: {'x' * 5000}"),
    }
    if data[:3] in errors:
        raise errors[data[:3]]
    if data == b"lag":
        time.sleep(60)
    if data == b"big":
        np.ones(2**29)
    if data == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if data != b"yes":
        raise ValueError(f"{path} is none")
    return data


class Listed(fuzzing.Sample):
    """One whose mutants are known."""

    ENDS: typing.ClassVar = {
        "yes": "read",
        "non": "refused",
        "key": "KeyError",
        "own": "does not name",
        "fat": "characters",
    }
    ENDS |= {"lag": "it took too long", "big": "MemoryError", "die": "the process died", "yes!": "refused"}

    def mutant(self, number: int, seed: int) -> bytes:
        return list(self.ENDS)[number].encode()


def test_a_trial_finds_every_way_to_escape_and_keeps_the_file(tmp_path):
    sample = Listed("a.txt", "text", b"yes", by_content)
    limits = fuzzing.Limits(seconds=2, memory=2**30)
    trial = fuzzing.trial(sample, tmp_path, mutants=len(sample.ENDS), limits=limits)
    assert (trial.read, trial.refused, trial.mutants) == (1, 2, len(sample.ENDS))
    escaped = {number: end for number, end in enumerate(sample.ENDS.values()) if end not in ("read", "refused")}
    for (number, end), told in zip(escaped.items(), trial.escapes, strict=True):
        assert told.startswith(f"mutant {number}: ")
        assert end in told
        assert (tmp_path / "escapes" / f"{number}-a.txt").read_bytes() == sample.mutant(number, 0)
    assert 1.9 < trial.slowest < 10


def test_mutants_are_functions_of_their_number(tmp_path):
    sample = SAMPLES["masks/a.png"]
    assert sample.mutant(3, 0) == sample.mutant(3, 0)
    different = {sample.mutant(number, seed) for number in range(50) for seed in (0, 1)}
    assert len(different) > 80


@pytest.mark.parametrize("content", mutants.CHANGES)
def test_nothing_is_too_short_to_be_changed(content):
    rng = np.random.default_rng(0)
    for data in (b"", b"a", b"\x89PNG\r\n\x1a\n", b"PK\1\2", b"\2\0\0\0\0\0\0\0{}"):
        for _ in range(100):
            assert isinstance(mutants.mutant(data, content, rng), bytes)
