"""Where a run's numbers and pictures go: history.jsonl, TensorBoard, and a progress bar."""

import json
import pathlib
import time
from collections.abc import Mapping

import jax
import numpy as np
import rich.progress
import tensorboardX


def history(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Everything a run has logged, one dict per record, each with its "step"."""
    path = pathlib.Path(workdir) / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Log:
    """Appends to a run's history and TensorBoard; use as a context manager.

    A run that goes on from step `start` forgets what was logged after it. Only the first process writes.
    """

    def __init__(self, workdir: pathlib.Path, *, start: int = 0):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        kept = [record for record in history(workdir) if record["step"] <= start]
        self._lines = (workdir / "history.jsonl").open("w")
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        for record in kept:
            self._append(record)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writes:
            self._lines.close()
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
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()


class Throughput:
    """Examples per second of wall time between two readings."""

    def __init__(self):
        self._since = time.perf_counter()

    def read(self, examples: float) -> float:
        """The rate at which `examples` went by since the last reading."""
        now = time.perf_counter()
        rate, self._since = examples / max(now - self._since, 1e-9), now
        return rate


def progress() -> rich.progress.Progress:
    """A bar with steps, loss, throughput and the time that is left; quiet in all processes but the first."""
    return rich.progress.Progress(
        rich.progress.TextColumn("[bold]{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("loss {task.fields[loss]:.5f}  {task.fields[rate]:.0f} examples/s"),
        rich.progress.TimeRemainingColumn(),
        disable=jax.process_index() != 0,
    )
