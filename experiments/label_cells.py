"""Labels every cell of a folder of microscope fields, by networks that localize_cells and classify_cells trained.

Finds the cells first, as build_cells does, and leaves everything of it in WORKDIR/cells. Then leaves submission.csv in
the competition's format (every cell with all 19 classes), cells.h5ad (a row for each cell, obsm["prob"]), refined.csv
where the folder's table says what the fields show, pictures of fields whose cells have the colour of their label and of
where the networks looked, and index.html. A command that was stopped goes on where it was; a field that fails is named
at the end, and the exit status is 1.
"""

import csv
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import rich.progress
from jaxtyping import Float
from PIL import Image
from rich.console import Console

from experiments import build_cells
from hpax import atlas, launch, models
from hpax.explore import colour, labelled, page
from hpax.fields import Masks
from hpax.formats import fields, kaggle
from hpax.formats import masks as mask_files
from hpax.predict import combine, refine, submission
from hpax.segment import borders


@dataclasses.dataclass(frozen=True)
class Config:
    """What to label by what, and what to leave."""

    fields: Path  # folder of the fields
    models: tuple[Path, ...]  # localize.safetensors, classify.safetensors or several of each: they are averaged
    workdir: Path = Path("runs/label_cells")
    annotations: str = ""  # the labels' table in the folder; "": the only one there, if any
    segmenter: Literal["networks", "classical"] = build_cells.Config.segmenter
    um_per_pixel: float = 0.0  # µm; 0: 0.08 at 1728, 2048 and 3072 pixels, else as a resized 2048-pixel field
    turns: int = 8  # views of each image: 1, or all 8 flips and rotations
    negative: Literal["as predicted", "excludes", "is the rest"] = "as predicted"  # see hpax.predict.combine
    border_weights: bool = False  # lower the scores of small cells and of those that the border cuts
    refinement: Literal["paper", "code"] = "paper"  # how labels of fields become those of their cells
    shown: int = 12  # fields with pictures


def of_build_cells(config: Config) -> build_cells.Config:
    """The settings of the first half."""
    told = {name: getattr(config, name) for name in ("fields", "annotations", "segmenter", "um_per_pixel", "shown")}
    return build_cells.Config(workdir=config.workdir / "cells", overlays=False, **told)


def digest(config: Config) -> str:
    """What the probabilities of a field depend on, besides its pixels and masks."""
    told = [hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() for path in config.models]
    asked = (told, config.turns, config.segmenter, "cells, own")
    return hashlib.blake2b(repr(asked).encode(), digest_size=8).hexdigest()


