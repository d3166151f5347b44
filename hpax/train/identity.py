"""What a run is made of, in words, so that its state is not taken for that of another run.

Told are names, numbers and shapes, also those that functions close over, as optimisers do their learning rates. What a
function computes is not, nor what is in arrays.
"""

import dataclasses
import enum
import importlib.metadata
import inspect
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from hpax.train.loop import Run
from hpax.types import Batch

LONGEST = 64
"""Entries of a list or mapping that are told one by one; of longer ones, how many there are."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), enum.Enum, os.PathLike, np.dtype, np.generic)


def identity(run: Run, batch: Batch) -> dict[str, dict[str, str]]:
    """Part of a run → path → what is there; `batch` is this process's part of one.

    Devices are left out, as is what is validated: neither changes what is learnt. Batches that are not what another
    side would make of the same seed say so in an attribute `augmented_by`.
    """
    shapes = {}
    for name, value in batch.items():
        size, *rest = np.shape(value)
        shapes[name] = f"{np.asarray(value).dtype} {(size * jax.process_count(), *rest)}"
    augmented_by = getattr(run.batches, "augmented_by", None)
    return {
        "made by": {name: importlib.metadata.version(name) for name in ("flax", "optax")},
        "seed": {"": str(run.seed)},
        "batch": shapes,
        "init": {"": _name(run.init)},
        "task": dict(_told(run.task, "", ())),
        "optimizer": dict(_told(run.optimizer, "", ())),
        **({} if augmented_by is None else {"augmented by": {"": augmented_by}}),
    }


def differences(there: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What differs, in words; other versions of libraries may call the insides of tasks and optimisers otherwise."""
    parts = [part for part in {**now, **there} if part != "made by"]
    if there.get("made by") != now["made by"]:
        parts = ["seed", "batch", "augmented by"]
    told = []
    for part in parts:
        old, new = there.get(part, {}), now.get(part, {})
        for path in {**new, **old}:
            if old.get(path) != new.get(path):
                what = f"{part}{path}" if path.startswith(("[", ".")) or not path else f"{part}.{path}"
                told.append(f"{what} is {old.get(path, 'absent')} there, {new.get(path, 'absent')} now")
    return told


def _told(value: Any, path: str, around: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Path → text of a value and of all that it is made of; what is inside of itself is told once."""
    if id(value) in around:
        return
    around = (*around, id(value))
    text, inner = _opened(value)
    yield path, text
    for name, item in inner.items():
        yield from _told(item, f"{path}{name}", around)


def _opened(value: Any) -> tuple[str, dict[str, Any]]:
    """What a value is called, and what it is made of, by the path to it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # the first update makes floats of what optax's schedules close over
    if isinstance(value, PLAIN):
        return str(value), {}
    if isinstance(value, types.FunctionType):
        return _name(value), _closed_over(value) | {
            f".default{place}": each for place, each in enumerate(value.__defaults__ or ())
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _name(value), {f".{field.name}": getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | tuple | list):
        return _collected(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return str(value) if np.size(value) == 1 else f"{value.dtype} {tuple(value.shape)}", {}
    parts = () if isinstance(value, type) else ("func", "args", "keywords", "__wrapped__", "__self__")
    return _name(value), {f".{part}": getattr(value, part) for part in parts if hasattr(value, part)}


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    try:
        return {f".{name}": item for name, item in inspect.getclosurevars(function).nonlocals.items()}
    except ValueError:  # a name that is not bound, or no longer
        return {}


def _collected(value: Mapping | tuple | list) -> tuple[str, dict[str, Any]]:
    if len(value) > LONGEST:
        return f"{len(value)} entries", {}
    if isinstance(value, Mapping):
        return type(value).__name__, {f"[{key!r}]": item for key, item in value.items()}
    names = getattr(value, "_fields", None) or range(len(value))
    labels = [f".{name}" if isinstance(name, str) else f"[{name}]" for name in names]
    return type(value).__name__, dict(zip(labels, value, strict=True))


def _name(value: Any) -> str:
    """What a function, a class or a value's class is called, without its module, which differs between ways to run."""
    return "None" if value is None else str(getattr(value, "__qualname__", type(value).__qualname__))
