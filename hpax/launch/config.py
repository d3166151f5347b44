"""Configs as frozen dataclasses, nested or not, and differences by dotted paths.

A path names a field as its flag does: `field.pooling` is `--field.pooling`. The fields of a nested config that is
annotated `tyro.conf.arg(name="")` stand beside those around it, on the command line and in paths alike.
"""

import contextlib
import dataclasses
import difflib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hpax import files
from hpax.files import as_json as plain

Difference = Mapping[str, Any]
"""Dotted path of a field of the config → value."""

REAL_DATA = "HPAX_REAL_DATA"
"""The environment variable of the real images' folder; recorded by its name, as its value differs between machines."""


OUTPUTS = ("data_dir", "workdir")
"""Fields of configs that name folders to write to."""


class LaunchError(ValueError):
    """A request that cannot be run; the message says what to change."""


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """What is wrong in here is wrong with what a run was given to read: a LaunchError, which needs no traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise LaunchError(str(error)) from error


def grid(axes: Mapping[str, Sequence[Any]] | None = None, /, **more: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Every combination of the axes' values as differences, the last axis fastest; ValueError if an axis is empty.

    Axes are named by keyword, or, where the name is a path with a dot, in a mapping: `grid({"field.pooling": [...]})`.
    """
    axes = {**(axes or {}), **more}
    for name, values in axes.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"axis {name} must be a list of one or more values, got {values!r}")
    return tuple(dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def replaced(config: Any, difference: Difference) -> Any:
    """`config` with the fields at the paths of `difference` set, all of a nested config at once.

    Raises:
        LaunchError: a path names no field, or one path lies inside another, or the values do not go together.
    """
    changes: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for path, value in difference.items():
        head, *rest = attributes(config, path)
        if rest:
            inside.setdefault(head, {})[".".join(rest)] = value
        else:
            changes[head] = value
    if both := sorted(changes.keys() & inside.keys()):
        raise LaunchError(f"a difference must set {both[0]} or its fields, it sets both; fold them into one")
    for head, inner in inside.items():
        changes[head] = replaced(getattr(config, head), inner)
    try:
        return dataclasses.replace(config, **changes)
    except LaunchError:
        raise
    except (ValueError, TypeError) as error:
        raise LaunchError(f"the difference {plain(difference)} makes no config: {error}") from error


def attributes(config: Any, path: str) -> list[str]:
    """The attributes, from the outside in, that lead to what `path` names.

    Raises:
        LaunchError: it names no field; the nearest one is suggested.
    """
    if found := _find(config, path.split(".")):
        return found
    near = difflib.get_close_matches(path, list(paths(config)), n=1)
    told = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(paths(config))}"
    raise LaunchError(f"a path must name a field of {type(config).__name__}, {path!r} does not; {told}")


def _find(config: Any, names: Sequence[str]) -> list[str]:
    if not dataclasses.is_dataclass(config):
        return []
    head, rest = names[0], names[1:]
    if head in {field.name for field in dataclasses.fields(config)}:
        inner = _find(getattr(config, head), rest) if rest else []
        return [head, *inner] if inner or not rest else []
    for name in flattened(type(config)):
        if inner := _find(getattr(config, name), names):
            return [name, *inner]
    return []


def paths(config: Any) -> dict[str, Any]:
    """Path → value of every field of a config and of the configs in it, in order, named as the flags are."""
    return dict(_leaves(config, ""))


def _leaves(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    beside = flattened(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            yield f"{prefix}{field.name}", value
        elif field.name in beside:
            yield from _leaves(value, prefix)
        else:
            yield from _leaves(value, f"{prefix}{field.name}.")


def flattened(config_type: type) -> list[str]:
    """The fields that are configs whose own fields stand beside the others: those annotated with an empty name."""
    beside = []
    for name, hint in get_type_hints(config_type, include_extras=True).items():
        if any(getattr(note, "name", None) == "" for note in getattr(hint, "__metadata__", ())):
            beside.append(name)
    return beside


def settings(config: Any) -> dict[str, Any]:
    """Path → value where it is not the default, the seed left out; the folder of real data by its variable's name."""
    now, default = paths(config), dict(_defaults(type(config), config, ""))
    changed = {}
    for path, value in now.items():
        if path != "seed" and (path not in default or plain(value) != default[path]):
            changed[path] = portable(plain(value))
    return changed


def _defaults(config_type: type, config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Path → default as JSON holds it, of every field of `config` that has one."""
    beside = flattened(config_type)
    for field in dataclasses.fields(config_type):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = getattr(config, field.name)
        below = prefix if field.name in beside else f"{prefix}{field.name}."
        if dataclasses.is_dataclass(value) and type(default) is type(value):
            for path, inner in _leaves(default, below):
                yield path, plain(inner)
        elif dataclasses.is_dataclass(value):
            yield from _defaults(type(value), value, below)
        elif default is not dataclasses.MISSING:
            yield f"{prefix}{field.name}", plain(default)


def arm_name(difference: Difference) -> str:
    """A readable folder name of a difference, such as `pair=self,width=0.25`; `default` if there is none."""

    def text(value: Any) -> str:
        return "-".join(map(text, value)) if isinstance(value, list | tuple) else str(value)

    pairs = [f"{path}={text(plain(difference[path]))}" for path in sorted(difference)]
    return re.sub(r"[^\w.+=,-]", "_", ",".join(pairs))[:200] or "default"


def digest(config: Any, *more: Any) -> str:
    """Eight characters that differ where configs do, or anything else that is given: a name for what was made of them.

    A path that is given beside the config stands for what its file holds.
    """
    parts: list[str | bytes | os.PathLike[str]] = []
    for part in (config, *more):
        whole = part is not config and isinstance(part, bytes | os.PathLike)
        parts.append(part if whole else json.dumps(plain(part), sort_keys=True))
    return files.digest(*parts, size=4)


def contents(
    config: Any, content: Callable[[Path], str] = files.content, *, workdir: Path | None = None
) -> dict[str, str]:
    """Path → a name for what it holds, of every file and folder that a config names and that is there to be read.

    Folders that results are written to are not: `data_dir`, and those around `workdir`.
    """
    found = {}
    for name, value in paths(config).items():
        for each in value if isinstance(value, tuple | list) else (value,):
            if not isinstance(each, Path) or name.rpartition(".")[2] in OUTPUTS or not each.exists():
                continue
            if workdir is None or not workdir.resolve().is_relative_to(each.resolve()):
                found[f"{name} {each}"] = content(each)
    return found


def changes(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two configs as JSON holds them, in words, by dotted path."""
    old, new = dict(_entries(there, "")), dict(_entries(now, ""))
    told = []
    for path in {**new, **old}:
        if old.get(path, ...) != new.get(path, ...):
            told.append(f"{path} is {old.get(path, 'absent')!r} there, {new.get(path, 'absent')!r} now")
    return told


def _entries(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _entries(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def portable(value: Any) -> Any:
    """Text, alone or in lists, with the folder of real data, which is elsewhere on every machine, as its variable."""
    if isinstance(value, list):
        return [portable(item) for item in value]
    folder = os.environ.get(REAL_DATA, "").rstrip("/")
    return value.replace(folder, f"${REAL_DATA}") if folder and isinstance(value, str) else value
