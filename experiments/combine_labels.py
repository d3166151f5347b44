"""Image-level and cell-level models together (Le et al. 2022): which way of combining them labels single cells best.

Trains both kinds on the labels of fields, and the cell-level one once more on what each cell truly shows, the ceiling;
distils the ensemble into one cell-level model by predictions on proteins that its parts never saw; scores every way of
combining them on the cells of other proteins by the competition's metric. Leaves both networks, a submission and its
truth as CSVs, cells.h5ad, classes.csv with the AP of every class, and a picture.

Networks are kept beside the arms, in `models`, by what they were trained with: arms that share one train it once.
"""

import csv
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments import classify_cells, localize_cells
from experiments.localize_cells import Atlas, Fields, LossName, examples, open_fields, scored
from hpax import atlas, data, launch
from hpax.data import segmented
from hpax.explore import colour, grids, labelled
from hpax.formats import kaggle, labels
from hpax.metrics import classification, detection, tally
from hpax.ops.bags import Pooling
from hpax.predict import cams, combine, distil, refine
from hpax.predict import labels as predicted
from hpax.segment import borders
from hpax.segment.masks import Masks

IMAGE_FILE, CELL_FILE = "localize.safetensors", "classify.safetensors"
SHOWN = 4  # fields in the picture
RARE = 6  # classes of the fewest training fields
WAYS = {
    "field copied": ("ensemble", "ceiling, pooled × cell"),
    "labels copied": ("labels × ensemble", "labels × ceiling"),
}
"""What is the same for all cells of a field → what weak labels make of it, and what true labels of cells would."""


@dataclasses.dataclass(frozen=True)
class Config(Atlas):
    """What to learn from, how, and how long."""

    image_backbone: str = "plain-tiny"  # of hpax.nn.backbones
    cell_backbone: str = "plain-tiny"
    image_start: Literal["cells", "fresh"] = "cells"  # from the cell-level model, which is the same network, or fresh
    image_resolution: int = 256  # pixels of a field's side
    cell_resolution: int = 64  # pixels of a crop's side
    pooling: Literal["average", "gem", "lse"] = "average"
    image_loss: LossName = "bce"
    cell_loss: LossName = "bce"
    puzzle: float = 0.0  # weight of Puzzle-CAM's reconstruction
    fair: bool = False  # learn from patches that mix fields and single cells
    masked: bool = True  # cells without their neighbours
    bag: Literal["none"] | Pooling = "none"  # what a field's cells say together
    image_steps: int = 500
    cell_steps: int = 2400
    folds: int = 2  # of the training proteins, for the predictions that are distilled; 0: no distillation
    fast: bool = False  # a small atlas and few steps: whether everything works, not how well

    def __post_init__(self):
        if self.folds == 1:
            raise ValueError("folds must be 2 or more, or 0 for no distillation, got 1")
        if self.image_start == "cells" and self.image_backbone != self.cell_backbone:
            told = f"{self.image_backbone} and {self.cell_backbone}"
            raise ValueError(f'both backbones must be one to start from the cells, got {told}; set image_start "fresh"')


FAST = {"proteins": 76, "size": 384, "image_steps": 40, "cell_steps": 60, "image_resolution": 128, "folds": 0}

ABLATION = (
    {},
    {"image_start": "fresh"},
    *launch.grid(pooling=["gem", "lse"]),
    *launch.grid(image_loss=["focal", "winners"]),
    {"puzzle": 1.0},
    {"fair": True},
    *launch.grid(image_resolution=[128, 512]),
    *launch.grid(cell_loss=["focal", "winners"]),
    {"cell_resolution": 32},
    {"masked": False},
    *launch.grid(bag=["max", "noisy-or"]),
)

SWEEPS = {
    "ablation": tuple({"folds": 0, "masks": "true", **arm} for arm in ABLATION),
    "masks": launch.grid(masks=["networks", "classical", "true"]),
    "variation": launch.grid(varying=[0.0, 0.35, 1.0]),
    "frequencies": launch.grid(balanced=[True, False]),
    "fast": ({"fast": True},),
}


