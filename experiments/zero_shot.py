"""Labels real fields by networks that never saw one, and says what that is worth.

Finds the cells of every field of a folder with a table of labels, asks trained networks about them, and compares: the
mean over a field's cells, of the cell-level network alone or together with the image-level one, and what the latter
says of whole fields. Leaves classes.csv with the average precision of every class, probabilities.npz, and index.html
with the most confident mistakes and their pictures. Masks are kept in WORKDIR/masks for the next time.
"""

import csv
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import rich.progress
from jaxtyping import Float, UInt, UInt8
from rich.console import Console

from experiments import build_cells
from hpax import atlas, launch, predict, pretrained
from hpax.explore import colour, overlays, page
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.metrics import zero_shot
from hpax.segment.masks import Masks

SIDE = 384  # pixels of a picture of a field
HEADS = ("cells", "cells alone", "field")
"""Means over cells: together with the field, and by themselves; and the field as a whole."""

ABOUT = "Real fields, labelled by networks that learnt from simulated cells only."


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, by which networks."""

    fields: Path = Path("fields")  # in the layouts of Kaggle or proteinatlas.org, with a table of labels
    models: tuple[Path, ...] = ()  # .safetensors of cell-level and image-level networks
    annotations: str = ""  # the labels' table in the folder; "": the only one there
    segmenter: Literal["networks", "classical"] = "networks"
    um_per_pixel: float = 0.0  # µm; 0: 0.08 at 1728, 2048 and 3072 pixels, else as a resized 2048-pixel field
    turns: int = 8  # views of each image: 1, or all 8 flips and rotations
    least: int = 4  # classes with fewer fields are left out of the means
    shown: int = 12  # mistakes with pictures
    seed: int = 0  # of the resamples


SWEEPS: dict[str, tuple[dict, ...]] = {"turns": launch.grid(turns=[1, 8])}


class Told(NamedTuple):
    """What networks say of fields; row by row."""

    ids: list[str]
    groups: list[str]  # fields of one are drawn together: a protein where it is known
    labels: UInt8[np.ndarray, "n 19"]
    heads: dict[str, Float[np.ndarray, "n 19"]]
    cells: int


def known_fields(config: Config) -> list[build_cells.Field]:
    """The fields of the folder that have labels.

    Raises:
        ValueError: there is none.
    """
    asked = build_cells.Config(fields=config.fields, annotations=config.annotations)
    known, _ = build_cells.plan(asked)
    labelled = [field for field in known if field.annotation.labels.any()]
    if not labelled:
        raise ValueError(f"no field in {config.fields} has labels; add a table with the columns id and label")
    return labelled


def masks_of(config: Config, field: build_cells.Field, image: UInt[np.ndarray, "h w 4"], folder: Path) -> Masks:
    """The cells of a field, found once and kept in `folder`."""
    if not mask_files.flavours(folder, field.files.id):
        folder.mkdir(parents=True, exist_ok=True)
        networks = build_cells.Config.networks
        um_per_pixel = pixel_size(config, image)
        found = build_cells.segmenter(config.segmenter, networks)(image, um_per_pixel)
        told = {"image": image, "um_per_pixel": um_per_pixel}
        mask_files.write(folder, field.files.id, found.cells, found.nuclei, **told)
    return Masks(*mask_files.read(folder, field.files.id))


def pixel_size(config: Config, image: UInt[np.ndarray, "h w 4"]) -> float:
    """µm per pixel of a field."""
    return config.um_per_pixel or atlas.um_per_pixel(image.shape[1])


def heads(said: predict.label.Labelled) -> dict[str, Float[np.ndarray, " 19"]]:
    """What is said of a field by each head that there is; of a field without cells, by the other head or nothing."""
    nothing = np.zeros(len(atlas.LOCATIONS))
    whole = nothing if said.field is None else said.field
    found = {"cells": said.cells.mean(0) if len(said.cells) else whole}
    found["cells alone"] = said.own.mean(0) if len(said.own) else whole
    return found if said.field is None else found | {"field": said.field}


def ask(config: Config, workdir: Path) -> Told:
    """Finds and labels the cells of every field."""
    labeller = predict.Labeller([pretrained.load(path) for path in config.models], turns=config.turns)
    folder = workdir.parents[1] / "masks" / config.segmenter
    known, rows, cells = known_fields(config), [], 0
    for field in rich.progress.track(known, "labelling fields", console=Console(stderr=True)):
        image = fields.read_field(field.files)
        masks = masks_of(config, field, image, folder)
        said = labeller(image, masks, pixel_size(config, image))
        rows.append(heads(said))
        cells += len(said.cells)
    return Told(
        ids=[field.files.id for field in known],
        groups=[field.annotation.protein or field.files.id for field in known],
        labels=np.stack([field.annotation.labels for field in known]),
        heads={head: np.stack([row[head] for row in rows]) for head in HEADS if head in rows[0]},
        cells=cells,
    )


def run(config: Config, workdir: Path) -> launch.Result:
    """Labels and scores; leaves tables and a page."""
    if not config.models:
        raise ValueError("zero_shot needs networks; name .safetensors files with --models")
    told = ask(config, workdir)
    score = functools.partial(
        zero_shot.score, told.labels, ids=told.ids, groups=told.groups, least=config.least, seed=config.seed
    )
    reports = {head: score(prob) for head, prob in told.heads.items()}
    np.savez_compressed(workdir / "probabilities.npz", ids=np.array(told.ids), labels=told.labels, **told.heads)
    write_classes(workdir / "classes.csv", reports)
    page.write(workdir / "index.html", overview(config, workdir, reports))
    Console().print(f"the page: {workdir / 'index.html'}", soft_wrap=True)
    return launch.Result(metrics(reports), counts(told, reports), "real", [f"field mAP, {head}" for head in reports])


def metrics(reports: Mapping[str, zero_shot.Report]) -> dict[str, float]:
    """The numbers of every head, and of every class by the first one."""
    found: dict[str, float] = {}
    for head, report in reports.items():
        found[f"field mAP, {head}"] = report.mean_ap
        found[f"field mAP, {head}, low"] = report.interval.low
        found[f"field mAP, {head}, high"] = report.interval.high
        found[f"field mAP of all classes, {head}"] = report.scores.mean_ap
        found[f"calibration error, {head}"] = report.error
    first = next(iter(reports.values()))
    found["chance"] = first.mean_chance
    for label, name in enumerate(atlas.LOCATIONS):
        if first.scores.positives[label]:
            found[f"AP, {name}"] = float(first.scores.ap[label])
    return found


def counts(told: Told, reports: Mapping[str, zero_shot.Report]) -> dict[str, int]:
    """What the numbers rest on."""
    first = next(iter(reports.values()))
    return {
        "fields": len(told.ids),
        "groups": len(set(told.groups)),
        "cells": told.cells,
        "classes in the means": int(first.chosen.sum()),
        "classes with a field": first.scores.present,
    }


def class_rows(reports: Mapping[str, zero_shot.Report]) -> list[list[str | float | None]]:
    """Class, fields, chance, average precision by every head, and what its fields are taken for by the first."""
    first = next(iter(reports.values()))
    rows: list[list[str | float | None]] = []
    for label in np.argsort(-first.scores.positives, kind="stable").tolist():
        wrong, count = first.taken_for(label)
        taken = f"{atlas.LOCATIONS[wrong]} ({count})" if count else "–"
        own = [float(report.scores.ap[label]) for report in reports.values()]
        fields_of = int(first.scores.positives[label])
        rows.append([atlas.LOCATIONS[label], fields_of, float(first.chance[label]), *own, taken])
    return rows


def columns(reports: Mapping[str, zero_shot.Report]) -> list[str]:
    """Of `class_rows`."""
    return ["class", "fields", "chance", *(f"AP, {head}" for head in reports), "taken for"]


def write_classes(path: Path, reports: Mapping[str, zero_shot.Report]) -> None:
    """The table of classes as a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns(reports), *class_rows(reports)])