def label(
    config: Config, labeller: models.Labeller, field: build_cells.Field, shown: bool
) -> Float[np.ndarray, "2 k n"]:
    """What is said of a field's cells, together with it and by themselves, kept in a file for the next time.

    Leaves pictures of the field if it is `shown`.
    """
    path = config.workdir / "fields" / f"{field.files.id}-{digest(config)}.npy"
    pictures = [config.workdir / "pictures" / f"{field.files.id}_{kind}.png" for kind in ("labels", "maps")]
    if path.exists() and (not shown or pictures[0].exists()):
        return np.load(path, allow_pickle=False)
    image, masks = fields.read_field(field.files), masks_of(config, field)
    found = labeller(image, masks, pixel_size(config, image.shape[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    said = np.stack([found.cells, found.cell_only]).astype(np.float32)
    np.save(path.with_suffix(".part.npy"), said)
    path.with_suffix(".part.npy").replace(path)
    if shown:
        pictures[0].parent.mkdir(parents=True, exist_ok=True)
        pictures[0].write_bytes(colour.png(labelled.labelled(image, masks, found.cells)))
        if found.maps is not None:
            pictures[1].write_bytes(colour.png(labelled.activations(image, found.maps, found.field)))
    return said


def pixel_size(config: Config, width: int) -> float:
    """µm per pixel of a field of this width."""
    return config.um_per_pixel or atlas.um_per_pixel(width)


def masks_of(config: Config, field: build_cells.Field) -> Masks:
    """The cells that the first half found."""
    return Masks(*mask_files.read(config.workdir / "cells" / "masks", field.files.id))


def ranked(config: Config, masks: Masks, um_per_pixel: float, prob: Float[np.ndarray, "k n"]) -> np.ndarray:
    """The probabilities as the submission lists them."""
    rule = {"excludes": combine.negative_excludes, "is the rest": combine.negative_as_complement}.get(config.negative)
    prob = rule(prob) if rule else prob
    return (
        combine.weighted(prob, borders.weights(borders.cell_properties(masks, um_per_pixel)))
        if config.border_weights
        else prob
    )


def run(config: Config, arguments: Sequence[str] = ()) -> dict[str, str]:
    """Finds and labels; field → why it failed."""
    labeller = models.Labeller([models.load(path) for path in config.models], turns=config.turns)
    failures = build_cells.run(of_build_cells(config))
    known = [field for field in build_cells.plan(of_build_cells(config))[0] if field.files.id not in failures]
    rows: list[list[str]] = []
    with submission.writer(config.workdir) as cells:
        for number, field in enumerate(rich.progress.track(known, "labelling cells", console=Console(stderr=True))):
            try:
                prob, own = label(config, labeller, field, shown=number < config.shown)
            except (ValueError, OSError) as error:
                failures[field.files.id] = str(error)
                continue
            masks = masks_of(config, field)
            um_per_pixel = pixel_size(config, masks.cells.shape[1])
            said = ranked(config, masks, um_per_pixel, prob)
            cells.add(field.files.id, masks, said, um_per_pixel=um_per_pixel, obs=field.origin)
            rows += refined(config, field, masks, own)
        table = cells.table()
    if rows:
        write_refined(config.workdir / "refined.csv", rows)
    sizes = kaggle.Table(config.workdir / submission.SUBMISSION)
    if sizes.defects:
        raise ValueError(f"the submission has defects: {sizes.defects[:3]}")
    page.write(config.workdir / "index.html", overview(config, known, table, failures))
    Console().print(f"{table.n_obs} cells of {len(known)} fields; the page: {config.workdir / 'index.html'}")
    return failures


def refined(config: Config, field: build_cells.Field, masks: Masks, prob: Float[np.ndarray, "k n"]) -> list[list[str]]:
    """Each cell with those of its field's labels that it shows, where the field has labels."""
    if not field.annotation.labels.any():
        return []
    rule = {"paper": refine.by_paper, "code": refine.by_code}[config.refinement]
    kept = rule(field.annotation.labels, prob)
    indices = np.unique(masks.cells[masks.cells > 0])
    names = [";".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row)) for row in kept]
    return [[field.files.id, str(index), name] for index, name in zip(indices, names, strict=True)]


def write_refined(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Field, cell and labels of every cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["field", "cell", "locations"], *rows])


def overview(
    config: Config, known: Sequence[build_cells.Field], table: anndata.AnnData, failures: dict[str, str]
) -> str:
    """The page: how often each label comes, and the pictures."""
    counts = table.obs["label"].value_counts() if table.n_obs else {}
    rows = [[name, int(counts.get(name, 0))] for name in atlas.LOCATIONS]
    told = page.Table(["most probable label", "cells"], rows, f"{table.n_obs} cells of {len(known)} fields")
    shown = [page.Section(field.files.id, list(pictures_of(config, field))) for field in known[: config.shown]]
    shown = [section for section in shown if section.blocks]
    failed = [page.Section("Failed", [page.Table(["field", "why"], sorted(failures.items()))])] if failures else []
    about = f"Cells found ({config.segmenter}) and labelled by {', '.join(path.name for path in config.models)}."
    return page.page("Labelled cells", about, [page.Section("Labels", [told]), *failed, *shown])


def pictures_of(config: Config, field: build_cells.Field) -> Iterator[page.Picture]:
    """The pictures of a field that are there."""
    kinds = {"labels": "Cells in the colour of their most probable label", "maps": "Where the network saw its classes"}
    for kind, title in kinds.items():
        path = config.workdir / "pictures" / f"{field.files.id}_{kind}.png"
        if path.exists():
            yield page.Picture(np.asarray(Image.open(path).convert("RGB")), f"{title}, field {field.files.id}", title)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.of_fields(Config, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
