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
from typing import Annotated, Literal, NamedTuple

import numpy as np
import tyro
from jaxtyping import Float, UInt8
from rich.console import Console

from hpax import atlas, launch, models, progress
from hpax.commands import folder
from hpax.explore import colour, overlays, page
from hpax.fields import Field, Masks
from hpax.formats import masks as mask_files
from hpax.metrics import zero_shot
from hpax.models import ensemble, segmenter

SIDE = 384  # pixels of a picture of a field
HEADS = ("cells", "cells alone", "field")
"""Means over cells: together with the field, and by themselves; and the field as a whole."""

ABOUT = "Real fields, labelled by networks that learnt from simulated cells only."


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, by which networks."""

    fields: Path = Path("fields")  # in the layouts of Kaggle or proteinatlas.org, with a table of labels
    models: tuple[Path, ...] = tuple(map(Path, ensemble.SHIPPED))  # names, or .safetensors, of both kinds or of one
    annotations: str = ""  # the labels' table in the folder; "": the only one there
    segmenter: Literal["networks", "classical"] = "networks"
    um_per_pixel: float = 0.0  # µm; 0: as the files state, or by the width
    camera_bits: int = 0  # of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels
    tta: Annotated[int, tyro.conf.arg(aliases=("--turns",))] = 8  # views of each image: 1, or all 8 flips and rotations
    least: int = 4  # classes with fewer fields are left out of the means
    shown: int = 12  # mistakes with pictures
    seed: int = 0  # of the resamples


SWEEPS: dict[str, tuple[dict, ...]] = {"tta": launch.grid(tta=[1, 8])}


class Predictions(NamedTuple):
    """What networks say of fields; row by row."""

    ids: list[str]
    groups: list[str]  # fields of one are drawn together: a protein where it is known
    labels: UInt8[np.ndarray, "n 19"]
    heads: dict[str, Float[np.ndarray, "n 19"]]
    cells: int


def labelled_fields(config: Config, workdir: Path) -> list[folder.FolderField]:
    """The fields of the folder that have labels; what their cameras' full scale is, is kept in `workdir`.

    Raises:
        ValueError: there is none.
    """
    known, _ = folder.survey(config.fields, config.annotations)
    labelled = [field for field in known if field.annotation.labels.any()]
    if not labelled:
        raise ValueError(f"no field in {config.fields} has labels; add a table with the columns id and label")
    return folder.scaled(labelled, config.camera_bits, workdir / "full_scale.json")


def read(config: Config, entry: folder.FolderField, masks: Path) -> Field:
    """A field with its cells, which are found once and kept in the folder `masks`."""
    field = entry.loader(config.um_per_pixel)()
    if not mask_files.flavours(masks, entry.id):
        masks.mkdir(parents=True, exist_ok=True)
        found = segmenter.by_name(config.segmenter)(field.image, field.um_per_pixel)
        mask_files.write(masks, entry.id, found.cells, found.nuclei, image=field.image, um_per_pixel=field.um_per_pixel)
    return dataclasses.replace(field, masks=Masks(*mask_files.read(masks, entry.id)))


def of_heads(said: models.LabelPrediction) -> dict[str, Float[np.ndarray, " 19"]]:
    """What is said of a field by each head that there is; of a field without cells, by the other head or nothing."""
    whole = np.zeros(len(atlas.LOCATIONS)) if said.field is None else said.field
    heads = {"cells": said.cells.mean(0) if len(said.cells) else whole}
    heads["cells alone"] = said.cell_only.mean(0) if len(said.cell_only) else whole
    return heads if said.field is None else heads | {"field": said.field}


def predict(config: Config, known: Sequence[folder.FolderField], masks: Path) -> Predictions:
    """Finds and labels the cells of every field."""
    labeller = models.Ensemble.load(config.models, tta=config.tta)
    rows, cells = [], 0
    with progress.shown("labelling fields", len(known)) as bar:
        for entry in known:
            said = labeller.predict(read(config, entry, masks))
            rows.append(of_heads(said))
            cells += len(said.cells)
            bar.advance()
    return Predictions(
        ids=[field.id for field in known],
        groups=[field.annotation.protein or field.id for field in known],
        labels=np.stack([field.annotation.labels for field in known]),
        heads={head: np.stack([row[head] for row in rows]) for head in HEADS if head in rows[0]},
        cells=cells,
    )


def run(config: Config, workdir: Path) -> launch.Result:
    """Labels and scores; leaves tables and a page."""
    masks = workdir.parents[1] / "masks" / config.segmenter
    known = labelled_fields(config, workdir)
    told = predict(config, known, masks)
    score = functools.partial(
        zero_shot.score, told.labels, ids=told.ids, groups=told.groups, least=config.least, seed=config.seed
    )
    reports = {head: score(prob) for head, prob in told.heads.items()}
    np.savez_compressed(workdir / "probabilities.npz", ids=np.array(told.ids), labels=told.labels, **told.heads)
    write_classes(workdir / "classes.csv", reports)
    page.write(workdir / "index.html", overview(config, reports, mistakes(config, known, masks, reports)))
    Console().print(f"the page: {workdir / 'index.html'}", soft_wrap=True)
    return launch.Result(
        metrics=zero_shot.named(reports),
        counts=counts(told, reports),
        data="real",
        headline=[f"field mAP, {head}" for head in reports],
    )


def counts(told: Predictions, reports: Mapping[str, zero_shot.Report]) -> dict[str, int]:
    """What the numbers rest on."""
    first = next(iter(reports.values()))
    return {
        "fields": len(told.ids),
        "groups": len(set(told.groups)),
        "cells": told.cells,
        "classes in the means": int(first.chosen.sum()),
        "classes with a field": first.scores.present,
    }


def write_classes(path: Path, reports: Mapping[str, zero_shot.Report]) -> None:
    """The table of classes as a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([zero_shot.columns(reports), *zero_shot.class_rows(reports)])


