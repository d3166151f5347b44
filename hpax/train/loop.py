"""The run and its loop, which knows nothing of logs, disks or clocks."""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
import optax

from hpax.task import Task
from hpax.train import parallel, resident
from hpax.train.pace import Pace
from hpax.train.state import Init, State, create
from hpax.types import Array, Batch


@runtime_checkable
class Batches(Protocol):
    """An endless sequence of batches in which the batch of a step depends on nothing but the step."""

    def __getitem__(self, step: int) -> Batch:
        """This process's part of the batch that update number `step` eats (0 is the first)."""
        ...

    def iterate(self, start: int) -> Iterator[Batch]:
        """The batches from update number `start` on, prefetched."""
        ...


@dataclasses.dataclass(frozen=True)
class Run:
    """What to train, on what, for how long. A trained state is a function of this and nothing else."""

    task: Task
    batches: Batches
    optimizer: optax.GradientTransformation
    steps: int
    seed: int = 0
    init: Init | None = None  # replaces what is fresh, e.g. by pretrained parameters and statistics
    validation: Callable[[], Iterable[Batch]] | None = None  # one pass over this process's validation batches
    scores: Callable[[State], Mapping[str, float]] | None = None  # more numbers of the validation, for the log
    pictures: Callable[[State], Mapping[str, np.ndarray]] | None = None  # name → uint8 (h, w, 3), for the log
    devices: Sequence[jax.Device] | None = None  # local devices to use; None: all

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a run must take at least 1 step, got steps={self.steps}")

    def initial(self, batch: Batch | None = None) -> State:
        """The state before the first update; `batch` is the first one, where it is at hand."""
        first = self.batches[0] if batch is None else batch
        return create(self.task, self.optimizer, first, seed=self.seed, init=self.init)


def updates(run: Run, state: State) -> Generator[tuple[int, State, dict[str, Array]], None, None]:
    """Yields (updates done, replicated state, report) after each update until `run.steps` are done.

    A yielded state lives until the next update, which reuses its memory: keep `parallel.unreplicate(state)`.
    """
    step = int(state.step)
    if step >= run.steps:
        return
    advance, iterate = _prepared(run)
    replicated = parallel.replicate(state, run.devices)
    seed = np.uint32(run.seed)
    pace = Pace(left=run.steps - step)
    for batch in pace.batches(iterate(step)):
        replicated, report = advance(replicated, parallel.shard(batch, run.devices), seed)
        if jax.default_backend() == "cpu":
            jax.block_until_ready(report)  # devices of one processor share threads: steps in flight can deadlock
        pace.ate(batch, report)
        step += 1
        yield step, replicated, report
        if step >= run.steps:
            return


def _prepared(run: Run) -> tuple[Callable, Callable[[int], Iterator[Batch]]]:
    """The compiled update, and what it eats from a step on: batches, or draws where devices hold the examples."""
    batches = run.batches
    if isinstance(batches, resident.Resident) and (kept := resident.keep(batches, run.devices)) is not None:
        held = kept.held
        advance = parallel.compile_update(run.task, run.optimizer, run.devices, kept.making)
        return lambda state, draw, seed: advance(state, draw, seed, held), batches.draws
    return parallel.compile_update(run.task, run.optimizer, run.devices), batches.iterate
