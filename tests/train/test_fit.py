"""Killed and resumed runs end in the same state; what a run leaves on disk."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import fakes
import jax
import numpy as np
import optax
import pytest

from hpax import files, train
from hpax.train import identity, log
from hpax.train.checkpoint import load


def run(**changes) -> train.Run:
    default = train.Run(
        fakes.Regression(noise=0.1),
        fakes.Numbers(),
        optax.adam(0.05),
        steps=12,
        seed=3,
        validation=lambda: [fakes.Numbers(seed=1)[0]],
    )
    return dataclasses.replace(default, **changes)


def fit(run_, folder):
    return train.fit(run_, folder, log_every=1, evaluate_every=2, save_every=2)


def assert_identical(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def losses(folder):
    return [{name: value for name, value in row.items() if "per_s" not in name} for row in train.history(folder)]


class Power(Exception):
    """The power goes."""


@dataclasses.dataclass(frozen=True)
class Failing(fakes.Numbers):
    """Batches that stop the run before update `at`."""

    at: int = 0

    def __getitem__(self, step):
        if step == self.at:
            raise Power
        return super().__getitem__(step)


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_run_that_failed_ends_as_an_unbroken_one(tmp_path, at):
    whole = fit(run(), tmp_path / "whole")
    with pytest.raises(Power):
        fit(run(batches=Failing(at=at)), tmp_path / "broken")
    resumed = fit(run(), tmp_path / "broken")
    assert_identical(whole, resumed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


def test_a_finished_run_is_not_run_again(tmp_path):
    first = fit(run(), tmp_path)
    again = fit(run(batches=Failing(at=5)), tmp_path)
    assert_identical(first, again)


def test_a_finished_run_says_that_it_was_there_and_nothing_else(tmp_path, capsys, caplog):
    fit(run(), tmp_path)
    capsys.readouterr()
    fit(run(), tmp_path)
    told = capsys.readouterr().err
    assert "was there already, trained to step 12; another folder trains anew" in told
    assert "nan" not in told
    assert caplog.messages == []


def squared(logits, labels):
    return jax.numpy.square(logits - labels).mean(-1)


def absolute(logits, labels):
    return abs(logits - labels).mean(-1)


@dataclasses.dataclass(frozen=True)
class Judged(fakes.Regression):
    """A task that holds a loss."""

    criterion: object = squared


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": optax.adam(0.01)}, "step_size is -0.05 there, -0.01 now"),
        ({"optimizer": optax.adam(optax.cosine_decay_schedule(0.05, 12))}, "optimizer."),
        ({"task": Judged(criterion=absolute)}, "task.criterion is squared there, absolute now"),
        ({"task": Judged(noise=0.5)}, "task.noise is 0 there, 0.5 now"),
        ({"seed": 4}, "seed is 3 there, 4 now"),
        ({"batches": fakes.Numbers(size=24)}, "batch.x is float32 (16, 5) there, float32 (24, 5) now"),
    ],
)
def test_what_can_be_told_of_a_run_tells_it_from_others(changes, told):
    there = run(task=Judged())
    now = dataclasses.replace(there, **changes)
    (found, *_) = identity.differences(
        identity.identity(there, there.batches[0]), identity.identity(now, now.batches[0])
    )
    assert told in found


def test_a_run_whose_optimiser_has_been_in_use_is_the_same(tmp_path):
    same = run(optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 12)))
    whole = fit(same, tmp_path)
    assert_identical(whole, fit(same, tmp_path))


def test_the_finished_state_of_another_run_is_refused(tmp_path):
    whole = fit(run(), tmp_path)
    slower = run(optimizer=optax.adam(0.01))
    with pytest.raises(ValueError, match=r"step_size is -0.05 there, -0.01 now.*another folder, or delete run\.json"):
        fit(slower, tmp_path)
    with pytest.raises(ValueError, match=r"it has taken 12 steps, this run ends after 8"):
        fit(run(steps=8), tmp_path)
    (tmp_path / "checkpoints/run.json").write_text("{", encoding="utf-8")  # damaged: nothing is known of it
    assert_identical(whole, fit(slower, tmp_path))
    (tmp_path / "checkpoints/run.json").unlink()
    assert_identical(whole, fit(run(), tmp_path))


def test_an_unfinished_run_goes_on_as_another_and_says_so(tmp_path, caplog):
    with pytest.raises(Power):
        fit(run(batches=Failing(at=5)), tmp_path)
    fit(run(optimizer=optax.adam(0.01)), tmp_path)
    assert "going on from step 4 of a run that was another (optimizer" in caplog.text
    assert "step_size is -0.05 there, -0.01 now" in caplog.text
    caplog.clear()
    fit(run(optimizer=optax.adam(0.01)), tmp_path)
    assert caplog.messages == []


def test_insides_that_other_libraries_name_otherwise_are_not_compared():
    there = identity.identity(run(), run().batches[0])
    now = identity.identity(run(optimizer=optax.sgd(0.1), seed=4), run().batches[0])
    assert len(identity.differences(there, now)) > 1
    assert identity.differences({**there, "made by": {"optax": "0"}}, now) == ["seed is 3 there, 4 now"]


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_a_log_has_lines_of_what_is_done_however_seldom_the_loss_is_logged(tmp_path, capsys, monkeypatch, every):
    monkeypatch.setattr(log, "EVERY", every)
    train.fit(run(), tmp_path, log_every=6, describe="learning")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "learning: making the network and the first batch"
    assert lines[1] == "learning: compiling the first update, number 1 of 12"
    steps = [line.split(",")[0] for line in lines[2:]]
    assert steps[-1] == "learning: step 12 of 12"
    assert set(steps) == {f"learning: step {step} of 12" for step in (range(1, 13) if every == 0 else [1, 12])}


def test_what_takes_long_is_told_again(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(log, "EVERY", 0.0)
    with log.Shown("learning", 3) as shown:
        shown.begin(0)
        shown.beat()
    assert "learning: still compiling the first update" in capsys.readouterr().err


def test_a_batch_without_its_mask_is_refused_with_what_it_holds(tmp_path):
    class Bare(fakes.Numbers):
        def __getitem__(self, step):
            return {name: value for name, value in super().__getitem__(step).items() if name != "mask"}

    with pytest.raises(ValueError, match=r"""must hold "mask" .* this one holds \['x', 'y'\]; .*np.ones"""):
        fit(run(batches=Bare()), tmp_path)


def test_a_number_for_a_whole_batch_is_no_loss(tmp_path):
    class Reduced(fakes.Regression):
        def loss(self, params, model_state, batch, *, key):
            losses, model_state = super().loss(params, model_state, batch, key=key)
            return losses.mean(), model_state

    class Judging(fakes.Regression):
        def evaluate(self, params, model_state, batch):
            return {name: value.mean() for name, value in super().evaluate(params, model_state, batch).items()}

    with pytest.raises(ValueError, match=r"loss of Reduced must be one number for each example, .* got shape \(\)"):
        fit(run(task=Reduced()), tmp_path / "loss")
    with pytest.raises(ValueError, match=r"Judging.evaluate's 'loss' must be one number for each example"):
        fit(run(task=Judging()), tmp_path / "evaluate")


def test_best_is_the_state_with_the_lowest_validation_loss(tmp_path):
    fit(run(optimizer=optax.sgd(0.3)), tmp_path)  # overshoots, so that the last state is not the best
    scores = {row["step"]: row["validation/loss"] for row in losses(tmp_path) if "validation/loss" in row}
    best = load(tmp_path / "checkpoints", run(optimizer=optax.sgd(0.3)).initial())
    assert int(best.step) == min(scores, key=scores.get)
    assert len(scores) == 6


def test_a_checkpoint_of_another_network_is_refused_whole(tmp_path):
    state = fit(run(), tmp_path)
    wider = state.replace(params={"w": np.zeros(fakes.FEATURES + 1, np.float32)})
    with pytest.raises(ValueError, match=r"checkpoint at .*latest"):
        load(tmp_path / "checkpoints", wider, which="latest")
    other = state.replace(params={"v": state.params["w"]})
    with pytest.raises(ValueError, match=r"checkpoint at .*latest"):
        load(tmp_path / "checkpoints", other, which="latest")


def test_a_folder_without_checkpoints_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        load(tmp_path, run().initial())


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    with pytest.raises(FloatingPointError, match="at step"):
        fit(run(optimizer=optax.sgd(1e30)), tmp_path)


LONG = 20  # steps, of a run that is killed

SCRIPT = textwrap.dedent(
    """
    import json, pathlib, sys, time
    sys.path[:0] = {path!r}
    import fakes, test_fit

    class Slow(fakes.Numbers):
        def __getitem__(self, step):
            time.sleep(0.05)
            return super().__getitem__(step)

    test_fit.fit(test_fit.run(steps=test_fit.LONG, batches=Slow()), pathlib.Path(sys.argv[1]))
    """
)


def start(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=[str(p) for p in sys.path if p]))
    return subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.DEVNULL)


def test_a_killed_process_goes_on_to_the_same_parameters(tmp_path):
    folder = tmp_path / "killed"
    process = start(folder, tmp_path)
    at = int(np.random.default_rng(time.time_ns()).integers(2, LONG - 5))
    deadline = time.time() + 60
    while process.poll() is None and time.time() < deadline:
        if (folder / "history.jsonl").exists() and (folder / "history.jsonl").read_text().count("train/loss") >= at:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert start(folder, tmp_path).wait() == 0
    whole = fit(run(steps=LONG), tmp_path / "whole")
    assert_identical(whole, load(folder / "checkpoints", whole, which="latest"))
    assert json.loads((folder / "history.jsonl").read_text().splitlines()[-1])["step"] == LONG


@dataclasses.dataclass(frozen=True)
class Poisoned(fakes.Numbers):
    """Batches of which the one for update `at` (the first is 0) is infinite."""

    at: int = 0

    def __getitem__(self, step):
        batch = super().__getitem__(step)
        return {**batch, "x": np.full_like(batch["x"], np.inf)} if step == self.at else batch


def states(folder):
    return {which: int(load(folder / "checkpoints", run().initial(), which=which).step) for which in ("latest", "best")}


@pytest.mark.parametrize(("at", "kept"), [(5, 4), (7, 4), (11, 8)])
def test_a_state_that_is_not_finite_is_never_kept(tmp_path, at, kept):
    poisoned = run(batches=Poisoned(at=at))
    with pytest.raises(
        FloatingPointError, match=f"at step {at + 1} .*lower the learning rate.*goes on from step {kept}"
    ):
        train.fit(poisoned, tmp_path, log_every=100, evaluate_every=4, save_every=4)
    there = states(tmp_path)
    assert there["latest"] == kept
    assert there["best"] <= kept
    assert all(row["step"] <= kept for row in losses(tmp_path))
    assert int(fit(run(), tmp_path).step) == 12  # the remedy, in the same folder


class Rootless(fakes.Regression):
    """Its loss is finite and its gradient is not."""

    def loss(self, params, model_state, batch, *, key):
        error, model_state = super().loss(params, model_state, batch, key=key)
        return error + jax.numpy.sqrt(0 * params["w"].sum()), model_state


def test_a_gradient_that_is_not_finite_stops_the_run_before_anything_is_kept(tmp_path):
    with pytest.raises(FloatingPointError, match=r"at step 1 .*the run begins anew"):
        train.fit(run(task=Rootless()), tmp_path, log_every=100, evaluate_every=2, save_every=2)
    assert not list((tmp_path / "checkpoints").glob("*/[0-9]*"))
    assert int(fit(run(), tmp_path).step) == 12


class Unvalidated(fakes.Regression):
    """Nothing can be validated."""

    def evaluate(self, params, model_state, batch):
        return {name: value + np.nan for name, value in super().evaluate(params, model_state, batch).items()}


def test_a_validation_loss_that_is_not_finite_is_an_error_and_no_best(tmp_path):
    with pytest.raises(FloatingPointError, match="predictions for validation must be finite, at step 2"):
        fit(run(task=Unvalidated()), tmp_path)
    assert not list((tmp_path / "checkpoints" / "best").glob("[0-9]*"))


late = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Where one array cannot be read, reads of others end after orbax closed the loop that they report to."""