def overview(config: Config, reports: Mapping[str, zero_shot.Report], pictures: Sequence[page.Picture]) -> str:
    """The page: heads, classes, and the most confident mistakes of the first head."""
    rows = []
    for head, report in reports.items():
        of_mean = [report.mean_ap, report.interval.low, report.interval.high, report.mean_chance]
        rows.append([head, *of_mean, report.scores.mean_ap, report.error])
    names = ["head", "mAP", "low", "high", "chance", "mAP of all classes", "calibration error"]
    first = next(iter(reports.values()))
    over = f"mAP over {first.chosen.sum()} classes of {config.least} fields or more"
    caption = f"{first.scores.examples} fields; {over}, with the 95% interval of resampled fields"
    columns, classes = zero_shot.columns(reports), zero_shot.class_rows(reports)
    told = page.Table(columns, classes, "Taken for: the top class where it is wrong (fields)")
    sections = [
        page.Section("Which head knows the classes of a field?", [page.Table(names, rows, caption)]),
        page.Section("Each class, frequent ones first", [told]),
        page.Section("The most confident mistakes", pictures),
    ]
    return page.page("Zero-shot labels", f"{ABOUT} By {', '.join(path.name for path in config.models)}.", sections)


def mistakes(
    config: Config, known: Sequence[folder.FolderField], masks: Path, reports: Mapping[str, zero_shot.Report]
) -> list[page.Picture]:
    """Fields whose most probable wrong class by the first head is the surest: with their cells, and the protein."""
    by_id = {entry.id: entry for entry in known}
    shown = []
    for mistake in next(iter(reports.values())).mistakes[: config.shown]:
        field = read(config, by_id[mistake.field], masks)
        sides = [overlays.overlay(field.image, field.found, side=SIDE)]
        sides.append(colour.protein(overlays.light(field.image, SIDE), colour="grey"))
        truth = ", ".join(atlas.LOCATIONS[label] for label in mistake.shown)
        caption = f"{mistake.probability:.2f} {atlas.LOCATIONS[mistake.label]}; shows {truth} ({mistake.field})"
        shown.append(page.Picture(np.concatenate(sides, axis=1), caption, caption))
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
