"""Cadence in one object, the last step included."""

import dataclasses
from collections.abc import Callable, Mapping

from hpax.train.state import State
from hpax.types import Array


@dataclasses.dataclass(frozen=True)
class Every:
    """Calls `act(step, state, report)` at each multiple of `steps`, and at `last`."""

    steps: int
    act: Callable[[int, State, Mapping[str, Array]], None]
    last: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a cadence must be at least 1 step, got {self.steps}")

    def __call__(self, step: int, state: State, report: Mapping[str, Array]) -> None:
        """Acts if `step` is due. `state` is replicated over devices: see `hpax.train.parallel.unreplicate`."""
        if step % self.steps == 0 or step == self.last:
            self.act(step, state, report)
