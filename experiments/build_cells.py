"""Fields to single cells: segments every field of a folder, and leaves masks, pictures, a table of cells and shards.

    python -m experiments.build_cells --fields FOLDER --workdir DIR

The folder holds pictures named {id}_{red,green,blue,yellow}.png, .jpg or .tif, and perhaps a table of labels. In DIR:
masks/ as index images, overlays/, cells.csv (a row per cell), fields.csv, failures.csv, shards/ (the data set
hpa_cells), index.html with a sheet of overlays (overlays.jpg), and result.json. The same command goes on where it was
stopped, and tries again what failed. Exit status 1: some fields failed; 2: nothing was built.
"""

import concurrent.futures
import csv
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rich.progress
from jaxtyping import UInt, UInt8
from PIL import Image
from rich.console import Console

from hpax import atlas, data, launch, models
from hpax.data.hpa_cells import Config as Cutting
from hpax.data.hpa_fields import hpa_fields
from hpax.explore import overlays, page
from hpax.fields import Masks
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.segment import borders, classical, crops

NUCLEUS = atlas.CHANNELS.index("nucleus")
COLUMNS = 4  # of the sheet of overlays
SHEET_SIDE = 384  # pixels of an overlay in it
LISTED = 200  # rows of a table in the page
ANEW = ("workers", "shown")  # options that an interrupted run may change

Segmenter = Callable[[UInt[np.ndarray, "h w 4"], float], Masks]


@dataclasses.dataclass(frozen=True)
class Config:
    """What to segment and how, and what to leave."""

    fields: Path  # folder of the fields
    workdir: Path = Path("runs/build_cells")
    annotations: str = ""  # the labels' table in the folder; "": the only one there, if any
    segmenter: Literal["networks", "classical"] = "networks"
    networks: tuple[str, str] = ("segment-nuclei", "segment-cells")  # names of hpax.models, or .safetensors files
    um_per_pixel: float = 0.0  # µm; 0: 0.08 at 1728, 2048 and 3072 pixels, else as a resized 2048-pixel field
    masks: tuple[mask_files.Flavour, ...] = ("png",)
    overlays: bool = True  # a picture of each field
    overlay_side: int = 1024  # pixels of its longer side, at most
    shown: int = 12  # fields on the sheet of overlays
    crop_um: float = Cutting.crop_um  # µm of a crop's side
    crop_size: int = Cutting.crop_size  # pixels of the stored crop
    centre: Literal["nucleus", "cell"] = "nucleus"  # what a crop is centred on
    neighbours: bool = True  # keep what lies around the cell; else it is 0 outside of the cell's mask
    min_cells: int = 1  # images with fewer are not in the shards; pairs of cells need 2
    workers: int = 1  # processes; the networks use all cores by themselves

    def __post_init__(self):
        if not self.masks or min(self.overlay_side, self.shown, self.workers, self.min_cells) < 1:
            raise ValueError("masks must name a format, and overlay_side, shown, workers and min_cells be at least 1")


@dataclasses.dataclass(frozen=True)
class Field:
    """A field, what is known of it, and where its record lies."""

    files: fields.FieldFiles
    annotation: fields.Annotation
    origin: dict[str, Any]  # group_id, field, protein, antibody, cell_line
    record: Path

    @property
    def source(self) -> list[list[Any]]:
        """Names and sizes of its files: a field whose files changed is segmented again."""
        return [[path.name, path.stat().st_size] for path in self.files.paths]


def plan(config: Config) -> tuple[list[Field], dict[str, str]]:
    """The fields of the folder in the order of their ids, and why some are none.

    Raises:
        FileNotFoundError: no folder, or no field in it.
        ValueError: the table of labels is wrong.
    """
    found = fields.survey(config.fields)
    options = hpa_fields.Config(annotations=config.annotations)
    pictures = hpa_fields.pictures(options, config.fields, found.fields)
    known = [
        Field(files, annotation, hpa_fields.origin(picture, files, annotation), _record(config, files.id))
        for picture in pictures
        for files, annotation in picture.content[1]
    ]
    return known, {id: str(fault) for id, fault in found.faults.items()}


