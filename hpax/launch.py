"""An experiment's command line, its sweeps, and the folder of every arm.

An experiment module holds a frozen dataclass `Config`, `run(config, workdir) -> Result` and `SWEEPS`, and ends with
`launch.main(Config, run, sweeps=SWEEPS, argv=argv)`. An arm is a difference from the config; each arm and seed has its
own folder `workdir/<arm>/seed<k>` with a config.json, written first, and a result.json, written last and at once.
"""

import dataclasses
import enum
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import rich.console
import rich.table
import tyro

import hpax

Difference = Mapping[str, Any]
"""Field of the config → value, applied with `dataclasses.replace`."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn", "scikit-image")
"""Whose versions a result names, besides those of Python and hpax."""

REAL_DATA = "HPAX_REAL_DATA"
"""The environment variable of the real images' folder; recorded by its name, as its value differs between machines."""


class LaunchError(ValueError):
    """A request that cannot be run; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run found; a ValueError if a headline is no metric, or a metric or count no number."""

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
            if np.ndim(value) or not np.issubdtype(np.asarray(value).dtype, np.number):
                raise ValueError(f"metrics and counts must be numbers, got {name}={value!r}; reduce it before")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One run: its config, and the folder that it owns."""

    name: str
    config: Any
    folder: Path


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Where to run, and what to repeat."""

    workdir: Path  # holds <arm>/seed<k>/{config,result}.json
    sweep: str | None = None  # run every arm of this sweep; finished arms are skipped
    seeds: tuple[int, ...] = ()  # run every arm with each of these seeds instead of --seed


