"""A run with its clock, its disk and its log around it."""

import math
import pathlib
from collections.abc import Mapping

import rich.progress

from hpax.train import parallel
from hpax.train.checkpoint import Checkpoints
from hpax.train.evaluate import Evaluator
from hpax.train.every import Every
from hpax.train.log import Log, Throughput, progress
from hpax.train.loop import Run, updates
from hpax.train.state import State
from hpax.types import Array


def fit(
    run: Run,
    workdir: pathlib.Path,
    *,
    log_every: int = 20,
    evaluate_every: int = 200,
    save_every: int = 200,
    describe: str = "training",
) -> State:
    """Trains to the end, going on from the latest checkpoint in `workdir` if there is one; returns the last state.

    Leaves checkpoints/{latest,best}, history.jsonl and tensorboard/ in `workdir`. A run that was killed and started
    again ends in the same state, bit for bit, as one that was not.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    workdir = pathlib.Path(workdir)
    initial = run.initial()
    with Checkpoints(workdir / "checkpoints") as checkpoints, progress() as bar:
        state = checkpoints.restore(initial) or initial
        start = int(state.step)
        with Log(workdir, start=start) as log:
            keeper = _Keeper(run, log, checkpoints)
            actions = [
                Every(log_every, _Reporter(log, bar, describe, run.steps, start), last=run.steps),
                Every(evaluate_every, keeper.evaluate, last=run.steps),
                Every(save_every, keeper.save, last=run.steps),
            ]
            for step, replicated, report in updates(run, state):
                for act in actions:
                    act(step, replicated, report)
        return keeper.latest or state


class _Reporter:
    """Logs the loss of the last update and the throughput since the last report."""

    def __init__(self, log: Log, bar: rich.progress.Progress, describe: str, total: int, start: int):
        self._log, self._bar, self._step = log, bar, start
        self._task = bar.add_task(describe, total=total, completed=start, loss=math.nan, rate=0.0)
        self._throughput = Throughput()

    def __call__(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        loss, examples = (float(parallel.unreplicate(report[name])) for name in ("loss", "examples"))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss must be finite, at step {step} it is {loss}; lower the rate")
        rate = self._throughput.read(examples * (step - self._step))
        self._step = step
        self._bar.update(self._task, completed=step, loss=loss, rate=rate)
        self._log.scalars(step, {"train/loss": loss, "train/examples_per_s": rate})


class _Keeper:
    """Evaluates and saves; remembers the latest state on the host."""

    def __init__(self, run: Run, log: Log, checkpoints: Checkpoints):
        self._run, self._log, self._checkpoints = run, log, checkpoints
        self._evaluator = Evaluator(run.task, run.devices)
        self.latest: State | None = None

    def evaluate(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        if self._run.validation is None:
            return
        here = parallel.unreplicate(state)
        scores = self._evaluator(here.params, here.model_state, self._run.validation())
        more = {} if self._run.scores is None else self._run.scores(here)
        self._log.scalars(step, {f"validation/{name}": value for name, value in {**scores, **more}.items()})
        if self._run.pictures is not None:
            self._log.pictures(step, self._run.pictures(here))
        self._checkpoints.save_if_best(here, scores)

    def save(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        self.latest = parallel.unreplicate(state)
        self._checkpoints.save(self.latest)
