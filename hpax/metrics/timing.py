"""How long things take, by themselves and beside each other, and how much of a device's arithmetic they use."""

import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


@dataclasses.dataclass(frozen=True)
class Stopwatch:
    """Seconds of a call: the median of repeats, in each of which many calls run one after the other."""

    seconds: float = 0.4  # of each of the repeats; 0: a single call
    repeats: int = 5

    def __call__(self, call: Callable[[], Any]) -> float:
        """Seconds of one call; a first one, which compiles, does not count. What it returns is waited for."""
        jax.block_until_ready(call())
        calls = max(1, min(1000, math.ceil(self.seconds / timed(call, 1))))
        return statistics.median(timed(call, calls) for _ in range(self.repeats))


def timed(call: Callable[[], Any], calls: int) -> float:
    """Seconds of each of so many calls; the device has finished with the last."""
    start = time.perf_counter()
    for _ in range(calls):
        answer = call()
    jax.block_until_ready(answer)
    return (time.perf_counter() - start) / calls


def peak_flops(dtype: str, side: int, stopwatch: Stopwatch) -> float:
    """FLOP/s of the product of two matrices of random numbers, `side` × `side`, as XLA computes it by default."""
    a, b = (jax.random.normal(key, (side, side), dtype) for key in jax.random.split(jax.random.key(0)))
    product = jax.jit(jnp.matmul)
    return 2 * side**3 / stopwatch(lambda: product(a, b))


def peak_memory() -> float:
    """The most memory that this process has ever had, in MB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations that XLA counts in what it is given to compile; NaN where there are no CPUs to ask.

    Compilers of accelerators do not count, so the one for CPUs does, in the program that is meant for this device.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), arguments)
    platform = jax.default_backend().replace("gpu", "cuda")
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return jax.jit(function).trace(*shapes).lower(lowering_platforms=(platform,)).cost_analysis()["flops"]
    except (NotImplementedError, RuntimeError):
        return math.nan