def _record(config: Config, id: str) -> Path:
    return config.workdir / "fields" / f"{id}.json"


def segment(config: Config, field: Field) -> str:
    """Segments one field, and leaves its masks, overlay and, last, its record; returns why it could not, or "".

    No field stops the others, whatever is wrong with it.
    """
    try:
        field.record.unlink(missing_ok=True)
        mask_files.remove(config.workdir / "masks", field.files.id)
        launch.write(field.record, _segmented(config, field))
        return ""
    except (ValueError, OSError) as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _segmented(config: Config, field: Field) -> dict[str, Any]:
    start = time.perf_counter()
    image = fields.read_field(field.files)
    if image[..., NUCLEUS].min() == image[..., NUCLEUS].max():
        path = field.files.paths[NUCLEUS]
        raise ValueError(f"{path} is blank, every pixel is {image[0, 0, NUCLEUS]}; no nucleus can be found")
    um_per_pixel = config.um_per_pixel or atlas.um_per_pixel(image.shape[1])
    masks = segmenter(config.segmenter, config.networks)(image, um_per_pixel)
    for flavour in config.masks:
        write = functools.partial(mask_files.write, config.workdir / "masks", field.files.id, flavour=flavour)
        write(masks.cells, masks.nuclei, image=image, um_per_pixel=um_per_pixel)
    if config.overlays:
        path = config.workdir / "overlays" / f"{field.files.id}.jpg"
        Image.fromarray(overlays.overlay(image, masks, side=config.overlay_side)).save(path, quality=85)
    cells = rows(field, masks, um_per_pixel)
    return {
        "id": field.files.id,
        "group_id": field.origin["group_id"],
        "width": image.shape[1],
        "height": image.shape[0],
        "bits": 8 * image.dtype.itemsize,
        "um_per_pixel": um_per_pixel,
        "cells": cells,
        "notes": fields.remarks(field.files, image) + ([] if cells else ["no cell was found"]),
        "source": field.source,
        "seconds": round(time.perf_counter() - start, 4),
    }


@functools.cache
def segmenter(kind: str, networks: tuple[str, str]) -> Segmenter:
    """What turns a field into masks, made once in a process.

    Raises:
        ValueError, FileNotFoundError: a network is unknown, not there, or damaged.
    """
    if kind == "classical":
        return classical.segment
    return models.Segmenter(*map(models.load, networks))


def rows(field: Field, masks: Masks, um_per_pixel: float) -> list[dict[str, Any]]:
    """The rows of a field in cells.csv."""
    centres = crops.centroids(masks.cells)
    centres |= {index: at for index, at in crops.centroids(masks.nuclei).items() if index in centres}
    labels = "|".join(map(str, np.flatnonzero(field.annotation.labels)))
    table = borders.cell_properties(masks, um_per_pixel)
    return [
        {
            "id": f"{field.files.id}_{row['index']}",
            **field.origin,
            "labels": labels,
            "um_per_pixel": um_per_pixel,
            "y": round(centres[row["index"]][0], 2),
            "x": round(centres[row["index"]][1], 2),
            **row,
        }
        for row in table.to_dict("records")
    ]


def segment_all(config: Config, todo: Sequence[Field]) -> dict[str, str]:
    """Segments the fields, `workers` at once, shows progress, and returns why some could not be."""
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    work, failures = functools.partial(segment, config), {}
    with rich.progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("fields", total=len(todo))
        for field, reason in zip(todo, _in_order(work, todo, config.workers), strict=True):
            bar.advance(task)
            if reason:
                failures[field.files.id] = reason
                bar.console.print(f"failed: {field.files.id}: {reason}", markup=False, highlight=False)
    return failures


def _in_order(work: Callable[[Field], str], todo: Sequence[Field], workers: int) -> Iterator[str]:
    if workers == 1:
        yield from map(work, todo)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that runs JAX's threads can hang
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        yield from pool.map(work, todo)


