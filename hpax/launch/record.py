"""What a run found, and what a result.json tells of how it came about."""

import dataclasses
import importlib.metadata
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import hpax
from hpax import ahead, files
from hpax.launch.config import plain, portable, settings

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn", "scikit-image")
"""Whose versions a result names, besides those of Python and hpax."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run found.

    Raises:
        ValueError: a headline is no metric, or a metric or count is no number, or cannot be named so (`files.column`).
    """

    metrics: Mapping[str, float | np.number]  # NaN where undefined
    counts: Mapping[str, int | np.integer]  # cells, proteins, images, ... that the metrics rest on
    data: Literal["simulated", "real"]
    headline: Sequence[str]  # the metrics that a table shows, in its order

    def __post_init__(self) -> None:
        if self.data not in ("simulated", "real"):
            raise ValueError(f'data must be "simulated" or "real", got {self.data!r}')
        if missing := [name for name in self.headline if name not in self.metrics]:
            raise ValueError(f"headline names must be metrics, got {missing}; the metrics are {sorted(self.metrics)}")
        for name, value in {**self.metrics, **self.counts}.items():
            files.column(name)
            if np.ndim(value) or not np.issubdtype(np.asarray(value).dtype, np.number):
                raise ValueError(f"metrics and counts must be numbers, got {name}={value!r}; reduce it before")


def origin(
    command: Sequence[str], about: str, config: Any, arguments: Sequence[str], *, sweep: str | None = None
) -> dict[str, Any]:
    """What made a result: experiment, command, settings, versions, cores, commit.

    `command` is how it is called, such as `["python", "-m", "experiments.localize_cells"]`; its last part, after the
    last dot, is the name under which results are collected.
    """
    line = portable(shlex.join([*command, *arguments]))
    told = {"experiment": command[-1].rpartition(".")[2], "about": about, "command": line, "sweep": sweep}
    return {**told, "settings": settings(config), **_environment()}


def record(
    config: Any, result: Result, origin: Mapping[str, Any], *, arm: str, seed: int, seconds: float, resumed: bool
) -> dict[str, Any]:
    """What a result.json holds."""
    told = {"arm": arm, "seed": seed, **plain(result), **origin, "devices": _devices()}
    return told | {"wall_s": round(seconds, 3), "resumed": resumed, "config": plain(config)}


def _environment() -> dict[str, Any]:
    """Versions, cores and commit of this process."""
    versions = {"python": platform.python_version(), "hpax": hpax.__version__}
    versions |= {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"versions": versions, "cores": ahead.cores(), **_commit()}


def _commit() -> dict[str, Any]:
    """The commit of the checkout that hpax is imported from, and whether its code differs; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(hpax.__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an environment inside somebody's checkout is not ours
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ".", "../experiments")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _devices() -> dict[str, Any]:
    """Platform, kind and count of the devices that JAX computes on."""
    import jax

    devices = jax.devices()
    return {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}