def grid(**axes: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Every combination of the axes' values as differences, the last axis fastest; ValueError if an axis is empty."""
    for name, values in axes.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"axis {name} must be a list of one or more values, got {values!r}")
    return tuple(dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def main(
    config_type: type,
    run: Callable[[Any, Path], Result],
    *,
    sweeps: Mapping[str, Sequence[Difference]] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run an experiment from its command line: one config, or every arm of a sweep, with one or several seeds.

    An arm whose result.json is there is skipped, an unfinished one is run again in its own folder, and a failing
    one does not stop the others. The exit status is 0 if every arm has its result, 1 if one failed, 2 if nothing was
    run (an unknown sweep, a folder that holds another config) and 130 after Ctrl-C.
    """
    console, errors = rich.console.Console(soft_wrap=True), rich.console.Console(stderr=True, soft_wrap=True)
    arguments = sys.argv[1:] if argv is None else list(argv)
    module, about = _named(run)
    config, launcher = _parse(config_type, module, about, arguments)
    told = origin(module, about, config, arguments, sweep=launcher.sweep)
    failed = []
    try:
        todo = arms(config, launcher, sweeps or {})
        records = {arm.folder: _finished(arm) for arm in todo}
        for number, arm in enumerate(todo, 1):
            state = "finished before" if records[arm.folder] else "running"
            console.print(f"[{number}/{len(todo)}] {arm.folder}: {state}", markup=False, highlight=False)
            try:
                records[arm.folder] = records[arm.folder] or _run(arm, run, told)
            except Exception as error:
                errors.print_exception()
                failed.append(f"failed: {arm.folder}: {type(error).__name__}: {error}\n")
    except LaunchError as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        errors.print("stopped; the same command goes on from here")
        return 130
    console.print(_table(told["experiment"], {folder: record for folder, record in records.items() if record}))
    errors.print(*failed, sep="", end="", style="red", markup=False, highlight=False)
    return 1 if failed else 0


def of_fields(
    config_type: type, run: Callable[[Any, Sequence[str]], Mapping[str, str]], argv: Sequence[str] | None = None
) -> int:
    """Run, from its command line, what goes over fields one by one: `run(config, arguments)` says why some failed.

    These are named last. The exit status is 0 if all went well, 1 if some fields failed, 2 if nothing was done, and 130
    after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    module, about = _named(run)
    config = tyro.cli(config_type, prog=f"python -m {module}", description=about, args=arguments)
    try:
        failures = run(config, arguments)
    except (ValueError, OSError, BrokenProcessPool) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    for id, reason in sorted(failures.items()):
        print(f"failed: {id}: {reason}", file=sys.stderr)
    return int(bool(failures))


def origin(
    module: str, about: str, config: Any, arguments: Sequence[str], *, sweep: str | None = None
) -> dict[str, Any]:
    """What made a result: experiment, command, settings, versions, cores, commit."""
    command = _portable(shlex.join(["python", "-m", module, *arguments]))
    told = {"experiment": module.rpartition(".")[2], "about": about, "command": command, "sweep": sweep}
    return {**told, "settings": _settings(config), **_environment()}


def record(
    config: Any, result: Result, origin: Mapping[str, Any], *, arm: str, seed: int, seconds: float, resumed: bool
) -> dict[str, Any]:
    """What a result.json holds."""
    told = {"arm": arm, "seed": seed, **plain(result), **origin, "devices": _devices()}
    return told | {"wall_s": round(seconds, 3), "resumed": resumed, "config": plain(config)}


def arms(config: Any, launcher: Launcher, sweeps: Mapping[str, Sequence[Difference]]) -> list[Arm]:
    """The runs that `launcher` asks for: each difference of its sweep with each of its seeds.

    Raises:
        LaunchError: the sweep is unknown or empty, two of its arms share a name, or one sets no field or the seed.
    """
    if launcher.sweep is not None and launcher.sweep not in sweeps:
        raise LaunchError(f"sweep {launcher.sweep!r} is unknown; choose from {list(sweeps)}")
    differences = [{}] if launcher.sweep is None else list(sweeps[launcher.sweep])
    names = [arm_name(difference) for difference in differences]
    if not names or len(set(names)) < len(names):
        raise LaunchError(f"a sweep needs arms of different names, {launcher.sweep!r} has {names}")
    allowed = {field.name for field in dataclasses.fields(config)} - {"seed"}
    for difference in differences:
        if unknown := sorted(set(difference) - allowed):
            raise LaunchError(f"an arm may set {sorted(allowed)}, got {unknown}; seeds are given with --seeds")
    seeds = dict.fromkeys(launcher.seeds or (config.seed,))
    return [
        Arm(name, dataclasses.replace(config, **difference, seed=seed), launcher.workdir / name / f"seed{seed}")
        for name, difference in zip(names, differences, strict=True)
        for seed in seeds
    ]


def arm_name(difference: Difference) -> str:
    """A readable folder name of a difference, such as `pair=self,width=0.25`; `default` if there is none."""

    def text(value: Any) -> str:
        return "-".join(map(text, value)) if isinstance(value, list | tuple) else str(value)

    pairs = [f"{field}={text(plain(difference[field]))}" for field in sorted(difference)]
    return re.sub(r"[^\w.+=,-]", "_", ",".join(pairs))[:200] or "default"


def digest(config: Any) -> str:
    """Eight characters that differ where configs do: a name for what was made with one."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:8]


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses as dicts, paths and enums as text, NaN and infinities as None."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _named(run: Callable[..., Any]) -> tuple[str, str]:
    """The module that defines `run`, as `python -m` knows it, and the first paragraph of its docstring."""
    module = sys.modules[run.__module__]
    name = module.__spec__.name if module.__spec__ else Path(str(module.__file__)).stem
    return name, " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())


def _parse(config_type: type, module: str, about: str, arguments: Sequence[str]) -> tuple[Any, Launcher]:
    """The config and the launcher's flags, side by side on one command line."""
    names, flags = ({field.name for field in dataclasses.fields(kind)} for kind in (config_type, Launcher))
    if "seed" not in names or names & flags:
        raise TypeError(f"a Config must have a field seed and none of {sorted(flags)}, this one has {sorted(names)}")
    flat, launcher = tyro.conf.arg(name=""), Launcher(Path("runs") / module.rpartition(".")[2])
    config = (config_type.__name__, Annotated[config_type, flat], dataclasses.field(default_factory=config_type))
    command = dataclasses.make_dataclass("Command", [config, ("launcher", Annotated[Launcher, flat], launcher)])
    parsed = tyro.cli(command, prog=f"python -m {module}", description=about, args=arguments)
    return getattr(parsed, config_type.__name__), parsed.launcher


def _finished(arm: Arm) -> dict[str, Any] | None:
    """The record of an arm that has its result, else None; a LaunchError if the folder is another config's."""
    path, now = arm.folder / "config.json", plain(arm.config)
    there = _read(path) if path.exists() else now
    if changed := [name for name in {**now, **there} if now.get(name, ...) != there.get(name, ...)]:
        told = "; ".join(f"{n} is {there.get(n, 'absent')!r} there, {now.get(n, 'absent')!r} now" for n in changed)
        raise LaunchError(f"{arm.folder} holds another config ({told}); choose another --workdir or delete that folder")
    result = arm.folder / "result.json"
    return _read(result) if result.exists() else None


def _run(arm: Arm, run: Callable[[Any, Path], Result], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Run one arm in its folder, and write its result.json once all is done."""
    arm.folder.mkdir(parents=True, exist_ok=True)
    resumed = any(arm.folder.iterdir())
    write(arm.folder / "config.json", plain(arm.config))
    start = time.perf_counter()
    result = run(arm.config, arm.folder)
    seconds = time.perf_counter() - start
    told = record(arm.config, result, origin, arm=arm.name, seed=arm.config.seed, seconds=seconds, resumed=resumed)
    write(arm.folder / "result.json", told)
    return told


def _settings(config: Any) -> dict[str, Any]:
    """The fields that the command line set to something else than their default, the seed left out."""
    now, default = plain(config), {field.name: _default(field) for field in dataclasses.fields(config)}
    changed = {name: value for name, value in now.items() if value != default[name] and name != "seed"}
    return {name: _portable(value) if isinstance(value, str) else value for name, value in changed.items()}


def _default(field: dataclasses.Field) -> Any:
    """The default of a config's field as JSON holds it; of a field that has none, something that equals nothing."""
    factory = field.default_factory
    return plain(field.default if factory is dataclasses.MISSING else factory())


def _portable(text: str) -> str:
    """`text` with the folder of real data, which is elsewhere on every machine, under its variable's name."""
    folder = os.environ.get(REAL_DATA, "").rstrip("/")
    return text.replace(folder, f"${REAL_DATA}") if folder else text


def _environment() -> dict[str, Any]:
    """Versions, cores and commit of this process."""
    versions = {"python": platform.python_version(), "hpax": hpax.__version__}
    versions |= {package: importlib.metadata.version(package) for package in PACKAGES}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"versions": versions, "cores": cores, **_commit()}


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
    devices = jax.devices()
    return {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in `path`."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LaunchError(f"{path} is damaged ({error}); delete its folder to run this arm again") from error


def write(path: Path, value: Mapping[str, Any]) -> None:
    """JSON under a temporary name, then renamed: a reader sees all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)


def _table(title: str, records: Mapping[Path, Mapping[str, Any]]) -> rich.table.Table:
    """Headline metrics by arm and seed; the longer of the two runs down the page."""
    names = list(dict.fromkeys(name for record in records.values() for name in record.get("headline", ())))
    runs = [f"{folder.parent.name} {folder.name}" for folder in records]
    cells = [[_shown(record["metrics"].get(name)) for name in names] for record in records.values()]
    if len(names) > max(4, len(runs)):
        return _rows(rich.table.Table("", *runs, title=title), names, list(zip(*cells, strict=True)))
    return _rows(rich.table.Table("", *names, title=title), runs, cells)


def _rows(table: rich.table.Table, names: Sequence[str], cells: Sequence[Sequence[str]]) -> rich.table.Table:
    for name, row in zip(names, cells, strict=True):
        table.add_row(name, *row)
    return table


def _shown(number: float | None) -> str:
    return "n/a" if number is None else f"{number:.4g}"