def atlas_of(config: Config) -> dict[str, Any]:
    """The fields that all experiments on these cells share."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Atlas)}


def image_config(config: Config, start: Path) -> localize_cells.Config:
    """Of the image-level model, which may start from another network."""
    return localize_cells.Config(
        **atlas_of(config),
        backbone=config.image_backbone,
        resolution=config.image_resolution,
        pooling=config.pooling,
        loss=config.image_loss,
        puzzle=config.puzzle,
        fair=config.fair,
        start=start if config.image_start == "cells" else None,
        steps=config.image_steps,
    )


def cell_config(config: Config, **changes: Any) -> classify_cells.Config:
    """Of the cell-level models."""
    own = {"backbone": config.cell_backbone, "resolution": config.cell_resolution, "masked": config.masked}
    own |= {"loss": config.cell_loss, "bag": config.bag, "steps": config.cell_steps}
    own |= {"cells": 8, "batch_size": 4} if config.bag != "none" else {}  # as many cells, of fewer fields
    return classify_cells.Config(**atlas_of(config), **(own | changes))


class Said(NamedTuple):
    """What the models say of one field."""

    field: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "k n"]  # read off the maps for each cell
    cells: Float[np.ndarray, "k n"]


class Models(NamedTuple):
    """An image-level and a cell-level model, and where they are kept."""

    say: Callable[[data.Source, segmented.MasksOf], list[Said]]
    image: Path
    cell: Path


def both(config: Config, fields: Fields, models: Path) -> Models:
    """The two kinds, learnt from the labels of fields."""
    cell = cell_config(config)
    cell_folder = models / f"cell-{launch.digest(cell)}"
    of_cells = classify_cells.fitted(cell, fields, cell_folder)
    image = image_config(config, cell_folder / CELL_FILE)
    image_folder = models / f"image-{launch.digest(image)}"
    of_fields = localize_cells.fitted(image, fields, image_folder)

    def say(source: data.Source, masks: segmented.MasksOf) -> list[Said]:
        parts = zip(examples(source), of_fields(source), of_cells(source, masks), strict=True)
        return [Said(p, cams.read_off(maps, p, masks(example).cells), cells) for example, (p, maps), cells in parts]

    return Models(say, image_folder / IMAGE_FILE, cell_folder / CELL_FILE)


def soft_targets(config: Config, fields: Fields, models: Path) -> classify_cells.Targets:
    """What the ensemble says of every training cell, from models that never saw its protein."""
    source = fields.training
    fold = distil.folds(
        source.table["protein"].to_numpy(str).tolist(), config.folds, strata=source.labels.argmax(1).tolist()
    )
    share = 1 - 1 / config.folds  # of the fields, and of the steps: as many epochs
    shorter = {"image_steps": round(share * config.image_steps), "cell_steps": round(share * config.cell_steps)}
    own = dataclasses.replace(config, **shorter)

    def fit(places: Sequence[int]) -> Callable[[int], np.ndarray]:
        part = fields._replace(training=data.Part(source, places))
        asked = sorted(set(range(len(source))) - set(places))
        folder = models / f"without-fold{int(fold[asked[0]])}-of-{config.folds}"
        said = both(own, part, folder).say(data.Part(source, asked), fields.masks)
        kept = {
            place: refine.shares(source.labels[place], combine.together(*one))
            for place, one in zip(asked, said, strict=True)
        }
        return kept.__getitem__

    found = distil.out_of_fold(range(len(source)), fold, fit)
    return {str(id): target.astype(np.float32) for id, target in zip(source.table.index, found, strict=True)}


def ways(said: Said, labels_of_field: np.ndarray) -> dict[str, Float[np.ndarray, "k n"]]:
    """Every way from what the models say of a field to its cells; the last three are told the field's labels."""
    field, maps, cells = said
    mean = cells.mean(0) if len(cells) else field
    copied, pooled, told = (np.tile(each, (len(cells), 1)) for each in (field, mean, labels_of_field * 1.0))
    ensemble = combine.together(*said)  # fixed beforehand
    return {
        "field copied": copied,
        "cells pooled and copied": pooled,
        "maps": maps,
        "cell": cells,
        "image × cell": combine.multiplied(field, cells),
        "image + cell": combine.added(field, cells),
        "cells pooled × cell": pooled * cells,
        "image × maps": combine.multiplied(field, maps),
        "ensemble": ensemble,
        "ensemble, negative excludes": combine.negative_excludes(ensemble),
        "ensemble, negative is the rest": combine.negative_is_the_rest(ensemble),
        "labels copied": told,
        "labels × cell": told * cells,
        "labels × ensemble": told * ensemble,
    }