def finished(field: Field, config: Config) -> bool:
    """Whether the field has been segmented as it is now."""
    if not field.record.exists():
        return False
    there = set(mask_files.flavours(config.workdir / "masks", field.files.id))
    return set(config.masks) <= there and _read(field.record)["source"] == field.source


def claim(config: Config) -> None:
    """Makes the workdir this config's.

    Raises:
        ValueError: it belongs to another config, or lies among the fields.
    """
    if config.workdir.resolve().is_relative_to(config.fields.resolve()):
        raise ValueError(f"{config.workdir} must not lie in {config.fields}, whose files name the data set")
    now = {name: value for name, value in launch.plain(config).items() if name not in (*ANEW, "workdir")}
    now["fields"] = str(config.fields.resolve())
    path = config.workdir / "config.json"
    there = _read(path) if path.exists() else now
    if changed := [name for name in {**now, **there} if now.get(name) != there.get(name)]:
        told = "; ".join(f"{name} is {there.get(name)!r} there, {now.get(name)!r} now" for name in changed)
        raise ValueError(f"{config.workdir} holds other results ({told}); choose another --workdir or delete that one")
    for folder in ("fields", "masks", "overlays"):
        (config.workdir / folder).mkdir(parents=True, exist_ok=True)
    launch.write(path, now)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the records of all fields add up to."""

    fields: int
    cells: int
    empty: int  # fields without a cell
    bits: int  # 16 if any field has 16
    seconds: dict[str, float]  # size of a field → median
    notes: list[tuple[str, str]]  # id, note


def summarise(done: Sequence[Field]) -> Summary:
    """Reads the records one by one."""
    seconds, notes, counts, bits = {}, [], [], 8
    for record in records(done):
        counts.append(len(record["cells"]))
        bits = max(bits, record["bits"])
        seconds.setdefault(f"{record['width']}x{record['height']}", []).append(record["seconds"])
        notes += [(record["id"], note) for note in record["notes"]]
    medians = {size: statistics.median(times) for size, times in sorted(seconds.items())}
    return Summary(len(counts), sum(counts), counts.count(0), bits, medians, notes)


def records(done: Sequence[Field]) -> Iterator[dict[str, Any]]:
    """What is known of each field."""
    return (_read(field.record) for field in done)


def write_tables(workdir: Path, done: Sequence[Field], failures: dict[str, str]) -> None:
    """Leaves cells.csv, fields.csv and failures.csv, whatever their number in bounded memory."""
    cells = (cell for record in records(done) for cell in record["cells"])
    write_table(workdir / "cells.csv", cells)
    told = ({**record, "cells": len(record["cells"]), "notes": "; ".join(record["notes"])} for record in records(done))
    write_table(workdir / "fields.csv", ({name: value for name, value in r.items() if name != "source"} for r in told))
    failed = ({"id": id, "reason": reason} for id, reason in sorted(failures.items()))
    write_table(workdir / "failures.csv", failed, columns=("id", "reason"))


def write_table(path: Path, rows: Iterator[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """A CSV that appears once complete; its columns are those of the first row, or `columns`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", newline="", encoding="utf-8") as file:
        first = list(itertools.islice(rows, 1))
        writer = csv.DictWriter(file, columns or list(first[0] if first else ()))
        writer.writeheader()
        writer.writerows(itertools.chain(first, rows))
    os.replace(draft, path)


def sheet(config: Config, done: Sequence[Field]) -> UInt8[np.ndarray, "h w 3"]:
    """Overlays of `shown` fields, evenly spread over the ids."""
    places = np.unique(np.linspace(0, len(done) - 1, config.shown).round().astype(int))
    pictures = []
    for field in (done[place] for place in places):
        masks = Masks(*mask_files.read(config.workdir / "masks", field.files.id))
        pictures.append(overlays.overlay(fields.read_field(field.files), masks, side=SHEET_SIDE))
    return overlays.sheet(pictures, columns=min(COLUMNS, len(pictures)))


