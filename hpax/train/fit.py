"""A run with its clock, its disk and its log around it."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator, Mapping

import jax
import rich.progress

from hpax import files
from hpax.train import parallel
from hpax.train.checkpoint import Checkpoints
from hpax.train.evaluate import Evaluator
from hpax.train.every import Every
from hpax.train.log import Log, Throughput, progress
from hpax.train.loop import Run, updates
from hpax.train.processes import together
from hpax.train.state import State
from hpax.types import Array


def fit(
    run: Run,
    workdir: str | os.PathLike[str],
    *,
    log_every: int = 20,
    evaluate_every: int = 200,
    save_every: int = 200,
    describe: str = "training",
) -> State:
    """Trains to the end, going on from the latest checkpoint in `workdir` if there is one; returns the last state.

    Leaves checkpoints/{latest,best}, history.jsonl and tensorboard/ in `workdir`. A run that was killed and started
    again ends in the same state, bit for bit, as one that was not. No state that is not finite is ever kept.

    Raises:
        FloatingPointError: the loss, its gradient, the parameters or the validation loss are no longer finite.
        ValueError: the checkpoints are damaged, or of another network (`train.load`); another process trains there
            (`files.Taken`).
        RuntimeError: another process of the run is gone (`train.processes`).
    """
    workdir = pathlib.Path(workdir)
    with together("training"), _alone(workdir / "checkpoints") as folder:
        initial = run.initial()
        with Checkpoints(folder) as checkpoints, progress() as bar:
            state = checkpoints.restore(initial) or initial
            start = int(state.step)
            with Log(workdir, start=start) as log:
                keeper = _Keeper(run, log, checkpoints, start)
                actions = [
                    Every(1, keeper.note, last=run.steps),
                    Every(log_every, _Reporter(log, bar, describe, run.steps, start, keeper), last=run.steps),
                    Every(evaluate_every, keeper.evaluate, last=run.steps),
                    Every(save_every, keeper.save, last=run.steps),
                ]
                for step, replicated, report in updates(run, state):
                    for act in actions:
                        act(step, replicated, report)
            return keeper.latest or state


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder, made, and nobody else's as long as this lasts; of a run's processes, the first one sees to that."""
    if jax.process_index() > 0:
        yield folder
        return
    with files.writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.exclusive(folder):
        yield folder


class _Reporter:
    """Logs the loss of the last update and the throughput since the last report."""

    def __init__(self, log: Log, bar: rich.progress.Progress, describe: str, total: int, start: int, keeper: "_Keeper"):
        self._log, self._bar, self._step, self._keeper = log, bar, start, keeper
        self._task = bar.add_task(describe, total=total, completed=start, loss=math.nan, rate=0.0)
        self._throughput = Throughput()

    def __call__(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        self._keeper.check()
        loss, examples = (float(parallel.unreplicate(report[name])) for name in ("loss", "examples"))
        rate = self._throughput.read(examples * (step - self._step))
        self._step = step
        self._bar.update(self._task, completed=step, loss=loss, rate=rate)
        self._log.scalars(step, {"train/loss": loss, "train/examples_per_s": rate})


class _Keeper:
    """Evaluates and saves what is finite; remembers the latest state on the host."""

    def __init__(self, run: Run, log: Log, checkpoints: Checkpoints, start: int):
        self._run, self._log, self._checkpoints = run, log, checkpoints
        self._evaluator = Evaluator(run.task, run.devices)
        self._unchecked: list[tuple[int, Mapping[str, Array]]] = []
        self._kept = start
        self.latest: State | None = None

    def note(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        """Takes the report of every update, to be looked at once its numbers are needed (`check`)."""
        self._unchecked.append((step, report))

    def check(self) -> None:
        """Raises if an update since the last check was not finite; waits for these updates."""
        verdicts = parallel.unreplicate([report["finite"] for _, report in self._unchecked])
        for (step, report), finite in zip(self._unchecked, verdicts, strict=True):
            if not finite:
                loss = float(parallel.unreplicate(report["loss"]))
                self._give_up(f"the loss, its gradient and the parameters must be finite, at step {step}", loss)
        self._unchecked.clear()

    def _give_up(self, what: str, loss: float) -> None:
        there = f"goes on from step {self._kept}, the last that was kept" if self._kept else "begins anew"
        raise FloatingPointError(
            f"{what} they are not (the loss is {loss}); lower the learning rate and train again in the same folder: "
            f"the run {there}"
        )

    def evaluate(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        self.check()
        if self._run.validation is None:
            return
        here = parallel.unreplicate(state)
        scores = self._evaluator(here.params, here.model_state, self._run.validation())
        if not math.isfinite(scores["loss"]):
            self._give_up(f"the predictions for validation must be finite, at step {step}", scores["loss"])
        more = {} if self._run.scores is None else self._run.scores(here)
        self._log.scalars(step, {f"validation/{name}": value for name, value in {**scores, **more}.items()})
        if self._run.pictures is not None:
            self._log.pictures(step, self._run.pictures(here))
        self._checkpoints.save_if_best(here, scores)

    def save(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        self.check()
        self.latest = parallel.unreplicate(state)
        self._checkpoints.save(self.latest)
        self._kept = step
