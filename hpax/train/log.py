"""Where a run's numbers and pictures go: history.jsonl, TensorBoard, and a bar or lines of progress."""

import contextlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping

import jax
import numpy as np
import rich.console
import rich.progress
import tensorboardX

from hpax import files
from hpax.progress import EVERY, beating


def history(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Everything a run has logged, one dict per record, each with its "step".

    It is a log, to look at: results come from states. Lines that are none of its records, as a crash may leave, are
    passed over.
    """
    path = pathlib.Path(workdir) / "history.jsonl"
    if not path.exists():
        return []
    records = map(_record, path.read_bytes().split(b"\n"))
    return [record for record in records if record is not None]


def _record(line: bytes) -> dict[str, float] | None:
    """The record in a line; None if it holds something else."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and type(record.get("step")) is int
    return record if whole and all(isinstance(value, int | float) for value in record.values()) else None


class Log:
    """Appends to a run's history and TensorBoard; use as a context manager.

    A run that goes on from step `start` forgets what was logged after it. Only the first process writes.
    """

    def __init__(self, workdir: pathlib.Path, *, start: int = 0):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self._path = workdir / "history.jsonl"
        kept = [record for record in history(workdir) if record["step"] <= start]
        files.write_text(self._path, "".join(_line(record) for record in kept))
        self._lines = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writes:
            os.close(self._lines)
            self._board.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs named numbers of a step, such as {"train/loss": 0.1}."""
        if not self._writes:
            return
        self._append({"step": step, **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Logs named uint8 (h, w, 3) pictures."""
        if self._writes:
            for name, picture in pictures.items():
                self._board.add_image(name, picture, step, dataformats="HWC")

    def _append(self, record: Mapping[str, float]) -> None:
        """Adds a line by one call of the system, so that no reader and no crash finds half of it."""
        with files.writable(self._path):
            os.write(self._lines, _line(record).encode())


def _line(record: Mapping[str, float]) -> str:
    return json.dumps(record) + "\n"


class Throughput:
    """Examples per second of wall time between two readings."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def read(self, examples: float) -> float:
        """The rate at which `examples` went by since the last reading."""
        now = time.perf_counter()
        rate, self._since = examples / max(now - self._since, 1e-9), now
        return rate


class Shown:
    """How far a run is: a bar on a terminal, else lines on stderr; quiet in all processes but the first."""

    def __init__(self, what: str, total: int):
        self._what, self._total, self._doing = what, total, ""
        self._stack = contextlib.ExitStack()
        self._last = time.monotonic()
        self._since: tuple[float, int] | None = None  # time and step of what rates are measured from: no compilation
        self._quiet = jax.process_index() != 0
        self._bar = _bar(disable=self._quiet) if sys.stderr.isatty() else None
        self._task = self._bar.add_task(what, total=total, told="") if self._bar else None

    def __enter__(self) -> "Shown":
        if self._bar:
            self._stack.enter_context(self._bar)
        elif not self._quiet:
            self._stack.enter_context(beating(self.beat))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar:
            self._bar.console.print(f"{self._what}: {text}", markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)

    def doing(self, what: str) -> None:
        """What is being done before anything can be counted."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, told=what)
        else:
            self._doing, self._last = what, time.monotonic()
            self.say(what)

    def beat(self) -> None:
        """Says again what is being done, if nothing was said for long enough."""
        if time.monotonic() - self._last >= 2 * EVERY:  # so that what can tell more comes first
            self._last = time.monotonic()
            self.say(f"still {self._doing}")

    def begin(self, step: int) -> None:
        """Counts from step `step` on."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step)
        self.doing(f"compiling the first update, number {step + 1} of {self._total}")

    @property
    def due(self) -> bool:
        """Whether nothing was heard for long enough."""
        return time.monotonic() - self._last >= EVERY

    def advance(self, step: int, loss: float, rate: float) -> None:
        """Step `step` is done; lines are no more frequent than they must be, the last one apart."""
        now, told = time.monotonic(), f"loss {loss:.5f}"
        if self._since is not None:
            told += f", {rate:.0f} examples/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, told=told)
            self._last = now
        elif self.due or self._since is None or step == self._total:
            if self._since is not None and step > self._since[1]:
                told += f", {(now - self._since[0]) / (step - self._since[1]) * (self._total - step):.0f} s left"
            self._doing = f"at step {step} of {self._total}"
            self.say(f"step {step} of {self._total}, {told}")
            self._last = now
        self._since = self._since or (now, step)


def _bar(*, disable: bool) -> rich.progress.Progress:
    """Steps, loss, throughput and the time that is left."""
    return rich.progress.Progress(
        rich.progress.TextColumn("[bold]{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[told]}"),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
        disable=disable,
    )