def overview(config: Config, workdir: Path, reports: Mapping[str, zero_shot.Report]) -> str:
    """The page: heads, classes, and the most confident mistakes of the first head."""
    rows = []
    for head, report in reports.items():
        of_mean = [report.mean_ap, report.interval.low, report.interval.high, report.mean_chance]
        rows.append([head, *of_mean, report.scores.mean_ap, report.error])
    names = ["head", "mAP", "low", "high", "chance", "mAP of all classes", "calibration error"]
    first = next(iter(reports.values()))
    over = f"mAP over {first.chosen.sum()} classes of {config.least} fields or more"
    caption = f"{first.scores.examples} fields; {over}, with the 95% interval of resampled fields"
    classes = page.Table(columns(reports), class_rows(reports), "Taken for: the top class where it is wrong (fields)")
    sections = [
        page.Section("Which head knows the classes of a field?", [page.Table(names, rows, caption)]),
        page.Section("Each class, frequent ones first", [classes]),
        page.Section("The most confident mistakes", mistakes(config, workdir, first)),
    ]
    return page.page("Zero-shot labels", f"{ABOUT} By {', '.join(path.name for path in config.models)}.", sections)


def mistakes(config: Config, workdir: Path, report: zero_shot.Report) -> list[page.Picture]:
    """Fields whose most probable wrong class is the surest: in colour with their cells, and the protein alone."""
    files = {field.files.id: field for field in known_fields(config)}
    shown = []
    for mistake in report.mistakes[: config.shown]:
        field = files[mistake.field]
        image = fields.read_field(field.files)
        masks = masks_of(config, field, image, workdir.parents[1] / "masks" / config.segmenter)
        sides = [overlays.overlay(image, masks, side=SIDE)]
        sides.append(colour.protein(overlays.light(image, SIDE), colour="grey"))
        truth = ", ".join(atlas.LOCATIONS[label] for label in mistake.shown)
        caption = f"{mistake.probability:.2f} {atlas.LOCATIONS[mistake.label]}; shows {truth} ({mistake.field})"
        shown.append(page.Picture(np.concatenate(sides, axis=1), caption, caption))
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
