"""How long things take beside each other, on a machine that has other things to do."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

Sides = Mapping[str, Callable[[], Any]]
"""Name → what is timed; what it returns is waited for."""


def take_turns(sides: Sides, turns: int) -> dict[str, list[float]]:
    """Seconds of every side in every turn; a first turn, which compiles, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            jax.block_until_ready(side())
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times less `fast` took, the median over turns."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))