def flip(path, rng):
    """Flips one bit of a file."""
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def parts(folder, step):
    """The files of a latest state."""
    inside = (folder / "checkpoints/latest" / str(step)).rglob("*")
    return sorted(path for path in inside if path.is_file() and path.stat().st_size)


def refusal(folder, state):
    """Why the latest state is not loaded; None if it is, and is what was saved."""
    try:
        loaded = load(folder / "checkpoints", state, which="latest")
    except ValueError as error:
        return str(error)
    assert_identical(state, loaded)
    return None


@late
def test_a_flipped_bit_is_never_loaded_and_never_blamed_on_the_config(tmp_path):
    whole = fit(run(), tmp_path)
    rng, refused = np.random.default_rng(0), []
    paths = [path for path in parts(tmp_path, 12) if "ocdbt.process" not in path.as_posix()]  # which nobody reads
    for path in rng.choice(paths, size=24):
        before = path.read_bytes()
        flip(path, rng)
        refused.append((path.name, refusal(tmp_path, whole)))
        path.write_bytes(before)
    told = [(name, why) for name, why in refused if why is not None]
    assert len(told) > 6
    assert [each for each in told if "is damaged" not in each[1] or "delete that folder" not in each[1]] == []


@late
def test_a_step_that_keeps_the_others_from_being_opened_is_named(tmp_path):
    whole = fit(run(), tmp_path)
    path = tmp_path / "checkpoints/latest/12/_CHECKPOINT_METADATA"
    path.write_bytes(path.read_bytes().replace(b"item_handlers", b"item_handlerc"))
    for attempt in (lambda: fit(run(), tmp_path), lambda: load(tmp_path / "checkpoints", whole, which="latest")):
        with pytest.raises(ValueError, match=r"checkpoint at .*latest/12 is damaged .*; delete that folder, and"):
            attempt()
    shutil.rmtree(path.parent)
    assert_identical(whole, fit(run(), tmp_path))


