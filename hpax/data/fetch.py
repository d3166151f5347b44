"""Fields from proteinatlas.org into a folder: `python -m hpax.data.fetch LIST.csv FOLDER`.

LIST.csv is what `hpax.formats.proteinatlas.read_list` reads; FOLDER becomes what `hpa_fields` and `hpa_cells` read.
Run it again to fetch what is missing. Exits with 1 if a picture could not be had; `failures.csv` in FOLDER lists them.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tyro

from hpax import atlas, files
from hpax.data.download import Downloader, Missing, RateLimit, Refused
from hpax.formats import fields, proteinatlas, tables
from hpax.progress import shown

TABLE = "fields.csv"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A picture that could not be had, and why."""

    id: str
    url: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a list: the ids of fields that were there before, those that came, and what failed."""

    present: list[str]
    fetched: list[str]
    failures: list[Failure]


@dataclasses.dataclass(frozen=True)
class _Outcome:
    present: bool = False
    absent: bool = False  # a guessed field that does not exist
    failures: tuple[Failure, ...] = ()


def fetch(
    wanted: Sequence[proteinatlas.FieldRequest],
    folder: str | os.PathLike,
    *,
    base: str = proteinatlas.BASE,
    manners: RateLimit | None = None,
    progress: bool = False,
) -> Report:
    """Fetches fields from the server at `base` into `folder`, beside a table of what the list says of them.

    A field appears when all four pictures have come, decode, and have the digests that the list gives; until then they
    are called `.part`, and a later run goes on with them. What fails is reported, and the rest goes on.

    Raises:
        ValueError: `base` is no web address, another process fetches into `folder`, or the table there is none of
            fields; nothing is fetched then.
    """
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise ValueError(f"base must be an http or https address, got {base!r}")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.exclusive(folder):
        files.clear_drafts(folder)
        known = _read_table(folder / TABLE)
        one = functools.partial(_fetch_field, folder=folder, base=base)
        outcomes = _fetch_all(one, wanted, manners or RateLimit(), progress)
        there = [f for f in wanted if not outcomes[f.id].absent and not outcomes[f.id].failures]
        failures = [failure for f in wanted for failure in outcomes[f.id].failures]
        failures += _empty_wells(wanted, outcomes, base)
        _write_table(folder / TABLE, known, there)
        _write_failures(folder / proteinatlas.FAILURES, failures)
    was = [f.id for f in there if outcomes[f.id].present]
    return Report(was, [f.id for f in there if not outcomes[f.id].present], failures)


def _fetch_all(
    one: Callable[[Downloader, proteinatlas.FieldRequest], _Outcome],
    wanted: Sequence[proteinatlas.FieldRequest],
    manners: RateLimit,
    progress: bool,
) -> dict[str, _Outcome]:
    """Id → outcome; an interruption or a full disk stops all threads."""
    downloader, outcomes = Downloader(manners), {}
    bar = shown("fields", len(wanted)) if progress else contextlib.nullcontext()
    with bar as counted, concurrent.futures.ThreadPoolExecutor(manners.workers) as pool:
        running = {pool.submit(one, downloader, field): field.id for field in wanted}
        try:
            for future in concurrent.futures.as_completed(running):
                outcomes[running[future]] = future.result()
                if counted is not None:
                    counted.advance()
        except BaseException:
            downloader.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return outcomes


def _fetch_field(
    downloader: Downloader, field: proteinatlas.FieldRequest, *, folder: pathlib.Path, base: str
) -> _Outcome:
    paths = {channel: folder / field.file(channel) for channel in atlas.CHANNELS}
    missing = [channel for channel, path in paths.items() if not _is_there(path, field.sha256.get(channel))]
    failures: list[Failure] = []
    for channel in missing:
        url, part = field.url(channel, base=base), _part(paths[channel])
        try:
            downloader.get(url, part, functools.partial(_check, sha256=field.sha256.get(channel)))
        except Missing as error:
            if field.guessed and missing == list(atlas.CHANNELS) and channel == missing[0]:
                return _Outcome(absent=True)
            failures.append(Failure(field.id, url, str(error)))
        except Refused as error:
            failures.append(Failure(field.id, url, str(error)))
    if not failures:
        for channel in missing:
            _part(paths[channel]).replace(paths[channel])
    return _Outcome(present=not missing, failures=tuple(failures))


def _part(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.part")


def _is_there(path: pathlib.Path, sha256: str | None) -> bool:
    return path.exists() and (sha256 is None or _sha256(path) == sha256)


def _check(path: pathlib.Path, *, sha256: str | None) -> None:
    if sha256 and (got := _sha256(path)) != sha256:
        raise ValueError(f"its sha256 is {got}, but the list says {sha256}")
    fields.read_channel(path)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _empty_wells(
    wanted: Iterable[proteinatlas.FieldRequest], outcomes: Mapping[str, _Outcome], base: str
) -> Iterator[Failure]:
    """A failure for each well of which not one field was found."""
    wells: dict[str, list[proteinatlas.FieldRequest]] = {}
    for field in wanted:
        wells.setdefault(field.image, []).append(field)
    for image, members in wells.items():
        if all(outcomes[field.id].absent for field in members):
            url = members[0].url(atlas.CHANNELS[0], base=base)
            yield Failure(image, url, f"none of the fields {', '.join(field.field for field in members)} is there")


def _read_table(path: pathlib.Path) -> dict[str, Mapping[str, str]]:
    """The rows of the table that earlier lists brought or somebody wrote, by id; none where it is not there.

    Raises:
        ValueError: it has no column id, or a row without one, or whose id another row has.
    """
    if not path.exists():
        return {}
    if "id" not in (names := tables.columns(path)):
        raise ValueError(f"{path} needs the column id, got {tables.listed(names)}; rename the one that holds ids")
    rows: dict[str, Mapping[str, str]] = {}
    for row in tables.read(path):
        if not (id := row.values.get("id", "")):
            raise ValueError(f"{row.where}: there is no id; give one, or remove the row")
        if rows.setdefault(id, row.values) != row.values:
            raise ValueError(f"{row.where}: id {id} comes twice; keep one row")
    return rows


def _write_table(
    path: pathlib.Path, known: Mapping[str, Mapping[str, str]], there: Sequence[proteinatlas.FieldRequest]
) -> None:
    """Adds fields to the rows of a table; where these have a value and the list has none, they keep it."""
    rows = dict(known)
    for field in there:
        told = {"id": field.id, "antibody": str(field.antibody), **field.notes}
        rows[field.id] = {**rows.get(field.id, {}), **{name: value for name, value in told.items() if value}}
    others = [name for row in known.values() for name in row]
    _write_csv(path, list(dict.fromkeys(("id", "antibody", *proteinatlas.NOTES, *others))), rows.values())


def _write_failures(path: pathlib.Path, failures: Sequence[Failure]) -> None:
    if failures:
        _write_csv(path, ("id", "url", "reason"), map(dataclasses.asdict, failures))
    else:
        path.unlink(missing_ok=True)


def _write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    with files.replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(RateLimit):
    """Fetches fields of the Human Protein Atlas into a folder; run it again to go on."""

    list: tyro.conf.Positional[pathlib.Path]  # CSV with antibody, plate, well and field, or image
    folder: tyro.conf.Positional[pathlib.Path]
    base: str = proteinatlas.BASE
    fields: int = proteinatlas.FIELDS  # asked for where the list names only the well


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetches what the arguments say, shows progress, and sums up what failed."""
    command = tyro.cli(Command, args=arguments, prog="python -m hpax.data.fetch")
    try:
        wanted = proteinatlas.read_list(command.list, fields=command.fields)
        report = fetch(wanted, command.folder, base=command.base, manners=command, progress=True)
    except (ValueError, OSError) as error:
        sys.exit(f"nothing more was fetched: {error}")
    print(f"{len(report.fetched)} fields came, {len(report.present)} were there, in {command.folder}")
    for failure in report.failures[:10]:
        print(f"  {failure.url}: {failure.reason}", file=sys.stderr)
    if report.failures:
        sys.exit(f"{len(report.failures)} pictures failed; {command.folder / proteinatlas.FAILURES} lists them all")


if __name__ == "__main__":
    main()
