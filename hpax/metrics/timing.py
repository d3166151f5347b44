"""How long things take, by themselves and beside each other, and how much of a device's arithmetic they use."""

import dataclasses
import math
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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


def peak_memory(process: int | Literal["self"] = "self") -> float:
    """The most memory that a running process has ever had, in MB; NaN where no /proc tells it.

    `getrusage` would tell that of the process that began it where it is higher.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return math.nan
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else math.nan


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


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    peak_mb: float  # of its memory, as it was told within the last tenth of a second; NaN where no /proc tells it
    status: int


def cost(command: Sequence[str], log: Path) -> Cost:
    """Runs a command to its end, its output into `log`."""
    peak = math.nan
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = float(np.fmax(peak, peak_memory(process.pid)))
            time.sleep(0.1)
    return Cost(time.perf_counter() - start, peak, process.returncode)