def write_page(config: Config, summary: Summary, failures: dict[str, str], picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """index.html: numbers, the sheet, and what to know of single fields."""
    numbers = [["fields", summary.fields], ["cells", summary.cells], ["fields without a cell", summary.empty]]
    numbers += [[f"median seconds of a {size} field", seconds] for size, seconds in summary.seconds.items()]
    alt = "Microscope fields in the colours of the Human Protein Atlas; white lines around cells, cyan around nuclei."
    caption = "Cells in white, nuclei in cyan; microtubules red, protein green, nucleus blue, ER yellow."
    sections = [
        page.Section("Numbers", [page.Table(["what", "number"], numbers)]),
        page.Section("Fields", [page.Picture(picture, alt, caption)]),
        page.Section("Failures", [_listing("reason", sorted(failures.items()), "failures.csv")]),
        page.Section("Notes", [_listing("note", summary.notes, "fields.csv")]),
    ]
    about = f"Cells of the fields in {config.fields}, found by the segmenter “{config.segmenter}”."
    page.write(config.workdir / "index.html", page.page("Fields to cells", about, sections))


def _listing(name: str, told: Sequence[tuple[str, str]], file: str) -> page.Table | page.Text:
    if not told:
        return page.Text("None.")
    caption = f"The first {LISTED} of {len(told)}; all are in {file}." if len(told) > LISTED else ""
    return page.Table(["field", name], told[:LISTED], caption)


def build_shards(config: Config, bits: int) -> data.Source:
    """The data set hpa_cells of what has masks."""
    names = ("annotations", "um_per_pixel", "crop_um", "crop_size", "centre", "neighbours", "min_cells")
    options = {name: getattr(config, name) for name in names}
    folder = config.workdir / "shards"
    known = {"source": config.fields, "masks": str(config.workdir / "masks"), "bits": bits, "workers": config.workers}
    return data.build("hpa_cells", folder, progress=True, **known, **options)


def run(config: Config, arguments: Sequence[str] = ()) -> dict[str, str]:
    """Segments, cuts and tells; returns why some fields failed.

    Raises:
        FileNotFoundError: no folder, no field in it, or no such network.
        ValueError: the workdir is another config's, or no field has a cell.
    """
    start = time.perf_counter()
    known, failures = plan(config)
    segmenter(config.segmenter, config.networks)  # before anything is written, if it cannot be made
    claim(config)
    todo = [field for field in known if not finished(field, config)]
    failures |= segment_all(config, todo)
    done = [field for field in known if field.files.id not in failures]
    write_tables(config.workdir, done, failures)
    summary = summarise(done)
    if not summary.cells:
        raise ValueError(f"no cell in any of {len(known)} fields, {len(failures)} of which failed; see failures.csv")
    picture = sheet(config, done)
    Image.fromarray(picture).save(config.workdir / "overlays.jpg", quality=85)
    write_page(config, summary, failures, picture)
    cells = build_shards(config, summary.bits)
    asked = dataclasses.replace(config, workdir=Config.workdir)
    told = launch.origin("experiments.build_cells", (__doc__ or "").split("\n")[0], asked, arguments)
    spent = {"seconds": time.perf_counter() - start, "resumed": len(todo) < len(known)}
    record = launch.record(config, result(summary, failures, len(cells)), told, arm="default", seed=0, **spent)
    launch.write(config.workdir / "result.json", record)
    print(f"{summary.cells} cells in {summary.fields} fields, {len(cells)} in {cells.info.full_name}; {config.workdir}")
    return failures


def result(summary: Summary, failures: dict[str, str], built: int) -> launch.Result:
    """The numbers of result.json."""
    metrics = {"cells per field": summary.cells / summary.fields}
    metrics |= {f"seconds per {size} field": seconds for size, seconds in summary.seconds.items()}
    counts = {"fields": summary.fields, "failed fields": len(failures), "fields without a cell": summary.empty}
    counts |= {"cells": summary.cells, "cells in shards": built}
    return launch.Result(metrics=metrics, counts=counts, data="real", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.of_fields(Config, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