@late
def test_a_missing_part_is_damage(tmp_path):
    whole = fit(run(), tmp_path)
    told = []
    for path in parts(tmp_path, 12):
        aside = path.rename(tmp_path / "aside")
        told.append((path.name, refusal(tmp_path, whole)))
        aside.rename(path)
    assert [each for each in told if each[1] is not None and "is damaged" not in each[1]] == []
    assert any(why for _, why in told)


@late
def test_a_damaged_latest_state_gives_way_to_the_one_before(tmp_path, caplog):
    whole = fit(run(), tmp_path)
    for path in parts(tmp_path, 12):
        if path.parent.name == "d":  # the arrays
            path.write_bytes(path.read_bytes()[:-7])
    assert_identical(whole, fit(run(), tmp_path))
    assert "is damaged" in caplog.text
    assert "step 10 is used" in caplog.text
    assert_identical(whole, load(tmp_path / "checkpoints", whole, which="latest"))


@late
def test_where_every_state_is_damaged_the_error_says_what_to_delete(tmp_path):
    fit(run(), tmp_path)
    for step in (10, 12):
        for path in parts(tmp_path, step):
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"every state in .* is damaged; delete .*checkpoints to train"):
        fit(run(), tmp_path)


def test_a_log_with_cut_and_stray_lines_is_mended(tmp_path):
    with pytest.raises(Power):
        fit(run(batches=Failing(at=9)), tmp_path)
    path = tmp_path / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_bytes("".join(lines[:4]).encode() + b'\xff\x00{"a"\n[1]\n{"no": 1}\n' + "".join(lines[4:])[:-9].encode())
    assert len(train.history(tmp_path)) == len(lines) - 1
    fit(run(), tmp_path)
    for line in path.read_text().splitlines():
        assert json.loads(line)["step"] <= 12
    assert losses(tmp_path)[-1]["step"] == 12


def test_a_disk_that_is_full_stops_the_run_with_path_and_remedy(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"disk is full; make room.*history\.jsonl"):
        fit(run(), tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    class Twice(fakes.Numbers):
        def __getitem__(self, step):
            if step == 3:
                fit(run(), tmp_path)
            return super().__getitem__(step)

    with pytest.raises(files.Taken, match=r"another process works in .*checkpoints"):
        fit(run(batches=Twice()), tmp_path)
