"""A run with its clock, its disk and its log around it."""

import contextlib
import logging
import math
import os
import pathlib
from collections.abc import Iterator, Mapping

import jax

from hpax import files
from hpax.train import parallel
from hpax.train.checkpoint import Checkpoints
from hpax.train.evaluate import Evaluator
from hpax.train.every import Every
from hpax.train.identity import differences, identity
from hpax.train.log import Log, Shown, Throughput
from hpax.train.loop import Run, updates
from hpax.train.processes import together
from hpax.train.state import State
from hpax.types import Array

RUN = "run.json"
"""What the run was made of whose states lie beside it (`hpax.train.identity`)."""

log = logging.getLogger(__name__)


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
    again ends in the same state, bit for bit, as one that was not. No state that is not finite is ever kept. Where the
    folder holds the last state already, that is said and nothing is trained; what a function computes is not compared.

    Raises:
        FloatingPointError: the loss, its gradient, the parameters or the validation loss are no longer finite.
        ValueError: the checkpoints are damaged, or of another network (`train.load`), or the last one is of another
            run, as far as it can be told; another process trains there (`files.Taken`).
        RuntimeError: another process of the run is gone (`train.processes`).
    """
    workdir = pathlib.Path(workdir)
    with (
        together("training"),
        _alone(workdir / "checkpoints") as folder,
        Checkpoints(folder) as checkpoints,
        Shown(describe, run.steps) as shown,
    ):
        shown.doing("making the network and the first batch")
        batch = run.batches[0]
        initial = run.initial(batch)
        state = checkpoints.restore(initial) or initial
        start = int(state.step)
        _compare(folder / RUN, identity(run, batch), start, run.steps)
        if start >= run.steps:
            shown.say(
                f"{workdir} was there already, trained to step {start}; another folder trains anew. Had the code "
                "of a function changed since, nobody would notice"
            )
            return state
        shown.begin(start)
        with Log(workdir, start=start) as lines:
            keeper = _Keeper(run, lines, checkpoints, start)
            reporter = _Reporter(lines, shown, start, keeper)
            actions = [
                Every(1, keeper.note, last=run.steps),
                Every(1, reporter.show, last=run.steps),
                Every(log_every, reporter, last=run.steps),
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


def _compare(path: pathlib.Path, now: dict[str, dict[str, str]], step: int, steps: int) -> None:
    """Keeps what a run is made of; a finished state of another run is refused, an unfinished one is remarked upon."""
    there = (files.read_json(path) if step else {}) or now  # where it is damaged or gone, nothing is known
    told = differences(there, now)
    if step > steps:
        told.append(f"it has taken {step} steps, this run ends after {steps}")
    if told:
        more = f"; and {len(told) - 5} more" if len(told) > 5 else ""
        found = f"{'; '.join(told[:5])}{more}"
        if step >= steps:
            raise ValueError(
                f"the finished state in {path.parent} must be that of this run, it is of another ({found}); train in "
                f"another folder, or delete {path.name} there to take the state all the same"
            )
        log.warning("going on from step %d of a run that was another (%s); another folder trains anew", step, found)
    if jax.process_index() == 0 and (there != now or not path.exists()):
        files.write_json(path, now)


class _Reporter:
    """Logs the loss of the last update and the throughput since the last report."""

    def __init__(self, log: Log, shown: Shown, start: int, keeper: "_Keeper"):
        self._log, self._shown, self._step, self._keeper = log, shown, start, keeper
        self._throughput = Throughput()
        self._first = start + 1
        self._shown_step, self._shown_throughput = start, Throughput()

    def __call__(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        self._keeper.check()
        loss, examples = _numbers(report)
        rate = self._throughput.read(examples * (step - self._step))
        self._step = step
        self._shown.advance(step, loss, rate)
        self._log.scalars(step, {"train/loss": loss, "train/examples_per_s": rate})

    def show(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        """Between reports, where these are long in coming."""
        if self._shown.due or step == self._first:
            loss, examples = _numbers(report)
            rate = self._shown_throughput.read(examples * (step - self._shown_step))
            self._shown_step = step
            self._shown.advance(step, loss, rate)


def _numbers(report: Mapping[str, Array]) -> tuple[float, float]:
    """Loss and count of examples of an update; waits for it."""
    return float(parallel.unreplicate(report["loss"])), float(parallel.unreplicate(report["examples"]))


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
