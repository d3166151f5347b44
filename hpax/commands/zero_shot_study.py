"""Labels a folder's real fields by networks that never saw one, and says what that is worth."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

import hpax
from hpax import atlas, files, models, progress
from hpax.atlas import UmPerPixel
from hpax.commands import folder, tables
from hpax.data import folders, pixel_sizes
from hpax.explore import colour, overlays, page
from hpax.fields import Field, Masks
from hpax.formats import masks as mask_files
from hpax.metrics import zero_shot
from hpax.models import segmenter
from hpax.predict import strategies
from hpax.recipes import data_configs

SIDE = 384  # pixels of a picture of a field
HEADS = ("cells", "cells alone", "field")
"""Means over cells: together with the field, and by themselves; and the field as a whole."""

TAKEN = (
    f"By the first head, in how many fields of a class it is the most probable one, or among the {zero_shot.AMONG} "
    "most probable; taken for: the top class where it is wrong"
)
ABOUT = "{kind} fields, labelled by networks that learnt from simulated cells only."


Read = Callable[[folder.FolderField], Field]
"""Reads a field, with its cells."""


class Predictions(NamedTuple):
    """What networks say of fields; row by row."""

    ids: list[str]
    groups: list[str]  # fields of one are drawn together: a protein where it is known
    labels: UInt8[np.ndarray, "n 19"]
    heads: dict[str, Float[np.ndarray, "n 19"]]
    cells: int


def labelled_fields(
    fields: Path, workdir: Path, *, annotations: str = "", um_per_pixel: UmPerPixel = 0.0, camera_bits: int = 0
) -> tuple[list[folder.FolderField], dict[str, int]]:
    """The fields of a folder that have labels, and how many are left out for what.

    What their cameras' full scale is, and what nuclei say of their pixels, is kept in `workdir`.

    Raises:
        ValueError: there is none.
    """
    known, faults = folder.survey(fields, annotations)
    labelled = [field for field in known if field.annotation.labels.any()]
    if not labelled:
        raise ValueError(f"no field in {fields} has labels; add a table with the columns id and label")
    left_out = {"fields without a label": len(known) - len(labelled), "fields that cannot be read": len(faults)}
    labelled = folder.scaled(labelled, camera_bits, workdir / "full_scale.json")
    return folder.sized(labelled, um_per_pixel, workdir / pixel_sizes.FILE)[0], left_out


def read(
    entry: folder.FolderField, *, masks: Path, method: Literal["networks", "classical"], um_per_pixel: float = 0.0
) -> Field:
    """A field with its cells, which are found once and kept below `masks` by what they were found in."""
    field = entry.loader(um_per_pixel)()
    masks = masks / files.digest(entry.digest(), f"{field.um_per_pixel} {hpax.__version__}")
    if not mask_files.flavours(masks, entry.id):
        masks.mkdir(parents=True, exist_ok=True)
        found = segmenter.by_name(method)(field.image, field.um_per_pixel)
        mask_files.write(masks, entry.id, found.cells, found.nuclei, image=field.image, um_per_pixel=field.um_per_pixel)
    return dataclasses.replace(field, masks=Masks(*mask_files.read(masks, entry.id)))


@dataclasses.dataclass(frozen=True)
class LabelledFolder:
    """The fields of a folder that have labels, and how they are read with their cells."""

    known: list[folder.FolderField]
    left_out: dict[str, int]  # how many fields, by why
    read: Read
    kind: folders.Kind

    @classmethod
    def of(
        cls,
        fields: Path,
        workdir: Path,
        *,
        annotations: str = "",
        um_per_pixel: UmPerPixel = 0.0,
        camera_bits: int = 0,
        segmenter: Literal["networks", "classical"] = "networks",
    ) -> "LabelledFolder":
        """See `labelled_fields`; masks are kept for all arms and seeds that share the folder of `workdir`."""
        known, left_out = labelled_fields(
            fields, workdir, annotations=annotations, um_per_pixel=um_per_pixel, camera_bits=camera_bits
        )
        masks, size = workdir.parents[1] / "masks" / segmenter, pixel_sizes.number(um_per_pixel)
        find = functools.partial(read, masks=masks, method=segmenter, um_per_pixel=size)
        return cls(known, left_out, find, folders.kind(fields))

    def ask(self, network: models.Network) -> tuple[dict[str, float], dict[str, int]]:
        """What a network knows of the labels: its mAP over classes with four fields or more, and what it rests on."""
        told = predict(models.Ensemble.of([network]), self.known, self.read)
        said = told.heads["field" if "field" in told.heads else "cells alone"]
        report = zero_shot.score(told.labels, said, ids=told.ids, groups=told.groups)
        metrics = {
            f"mAP, {self.kind} fields": report.mean_ap,
            f"mAP, {self.kind} fields, low (95%)": report.interval.low,
            f"mAP, {self.kind} fields, high (95%)": report.interval.high,
            f"chance, {self.kind} fields": report.mean_chance,
            f"mAP of all classes, {self.kind} fields": report.scores.mean_ap,
        }
        left_out = {f"{self.kind} {name}": count for name, count in self.left_out.items()}
        return metrics, {f"{self.kind} fields": len(told.ids), f"{self.kind} cells": told.cells, **left_out}


def beside(data: data_configs.Data, real: Path | None, workdir: Path) -> LabelledFolder | None:
    """The folder `real`, if one is given: what `data` says of a folder's table, pixels and camera is said of this one.

    Raises:
        ValueError: `data` has a folder to learn from, or no field of `real` has labels.
    """
    if real is None:
        return None
    if data.fields is not None:
        told = f"got {real} beside {data.fields}; ask the network of these by experiments.zero_shot"
        raise ValueError(f"real must be the only folder, of networks of simulated fields, {told}")
    return LabelledFolder.of(
        real, workdir, annotations=data.annotations, um_per_pixel=data.um_per_pixel, camera_bits=data.bits
    )


def of_heads(said: models.LabelPrediction) -> dict[str, Float[np.ndarray, " 19"]]:
    """What is said of a field by each head that there is; of a field without cells, by the other head or nothing."""
    heads = {
        "cells": strategies.pooled(said.cells, said.field),
        "cells alone": strategies.pooled(said.cell_only, said.field),
    }
    return heads if said.field is None else heads | {"field": said.field}


def predict(labeller: models.Ensemble, known: Sequence[folder.FolderField], read: Read) -> Predictions:
    """Finds and labels the cells of every field."""
    rows, cells = [], 0
    with progress.shown("labelling fields", len(known)) as bar:
        for entry in known:
            said = labeller.predict(read(entry))
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
    names = zero_shot.columns(reports)
    tables.write(path, [dict(zip(names, row, strict=True)) for row in zero_shot.class_rows(reports)])


def overview(
    reports: Mapping[str, zero_shot.Report],
    pictures: Sequence[page.Picture],
    *,
    models: Sequence[Path],
    least: int,
    kind: folders.Kind,
) -> str:
    """The page: heads, classes, and the most confident mistakes of the first head."""
    rows: list[list[str | float | None]] = []
    for head, report in reports.items():
        of_mean = [report.mean_ap, report.interval.low, report.interval.high, report.mean_chance]
        rows.append([head, *of_mean, report.scores.mean_ap, report.error])
    names = ["head", "mAP", "low", "high", "chance", "mAP of all classes", "calibration error"]
    first = next(iter(reports.values()))
    over = f"mAP over {first.chosen.sum()} classes of {least} fields or more"
    caption = f"{first.scores.examples} fields; {over}, with the 95% interval of resampled fields"
    columns, classes = zero_shot.columns(reports), zero_shot.class_rows(reports)
    told = page.Table(columns, classes, TAKEN)
    sections = [
        page.Section("Which head knows the classes of a field?", [page.Table(names, rows, caption)]),
        page.Section("Each class, frequent ones first", [told]),
        page.Section("The most confident mistakes", pictures),
    ]
    return page.page(
        "Zero-shot labels",
        f"{ABOUT.format(kind=kind.capitalize())} By {', '.join(path.name for path in models)}.",
        sections,
    )


def mistakes(
    known: Sequence[folder.FolderField], reports: Mapping[str, zero_shot.Report], read: Read, *, most: int
) -> list[page.Picture]:
    """Fields whose most probable wrong class by the first head is the surest: with their cells, and the protein."""
    by_id = {entry.id: entry for entry in known}
    shown = []
    for mistake in next(iter(reports.values())).mistakes[:most]:
        field = read(by_id[mistake.field])
        sides = [overlays.overlay(field.image, field.found, side=SIDE)]
        sides.append(colour.protein(overlays.light(field.image, SIDE), colour="grey"))
        truth = ", ".join(atlas.LOCATIONS[label] for label in mistake.shown)
        caption = f"{mistake.probability:.2f} {atlas.LOCATIONS[mistake.label]}; shows {truth} ({mistake.field})"
        shown.append(page.Picture(np.concatenate(sides, axis=1), caption, caption))
    return shown
