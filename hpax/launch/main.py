"""The command line of an experiment, and one run after another."""

import argparse
import contextlib
import contextvars
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import rich.console
import rich.table
import tyro

from hpax import files, processes
from hpax.launch.config import Difference, LaunchError, arm_name, attributes, changes, contents, plain, replaced
from hpax.launch.manual import framed
from hpax.launch.record import Result, origin, record

PAGE = "index.html"
"""The page that a run may leave in its folder."""

EXPLORER = "explorer.html"
"""The page of cells that it may leave beside."""

DIGESTS = ".digests.json"
"""What large files held, in the workdir, so that they are not read again as long as nobody touches them."""

MADE_OF = "made_of.json"
"""What the files and folders that a config names held, in the folder of a run that reads any."""


_CALLED: contextvars.ContextVar[str | None] = contextvars.ContextVar("called", default=None)

OUTPUTS = (
    "Each arm leaves config.json, result.json and what the study makes, such as index.html, in WORKDIR/ARM/seedN. The "
    "same command goes on where it was stopped and skips what has its result; `hpax report` tables all results."
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """One run: its config, the folder that it owns, and what the files that the config names hold."""

    name: str
    config: Any
    folder: Path
    contents: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Where to run, and what to repeat."""

    workdir: Path  # holds <arm>/seed<k>/{config,result}.json
    sweep: str | None = None  # run every arm of this sweep; finished arms are skipped
    seeds: tuple[int, ...] = ()  # run every arm with each of these seeds instead of --seed
    show_config: bool = False  # print the config of every arm as JSON, and run nothing


@contextlib.contextmanager
def called(name: str) -> Iterator[None]:
    """Experiments that are run in here go by this name in their help."""
    before = _CALLED.set(name)
    try:
        yield
    finally:
        _CALLED.reset(before)


@processes.pipeable()
@processes.interruptible()
def main(
    config_type: type,
    run: Callable[[Any, Path], Result],
    *,
    sweeps: Mapping[str, Sequence[Difference]] | None = None,
    presets: Mapping[str, Difference] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run an experiment from its command line: one config, or every arm of a sweep, with one or several seeds.

    An arm whose result.json is there is skipped, an unfinished one is run again in its own folder, and a failing
    one does not stop the others. The exit status is 0 if every arm has its result, 1 if one failed, 2 if nothing was
    run (an unknown sweep, data that cannot be read, a folder that holds another config or that another process works
    in) and 130 after Ctrl-C.

    A preset is a difference to the defaults; flags beside `--preset NAME` change it further. `--fast` is short for
    `--preset fast`, where there is a preset of that name.
    """
    console, errors = rich.console.Console(soft_wrap=True), rich.console.Console(stderr=True, soft_wrap=True)
    arguments = sys.argv[1:] if argv is None else list(argv)
    module, about = named(run)
    failed, refused = [], []
    try:
        config, launcher = _parse(config_type, module, about, presets or {}, arguments)
        told = origin(["python", "-m", module], about, config, arguments, sweep=launcher.sweep)
        todo = arms(config, launcher, sweeps or {})
        if launcher.show_config:
            print(json.dumps({str(arm.folder): plain(arm.config) for arm in todo}, indent=1))
            return 0
        todo = _with_contents(todo, launcher.workdir)
        records = {arm.folder: _finished(arm) for arm in todo}
        for number, arm in enumerate(todo, 1):
            state = "finished before" if records[arm.folder] else "running"
            console.print(f"[{number}/{len(todo)}] {arm.folder}: {state}", markup=False, highlight=False)
            try:
                records[arm.folder] = records[arm.folder] or _run(arm, run, told)
            except (LaunchError, files.Taken) as error:
                refused.append(f"error: {arm.folder}: {error}\n")
            except Exception as error:
                if processes.unread(error):
                    raise
                errors.print_exception()
                failed.append(f"failed: {arm.folder}: {type(error).__name__}: {error}\n")
    except LaunchError as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        errors.print("stopped; the same command goes on from here")
        return 130
    there = {folder: record for folder, record in records.items() if record}
    if there:
        _sum_up(console, told["experiment"], there)
    errors.print(*failed, *refused, sep="", end="", style="red", markup=False, highlight=False)
    return 1 if failed or (refused and there) else 2 if refused else 0


def _sum_up(console: rich.console.Console, name: str, records: Mapping[Path, Mapping[str, Any]]) -> None:
    """The table of what was found, and the paths of pages."""
    console.print(_table(name, records))
    for folder in records:
        if (folder / EXPLORER).exists():
            console.print(f"to explore the cells: {folder / EXPLORER}", markup=False, highlight=False)
        if (folder / PAGE).exists():
            console.print(f"the page: {folder / PAGE}", markup=False, highlight=False)


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
    for difference in differences:
        _check(config, difference)
    todo = []
    for name, difference in zip(names, differences, strict=True):
        for seed in dict.fromkeys(launcher.seeds or (config.seed,)):
            own = replaced(config, {**difference, "seed": seed})
            todo.append(Arm(name, own, launcher.workdir / name / f"seed{seed}"))
    return todo


def _with_contents(todo: Sequence[Arm], workdir: Path) -> list[Arm]:
    """The arms, knowing what the files and folders that they name hold; each is looked through once."""
    known = files.KnownDigests(workdir / DIGESTS)
    content = functools.cache(functools.partial(files.content, known=known))
    told = [dataclasses.replace(arm, contents=contents(arm.config, content, workdir=workdir)) for arm in todo]
    known.keep()
    return told


def _check(config: Any, difference: Difference) -> None:
    """A LaunchError if an arm sets what is no field, or the seed."""
    wrong, told = [], []
    for path in difference:
        try:
            if attributes(config, path) == ["seed"]:
                wrong.append(path)
        except LaunchError as error:
            wrong.append(path)
            told.append(f"; {error}")
    if wrong:
        raise LaunchError(
            f"an arm may set fields of the config, got {wrong}; seeds are given with --seeds" + "".join(told)
        )


def named(run: Callable[..., Any]) -> tuple[str, str]:
    """The module that defines `run`, as `python -m` knows it, and the first paragraph of its docstring."""
    module = sys.modules[run.__module__]
    name = module.__spec__.name if module.__spec__ else Path(str(module.__file__)).stem
    return name, " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())


def _parse(
    config_type: type, module: str, about: str, presets: Mapping[str, Difference], arguments: Sequence[str]
) -> tuple[Any, Launcher]:
    """The config and the launcher's flags, side by side on one command line."""
    names, flags = ({field.name for field in dataclasses.fields(kind)} for kind in (config_type, Launcher))
    if "seed" not in names or names & flags:
        raise TypeError(f"a Config must have a field seed and none of {sorted(flags)}, this one has {sorted(names)}")
    flat, launcher = tyro.conf.arg(name=""), Launcher(Path("runs") / module.rpartition(".")[2])
    preset = _preset(presets, arguments)
    start = config_type() if preset is None else replaced(config_type(), presets[preset])
    command = dataclasses.make_dataclass(
        "Command",
        [
            (config_type.__name__, Annotated[config_type, flat], start),
            ("launcher", Annotated[Launcher, flat], launcher),
            *_preset_flags(presets),
        ],
    )
    called = _CALLED.get() or f"python -m {module}"
    example = f"{called}{' --fast' if 'fast' in presets else ''} --workdir {launcher.workdir}"
    try:
        with framed(arguments, example, OUTPUTS):
            parsed: Any = tyro.cli(command, prog=called, description=about, args=arguments)
    except ValueError as error:  # of the config itself; those of configs inside of it are told by tyro
        raise LaunchError(str(error)) from error
    return getattr(parsed, config_type.__name__), parsed.launcher


def _preset(presets: Mapping[str, Difference], arguments: Sequence[str]) -> str | None:
    """The preset that the command line asks for; None if there is none of that name, which the real parser says."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset")
    if "fast" in presets:
        parser.add_argument("--fast", dest="preset", action="store_const", const="fast")
    with contextlib.suppress(argparse.ArgumentError):
        asked = parser.parse_known_args(list(arguments))[0].preset
        return asked if asked in presets else None
    return None


def _preset_flags(presets: Mapping[str, Difference]) -> list[tuple[str, Any, Any]]:
    """`--preset` and `--fast` for the help and the parser; what they say is known before."""
    if not presets:
        return []
    told = tyro.conf.arg(help="start from these settings instead of the defaults")
    flags: list[tuple[str, Any, Any]] = [("preset", Annotated[Literal[tuple(presets)] | None, told], None)]
    if "fast" in presets:
        short = tyro.conf.arg(help="short for --preset fast")
        flags.append(("fast", Annotated[bool, short, tyro.conf.FlagCreatePairsOff], False))
    return flags


def _finished(arm: Arm) -> dict[str, Any] | None:
    """The record of an arm that has its result, else None; a LaunchError if the folder is another config's."""
    path, now = arm.folder / "config.json", plain(arm.config)
    there = _read(path) if path.exists() else now
    if changed := changes(there, now):
        told = "; ".join(changed)
        raise LaunchError(f"{arm.folder} holds another config ({told}); choose another --workdir or delete that folder")
    made_of = arm.folder / MADE_OF
    held = _read(made_of) if made_of.exists() else arm.contents
    if touched := [name for name in {**held, **arm.contents} if held.get(name) != arm.contents.get(name)]:
        told = "; ".join(touched)
        raise LaunchError(
            f"{arm.folder} was made of other files: what these hold has changed since ({told}); choose another "
            "--workdir or delete that folder"
        )
    result = arm.folder / "result.json"
    return _read(result) if result.exists() else None


def _run(arm: Arm, run: Callable[[Any, Path], Result], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Run one arm in its folder, which nobody else may use meanwhile, and write its result.json once all is done."""
    arm.folder.mkdir(parents=True, exist_ok=True)
    with files.exclusive(arm.folder):
        files.clear_drafts(arm.folder)
        if there := _finished(arm):  # somebody else ended it since we looked
            return there
        resumed = any(arm.folder.iterdir())
        files.write_json(arm.folder / "config.json", plain(arm.config))
        if arm.contents:
            files.write_json(arm.folder / MADE_OF, arm.contents)
        start = time.perf_counter()
        try:
            result = run(arm.config, arm.folder)
        except LaunchError:
            if not resumed:  # what was wrong may be put right, which makes another run of it
                for name in ("config.json", MADE_OF):
                    (arm.folder / name).unlink(missing_ok=True)
            raise
        seconds = time.perf_counter() - start
        told = record(arm.config, result, origin, arm=arm.name, seed=arm.config.seed, seconds=seconds, resumed=resumed)
        files.write_json(arm.folder / "result.json", told)
    return told


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in `path`."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LaunchError(f"{path} is damaged ({error}); delete its folder to run this arm again") from error


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