def weighted(example: Mapping[str, Any], masks: Masks, prob: np.ndarray) -> np.ndarray:
    """The winners' weights of cells, by their size and whether the border cuts them."""
    return combine.weighted(prob, borders.weights(borders.table(masks, float(example["um_per_pixel"]))))


def predictions(config: Config, fields: Fields, workdir: Path) -> Callable[[segmented.MasksOf], dict[str, list]]:
    """Way → what it says of the cells of each test field, for any masks of them; everything is trained once."""
    models = workdir.parents[1] / "models"
    ensemble = both(config, fields, models)
    for file in (ensemble.image, ensemble.cell):
        for kept in (file, file.with_suffix(".md")):
            shutil.copyfile(kept, workdir / kept.name)
    true = cell_config(config, labels="cells")
    ceiling = classify_cells.fitted(true, fields, models / f"ceiling-{launch.digest(true)}")
    distilled = None
    if config.folds:
        targets = soft_targets(config, fields, models)
        folder = models / f"distilled-{launch.digest(config)}"
        distilled = classify_cells.fitted(cell_config(config), fields, folder, targets)

    def of_masks(masks: segmented.MasksOf) -> dict[str, list]:
        said = ensemble.say(fields.test, masks)
        by_field = [ways(one, row) for one, row in zip(said, fields.test.labels, strict=True)]
        found = {name: [each[name] for each in by_field] for name in by_field[0]}
        bordered = zip(examples(fields.test), found["ensemble"], strict=True)
        found["ensemble, border weights"] = [weighted(example, masks(example), prob) for example, prob in bordered]
        if distilled:
            student = list(distilled(fields.test, masks))
            found["distilled"] = student
            found["image × distilled"] = [s.field * prob for s, prob in zip(said, student, strict=True)]
        best = list(ceiling(fields.test, masks))
        found["ceiling"] = best
        found["ceiling, pooled × cell"] = [prob.mean(0) * prob if len(prob) else prob for prob in best]
        found["labels × ceiling"] = [row * prob for row, prob in zip(fields.test.labels, best, strict=True)]
        return found

    return of_masks


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, combines, scores; leaves the ensemble's submission and tables."""
    config = dataclasses.replace(config, **FAST) if config.fast else config
    fields = open_fields(config)
    of_masks = predictions(config, fields, workdir)
    of_found = of_masks(fields.masks)
    scores = {name: scored(fields.test, fields.masks, prob) for name, prob in of_found.items()}
    metrics = {f"mAP, {name}": found.mean("present") for name, found in scores.items()}
    headline = list(metrics)
    if config.masks != "true":
        of_true = of_masks(segmented.true)
        exact = {name: scored(fields.test, segmented.true, prob) for name, prob in of_true.items()}
        metrics |= {f"mAP on true masks, {name}": found.mean("present") for name, found in exact.items()}
    metrics |= details(config, fields, scores, of_found)
    metrics["mAP of the submission, 19 classes"] = submit(fields, of_found["ensemble"], workdir)
    write_classes(workdir / "classes.csv", fields, scores)
    (workdir / "labelled.png").write_bytes(colour.png(picture(fields, of_found["ensemble"])))
    counts = localize_cells.counts(fields)
    headline += [f"share of the way, {start}" for start in WAYS]
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=headline)


