"""What `hpax segment` does."""

import dataclasses
import functools
import json
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hpax import data, files, launch, processes, progress
from hpax.commands import plausibility, shares, tables
from hpax.commands.command import Call
from hpax.commands.folder import FolderField, er_remarks, scaled, sized, survey
from hpax.commands.found_cells import finished, is_measured, read_record, rows, segment, thumbnail
from hpax.commands.segment import ANEW, Config
from hpax.data import building, folders, pixel_sizes
from hpax.data.failures import reasons
from hpax.explore import overlays, page
from hpax.fields import Masks
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.models import segmenter

COLUMNS = 4  # of the sheet of overlays
SCALE = "full_scale.json"  # in a workdir
PRIVATE = ("digest", "stamp", "pictures", "masks_digest", "masks_stamp", "corrected", "version")
"""Of a record, for nobody's table."""


def check_asked(name: str, *, needed: bool) -> None:
    """Refuses a segmenter that was asked for where the cells are known.

    Raises:
        ValueError: it is another than the default, and there is nothing for it to find.
    """
    if not needed and name != Config.segmenter:
        told = "leave --segmenter or --masks out (crops take neither)"
        raise ValueError(f"a segmenter finds cells of fields without masks; {told}, got {name!r}")


def run(config: Config, call: Call) -> dict[str, str]:
    """Segments, cuts and tells; returns why some fields failed.

    Raises:
        FileNotFoundError: no folder, no field in it, or no such network.
        ValueError: the workdir is another config's or another process's, or no field has a cell.
    """
    start = time.perf_counter()
    known, failures = survey(config.fields, config.annotations, planes=config.planes)
    segmenter.by_name(config.segmenter, config.networks)  # before anything is written, if it cannot be made
    share = shares.parse(config.share)
    make_folder(config)
    with shares.exclusive(config.workdir, share):
        claim(config)
        known = scaled(known, config.camera_bits, config.workdir / SCALE)
        known, guesses = sized(known, config.um_per_pixel, config.workdir / pixel_sizes.FILE)
        own = known if share is None else share.of(known)
        todo = [field for field in own if not finished(field, config)]
        failures |= segment_all(config, todo, shown=chosen(config, known))
        if share is not None:
            print(share.told(len(own), len(known)))
            return failures
        finish(config, call, known, failures, guesses, start=start, resumed=len(todo) < len(known))
    return failures


def finish(
    config: Config,
    call: Call,
    known: Sequence[FolderField],
    failures: Mapping[str, str],
    guesses: Sequence[pixel_sizes.Guess],
    *,
    start: float,
    resumed: bool = False,
) -> None:
    """Leaves all that is made of the records, and says what there is; `failures` of fields with a record are others'.

    Raises:
        ValueError: no field has a cell.
    """
    done = [field for field in known if is_measured(config.workdir, field.id)]
    own = {id: reason for id, reason in failures.items() if not is_measured(config.workdir, id)}
    scale = next((field.files.full_scale for field in known if field.files.full_scale), None)
    remarks = [scale.remark] if scale is not None and scale.remark else []
    remarks += [guess.remark(config.um_per_pixel) for guess in guesses]
    remarks += er_remarks(known)
    summary = tell(config, known, done, own, remarks)
    built = None
    if config.shards:
        clear_shards(config, done)
        estimates = next((field.files.estimates for field in known), ())
        built = build_shards(config, summary.bits, estimates)
    _record(config, call, summary, own, built, seconds=time.perf_counter() - start, resumed=resumed)
    cut = "" if built is None else f", {len(built)} in {built.info.full_name}"
    for remark in summary.doubts:
        print(f"doubtful: {remark}")
    print(f"{summary.cells} cells in {summary.fields} fields{cut}")
    print(f"the page: {config.workdir / 'index.html'}")


def make_folder(config: Config) -> None:
    """The workdir.

    Raises:
        ValueError: it would lie among the fields.
    """
    if config.workdir.resolve().is_relative_to(config.fields.resolve()):
        raise ValueError(f"{config.workdir} must not lie in {config.fields}, whose files name the data set")
    config.workdir.mkdir(parents=True, exist_ok=True)


def claim(config: Config) -> None:
    """Makes the workdir this config's.

    Raises:
        ValueError: it belongs to another config.
    """
    now = {name: value for name, value in launch.plain(config).items() if name not in (*ANEW, "workdir")}
    now["fields"] = str(config.fields.resolve())
    now["content of networks"] = segmenter.content_name(config.segmenter, config.networks)
    path = config.workdir / "config.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else now
    if changed := launch.changes(there, now):
        told = "; ".join(changed)
        raise ValueError(f"{config.workdir} holds other results ({told}); choose another --workdir or delete that one")
    for folder in ("fields", "masks", "overlays"):
        (config.workdir / folder).mkdir(parents=True, exist_ok=True)
        if not config.share:
            files.clear_drafts(config.workdir / folder)
    files.write_json(path, now)


