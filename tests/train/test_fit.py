"""Killed and resumed runs end in the same state; what a run leaves on disk."""

import dataclasses
import json
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

from hpax import train
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