def details(
    config: Config, fields: Fields, scores: Mapping[str, detection.Scores], said: Mapping[str, list]
) -> dict[str, float]:
    """How far towards the ceiling, on rare classes, on proteins that vary and that do not, and how calibrated."""
    mean = {name: found.mean("present") for name, found in scores.items()}
    rare = np.argsort(fields.training.labels.sum(0), kind="stable")[:RARE]
    varying = [bool((e["cell_labels"] != e["labels"]).any()) for e in examples(fields.test)]
    found = {}
    for start, (reached, end) in WAYS.items():
        gap = mean[end] - mean[start]
        found[f"share of the way, {start}"] = (mean[reached] - mean[start]) / gap if gap > 0 else np.nan
    for name in ("field copied", "ensemble", "ceiling"):
        found[f"mAP of the {RARE} rarest classes, {name}"] = float(np.nanmean(scores[name].ap[0][rare]))
        for kind, wanted in (("uniform", False), ("varying", True)):
            own = [place for place, varies in enumerate(varying) if varies is wanted]
            part = scored(data.Part(fields.test, own), fields.masks, [said[name][place] for place in own])
            found[f"mAP of {kind} fields, {name}"] = part.mean("present")
    true = classify_cells.true_labels(fields.test, fields.masks)
    truth, prob = np.concatenate(list(true.values())), np.concatenate(said["ensemble"])
    found["calibration error, ensemble"] = classification.score(truth, prob).mean_error
    return found


def submit(fields: Fields, prob: Iterable[np.ndarray], workdir: Path) -> float:
    """Writes submission.csv, truth.csv and cells.h5ad, and scores the files."""
    with predicted.writer(workdir) as cells, kaggle.writing(workdir / "truth.csv") as truth:
        for example, said in zip(examples(fields.test), prob, strict=True):
            known = {name: example[name] for name in ("protein", "antibody", "cell_line")}
            cells.add(
                example["id"], fields.masks(example), said, um_per_pixel=float(example["um_per_pixel"]), obs=known
            )
            truth(labels.listing(example["id"], example["cells"], labels.truth_scores(example["cell_labels"])))
    found, _ = tally.of_files(workdir / "truth.csv", workdir / predicted.SUBMISSION)
    return detection.score(found).mean()


def write_classes(path: Path, fields: Fields, scores: Mapping[str, detection.Scores]) -> None:
    """The AP of every class and way, beside the number of training fields and true cells; printed, too."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "training fields", "true cells", *scores])
        for label, name in enumerate(atlas.LOCATIONS):
            ap = [f"{found.ap[0][label]:.4f}" for found in scores.values()]
            truths = next(iter(scores.values())).truths[label]
            rows.writerow([name, int(fields.training.labels[:, label].sum()), int(truths), *ap])
    Console().print(f"each class: {path}", soft_wrap=True)


def picture(fields: Fields, prob: Sequence[np.ndarray]) -> np.ndarray:
    """The first test fields, cells in the colour of their label: as predicted, and as true."""
    shown = [fields.test[place] for place in range(min(SHOWN, len(fields.test)))]
    rows = {
        "predicted": [
            labelled.labelled(e["image"], fields.masks(e), p, side=384) for e, p in zip(shown, prob, strict=False)
        ],
        "true": [
            labelled.labelled(e["image"], segmented.true(e), e["cell_labels"].astype(np.float32), side=384)
            for e in shown
        ],
    }
    wide = max(each.shape[1] for row in rows.values() for each in row)  # legends differ in width
    padded = [[np.pad(each, ((0, 0), (0, wide - each.shape[1]), (0, 0))) for each in row] for row in rows.values()]
    return grids.grid(padded, names=list(rows), titles=[example["id"] for example in shown])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