def chosen(config: Config, known: Sequence[FolderField]) -> set[str]:
    """The ids of the fields on the sheet: `shown` of them, evenly spread."""
    return {field.id for field in fields.spread(known, config.shown)}


def segment_all(config: Config, todo: Sequence[FolderField], *, shown: set[str]) -> dict[str, str]:
    """Segments the fields, `workers` at once, shows progress, and returns why some could not be."""
    work, failures = functools.partial(_segment, config, shown), {}
    with progress.shown("fields", len(todo)) as bar:
        for field, reason in zip(todo, _in_order(work, todo, config.workers), strict=True):
            bar.advance()
            if reason:
                failures[field.id] = reason
                bar.say(f"failed: {field.id}: {reason}")
    return failures


def _segment(config: Config, shown: set[str], field: FolderField) -> str:
    return segment(config, field, field.loader(pixel_sizes.number(config.um_per_pixel)), shown=field.id in shown)


def _in_order(work: functools.partial, todo: Sequence[FolderField], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(work, todo)
        return
    with processes.pool(workers) as pool:
        yield from pool.map(work, todo)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the records of all fields add up to."""

    fields: int
    cells: int
    empty: int  # fields without a cell
    bits: int  # 16 if any field has 16
    seconds: Mapping[str, float]  # size of a field → median
    notes: Sequence[tuple[str, str]]  # id, note
    sizes: Mapping[str, int]  # a pixel size and how it is known → fields
    doubts: Sequence[str]  # why the numbers may be wrong


def tell(
    config: Config,
    known: Sequence[FolderField],
    done: Sequence[FolderField],
    failures: Mapping[str, str],
    remarks: Sequence[str] = (),
) -> Summary:
    """Leaves the tables, the sheet of overlays and the page of what was found, with `remarks` on all fields first.

    Raises:
        ValueError: no field has a cell.
    """
    write_tables(config, done, failures)
    summary = summarise(config, done)
    if not summary.cells:
        why = f": {reasons(failures)}" if failures else ""
        raise ValueError(f"no cell in any of {len(known)} fields, {len(failures)} of which failed{why}")
    picture = sheet(config, done)
    with files.replacing(config.workdir / "overlays.jpg") as draft:
        Image.fromarray(picture).save(draft, quality=85)
    write_page(config, summary, failures, picture, remarks)
    return summary


def summarise(config: Config, done: Sequence[FolderField]) -> Summary:
    """Reads the records one by one."""
    seconds: dict[str, list[float]] = {}
    notes, counts, bits = [], [], 8
    sizes: dict[str, int] = {}
    areas: dict[str, list[float]] = {"nucleus": [], "cell": []}  # of those that the border does not cut
    for field in done:
        record = read_record(config.workdir, field.id)
        counts.append(len(record["cells"]))
        bits = max(bits, record["bits"])
        seconds.setdefault(f"{record['width']}x{record['height']}", []).append(record["seconds"])
        notes += [(record["id"], note) for note in record["notes"]]
        size = f"{record['um_per_pixel']:.4g} µm, {record['pixel_size']}"
        sizes[size] = sizes.get(size, 0) + 1
        for cell in record["cells"]:
            if not cell["touches_border"]:
                areas["cell"].append(cell["area_um2"])
                areas["nucleus"].append(cell["nucleus_area_um2"])
    medians = {size: statistics.median(times) for size, times in sorted(seconds.items())}
    doubts = plausibility.doubts(areas["nucleus"], areas["cell"])
    return Summary(len(counts), sum(counts), counts.count(0), bits, medians, notes, sizes, doubts)


def write_tables(config: Config, done: Sequence[FolderField], failures: Mapping[str, str]) -> None:
    """Leaves cells.csv, fields.csv and failures.csv, whatever their number in bounded memory."""
    tables.write(config.workdir / "cells.csv", _cells(config, done))
    tables.write(config.workdir / "fields.csv", _fields(config, done))
    failed = ({"id": id, "reason": reason} for id, reason in sorted(failures.items()))
    tables.write(config.workdir / "failures.csv", failed, columns=("id", "reason"))


def _cells(config: Config, done: Sequence[FolderField]) -> Iterator[dict[str, Any]]:
    for field in done:
        yield from rows(field, read_record(config.workdir, field.id))


def _fields(config: Config, done: Sequence[FolderField]) -> Iterator[dict[str, Any]]:
    for field in done:
        record = read_record(config.workdir, field.id)
        told = {name: value for name, value in record.items() if name not in PRIVATE}
        yield {**told, "cells": len(record["cells"]), "notes": "; ".join(record["notes"])}


def sheet(config: Config, done: Sequence[FolderField]) -> UInt8[np.ndarray, "h w 3"]:
    """Overlays of `shown` fields, evenly spread over the ids."""
    pictures = []
    shown = chosen(config, done)
    for field in done:
        if field.id in shown:
            pictures.append(thumbnail(config.workdir, field.id, functools.partial(_seen, config, field)))
    return overlays.sheet(pictures, columns=min(COLUMNS, len(pictures)))


def _seen(config: Config, field: FolderField) -> tuple[np.ndarray, Masks]:
    return fields.read_field(field.files), Masks(*mask_files.read(config.workdir / "masks", field.id))


def write_page(
    config: Config,
    summary: Summary,
    failures: Mapping[str, str],
    picture: UInt8[np.ndarray, "h w 3"],
    remarks: Sequence[str] = (),
) -> None:
    """index.html: what to know before the numbers are believed, numbers, the sheet, and notes on single fields."""
    numbers: list[list[str | float]] = [
        ["fields", summary.fields],
        ["cells", summary.cells],
        ["fields without a cell", summary.empty],
    ]
    numbers += [[f"median seconds of a {size} field", seconds] for size, seconds in summary.seconds.items()]
    alt = "Microscope fields in the colours of the Human Protein Atlas; white lines around cells, cyan around nuclei."
    caption = "Cells in white, nuclei in cyan; microtubules red, protein green, nucleus blue, ER yellow."
    sections = [
        page.Section("First", first(summary, segmenter.described(config.segmenter, config.networks), remarks)),
        page.Section("Numbers", [page.Table(["what", "number"], numbers)]),
        page.Section("Fields", [page.Picture(picture, alt, caption)]),
        page.Section("Failures", [tables.listing("reason", sorted(failures.items()), "failures.csv")]),
        page.Section("Notes", [tables.listing("note", summary.notes, "fields.csv")]),
    ]
    kind = folders.kind(config.fields)
    about = f"Cells of the {kind} fields in {config.fields}, found by the segmenter “{config.segmenter}”."
    page.write(config.workdir / "index.html", page.page("Fields to cells", about, sections))


def first(summary: Summary, networks: Sequence[tuple[str, str]], remarks: Sequence[str]) -> list[page.Block]:
    """What to know before anything: doubts, how large pixels were taken to be, and what found the cells."""
    blocks: list[page.Block] = [page.Text(f"Doubtful: {doubt}") for doubt in summary.doubts]
    blocks += [page.Text(remark) for remark in remarks]
    blocks.append(page.Table(["pixel size", "fields"], list(summary.sizes.items())))
    blocks.append(page.Table(["found by", "of which its card says"], networks))
    return blocks


def clear_shards(config: Config, done: Sequence[FolderField]) -> None:
    """Removes shards, whole or begun, of pictures or masks that have changed since; digests of files stay."""
    folder = config.workdir / "shards"
    parts = []
    for field in done:
        record = read_record(config.workdir, field.id)
        parts.append(f"{field.id} {record['digest']} {record['masks_digest']}")
    now = {"digest": files.digest(*parts)}
    path = folder / "made_of.json"
    if folder.exists() and files.read_json(path) != now:
        for each in folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
            elif each.name != building.DIGESTS:
                each.unlink()
    files.write_json(path, now)


def build_shards(config: Config, bits: int, estimates: tuple[tuple[int, float], ...] = ()) -> data.Source:
    """The data set hpa_cells of what has masks."""
    return data.build(
        "hpa_cells",
        config.workdir / "shards",
        source=config.fields,
        masks=str(config.workdir / "masks"),
        bits=bits,
        workers=config.workers,
        progress=True,
        annotations=config.annotations,
        um_per_pixel=pixel_sizes.number(config.um_per_pixel),
        estimates=estimates,
        planes=config.planes,
        camera_bits=config.camera_bits,
        crop_um=config.crop_um,
        crop_size=config.crop_size,
        centre=config.centre,
        neighbours=config.neighbours,
        min_cells=config.min_cells,
    )


def _record(
    config: Config,
    call: Call,
    summary: Summary,
    failures: Mapping[str, str],
    built: data.Source | None,
    *,
    seconds: float,
    resumed: bool,
) -> None:
    """Leaves result.json."""
    asked = dataclasses.replace(config, workdir=type(config).workdir)
    told = launch.origin(call.command, call.about, asked, call.arguments)
    found = result(summary, failures, built, folders.kind(config.fields))
    record = launch.record(config, found, told, arm="default", seed=0, seconds=seconds, resumed=resumed)
    files.write_json(config.workdir / "result.json", record)


def result(
    summary: Summary, failures: Mapping[str, str], built: data.Source | None, kind: folders.Kind
) -> launch.Result:
    """The numbers of result.json."""
    metrics = {"cells per field": summary.cells / summary.fields}
    metrics |= {f"seconds per {size} field": seconds for size, seconds in summary.seconds.items()}
    counts = {"fields": summary.fields, "failed fields": len(failures), "fields without a cell": summary.empty}
    counts |= {"cells": summary.cells}
    if built is not None:
        counts |= {"cells in shards": len(built)}
    counts |= {f"fields of {size}": count for size, count in summary.sizes.items()}
    return launch.Result(metrics=metrics, counts=counts, data=kind, headline=list(metrics))
