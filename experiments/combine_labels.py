"""Image-level and cell-level models together (Le et al. 2022): which way of combining them labels single cells best.

Trains both kinds on the labels of fields, and the cell-level one once more on what each cell truly shows, the ceiling;
teaches another cell-level one what such a model says of training cells whose proteins it never saw; scores every way of
combining them on the cells of other proteins by the competition's metric. Leaves the networks, a submission and its
truth as CSVs, cells.h5ad, classes.csv with the AP of every class, and index.html, the page to look at.

Networks are kept beside the arms, in `models`, by what they were trained with: arms that share one train it once.
"""

import csv
import dataclasses
import functools
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
from hpax.explore import charts, grids, labelled, page
from hpax.fields import Masks
from hpax.formats import kaggle, label_images
from hpax.metrics import classification, counting, detection
from hpax.ops.mil import Pooling
from hpax.predict import cams, combine, distil, refine, submission
from hpax.segment import borders

IMAGE_FILE, CELL_FILE, STUDENT_FILE = "localize.safetensors", "classify.safetensors", "distilled.safetensors"
SHOWN = 4  # fields in the picture
RARE = 6  # classes of the fewest training fields
WAYS = {
    "field copied": ("field copied", "ensemble", "ensemble, ceiling"),
    "labels copied": ("labels copied", "labels × cell", "labels × ceiling"),
    "labels copied, with distilled": ("labels copied", "labels × cell with distilled", "labels × ceiling"),
}
"""What is the same for all cells of a field, what weak labels make of it, and what true labels of cells would."""

COMPARED = ("field copied", "ensemble", "ensemble, ceiling", "labels copied", "labels × cell", "labels × ceiling")
CALIBRATED = ("field copied", "cell", "ensemble", "ceiling")
VARIATION = {"all cells agree": (-1.0, 0.0), "up to half differ": (0.0, 0.5), "most differ": (0.5, 1.0)}
"""Kinds of fields → more than the first and at most the second share of cells that differ from their field."""

ABOUT = "Networks that learnt 19 patterns from labels of whole fields, asked about single cells. All are simulated."
CELLS = "Cells of test fields in the colour of their most probable class: as predicted, and as they truly are"
VARIES = "mAP over the share of cells that differ from their field"
RELIABLE = "ProcessShard of cells that show a class over its probability, all classes together"


@dataclasses.dataclass(frozen=True)
class Config(Atlas):
    """What to learn from, how, and how long."""

    image_backbone: str = "plain-tiny"  # of hpax.nn.backbones
    cell_backbone: str = "plain-tiny"
    image_start: Literal["cells", "fresh"] = "cells"  # from the cell-level model, which is the same network, or fresh
    image_resolution: int = 256  # pixels of a field's side
    cell_resolution: int = 64  # pixels of a crop's side
    pooling: Literal["average", "gem", "lse"] = "lse"
    image_loss: LossName = "bce"
    cell_loss: LossName = "bce"
    puzzle: float = 0.0  # weight of Puzzle-CAM's reconstruction
    fair: bool = False  # learn from patches that mix fields and single cells
    masked: bool = True  # cells without their neighbours
    bag: Literal["none"] | Pooling = "none"  # what a field's cells say together
    image_steps: int = 500
    cell_steps: int = 2400
    ceiling: bool = True  # train on true labels of cells, too, to know what labels of fields cost
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
    *launch.grid(pooling=["average", "gem"]),
    *launch.grid(image_loss=["focal", "focal_lovasz_bce"]),
    {"puzzle": 1.0},
    {"fair": True},
    {"image_resolution": 64},
    *launch.grid(cell_loss=["focal", "focal_lovasz_bce"]),
    {"cell_resolution": 32},
    {"masked": False},
    *launch.grid(bag=["max", "noisy-or"]),
)
"""What each choice is worth. With `--no-ceiling --folds 0` an arm trains what it changes, and nothing else."""

SWEEPS = {
    "ablation": ABLATION,
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

    say: Callable[[data.Source, segmented.MaskSource], list[Said]]
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

    def say(source: data.Source, masks: segmented.MaskSource) -> list[Said]:
        parts = zip(examples(source), of_fields(source), of_cells(source, masks), strict=True)
        return [
            Said(p, cams.cell_probabilities(maps, p, masks(example).cells), cells)
            for example, (p, maps), cells in parts
        ]

    return Models(say, image_folder / IMAGE_FILE, cell_folder / CELL_FILE)


def soft_targets(config: Config, fields: Fields, models: Path) -> classify_cells.Targets:
    """How much of each label of its field every training cell shows, by models that never saw its protein."""
    source = fields.training
    fold = distil.folds(
        source.table["protein"].to_numpy(str).tolist(), config.folds, strata=source.labels.argmax(1).tolist()
    )
    share = 1 - 1 / config.folds  # of the fields, and of the steps: as many epochs
    shorter = cell_config(config, steps=round(share * config.cell_steps))

    def fit(places: Sequence[int]) -> Callable[[int], np.ndarray]:
        part = fields._replace(training=data.Part(source, places))
        asked = sorted(set(range(len(source))) - set(places))
        folder = models / f"cell-{launch.digest(shorter)}-without-fold{int(fold[asked[0]])}-of-{config.folds}"
        said = classify_cells.fitted(shorter, part, folder)(data.Part(source, asked), fields.masks)
        kept = {place: refine.shares(source.labels[place], prob) for place, prob in zip(asked, said, strict=True)}
        return kept.__getitem__

    found = distil.out_of_fold(range(len(source)), fold, fit)
    return {str(id): target.astype(np.float32) for id, target in zip(source.table.index, found, strict=True)}


def pooled(cells: np.ndarray, field: np.ndarray) -> Float[np.ndarray, " n"]:
    """What the cells of a field say on average; what the field does, if there is none."""
    return cells.mean(0) if len(cells) else field


def ways(said: Said, labels_of_field: np.ndarray) -> dict[str, Float[np.ndarray, "k n"]]:
    """Every way from what the models say of a field to its cells; the last three are told the field's labels."""
    field, maps, cells = said
    mean, told = pooled(cells, field), labels_of_field * 1.0
    ensemble = combine.fuse(field, [maps, cells])  # fixed beforehand
    return {
        "field copied": np.tile(field, (len(cells), 1)),
        "cells pooled and copied": np.tile(mean, (len(cells), 1)),
        "maps": maps,
        "cell": cells,
        "image × cell": combine.product(field, cells),
        "image + cell": combine.weighted_mean(field, cells),
        "image × maps": combine.product(field, maps),
        "image + maps": combine.weighted_mean(field, maps),
        "cells pooled + cell": combine.weighted_mean(mean, cells),
        "ensemble": ensemble,
        "ensemble, negative excludes": combine.negative_excludes(ensemble),
        "ensemble, negative is the rest": combine.negative_as_complement(ensemble),
        "labels copied": np.tile(told, (len(cells), 1)),
        "labels × cell": told * cells,
        "labels × ensemble": told * ensemble,
    }


def in_place(
    name: str, cells: Sequence[np.ndarray], said: Sequence[Said], labels_of_fields: np.ndarray
) -> dict[str, list[Float[np.ndarray, "k n"]]]:
    """The ways that another cell-level model opens, in place of that of the ensemble."""
    pairs, told = zip(said, cells, strict=True), zip(labels_of_fields, cells, strict=True)
    return {
        name: list(cells),
        f"ensemble, {name}": [combine.fuse(one.field, [one.maps, prob]) for one, prob in pairs],
        f"labels × {name}": [row * prob for row, prob in told],
    }


def weighted(example: Mapping[str, Any], masks: Masks, prob: np.ndarray) -> np.ndarray:
    """The winners' weights of cells, by their size and whether the border cuts them."""
    return combine.weighted(prob, borders.weights(borders.cell_properties(masks, float(example["um_per_pixel"]))))


def leave(network: Path, copy: Path) -> None:
    """A network and its card beside the results."""
    for suffix in (copy.suffix, ".md"):
        shutil.copyfile(network.with_suffix(suffix), copy.with_suffix(suffix))


def predictions(config: Config, fields: Fields, workdir: Path) -> Callable[[segmented.MaskSource], dict[str, list]]:
    """Way → what it says of the cells of each test field, for any masks of them; everything is trained once."""
    models = workdir.parents[1] / "models"
    ensemble = both(config, fields, models)
    leave(ensemble.image, workdir / IMAGE_FILE)
    leave(ensemble.cell, workdir / CELL_FILE)
    ceiling, distilled = None, None
    if config.ceiling:
        true = cell_config(config, labels="cells")
        ceiling = classify_cells.fitted(true, fields, models / f"ceiling-{launch.digest(true)}")
    if config.folds:
        targets = soft_targets(config, fields, models)
        student = cell_config(config)
        folder = models / f"distilled-{launch.digest(student)}-of-{config.folds}"
        distilled = classify_cells.fitted(student, fields, folder, targets)
        leave(folder / CELL_FILE, workdir / STUDENT_FILE)

    def of_masks(masks: segmented.MaskSource) -> dict[str, list]:
        said, rows = ensemble.say(fields.test, masks), fields.test.labels
        by_field = [ways(one, row) for one, row in zip(said, rows, strict=True)]
        found = {name: [each[name] for each in by_field] for name in by_field[0]}
        bordered = zip(examples(fields.test), found["ensemble"], strict=True)
        found["ensemble, border weights"] = [weighted(example, masks(example), prob) for example, prob in bordered]
        if distilled:
            student = list(distilled(fields.test, masks))
            mean = [(one.cells + prob) / 2 for one, prob in zip(said, student, strict=True)]
            found |= in_place("distilled", student, said, rows) | in_place("cell with distilled", mean, said, rows)
        if ceiling:
            best = list(ceiling(fields.test, masks))
            together = [combine.weighted_mean(pooled(prob, s.field), prob) for s, prob in zip(said, best, strict=True)]
            found |= in_place("ceiling", best, said, rows) | {"ceiling, pooled + cell": together}
        return found

    return of_masks


@dataclasses.dataclass(frozen=True)
class Study:
    """What was said of the test cells by each way, and what it is worth."""

    fields: Fields
    said: dict[str, list[np.ndarray]]  # way → of each field the probabilities of its cells
    scores: dict[str, detection.Scores]

    def mean(self, way: str) -> float:
        """mAP of the classes with truth."""
        return self.scores[way].mean("present")

    @functools.cached_property
    def truth(self) -> Float[np.ndarray, "k n"]:
        """What each test cell truly shows."""
        return np.concatenate(list(classify_cells.true_labels(self.fields.test, self.fields.masks).values()))

    @functools.cached_property
    def variation(self) -> Float[np.ndarray, " f"]:
        """See `variation`."""
        return variation(self.fields)

    def there(self, ways: Sequence[str]) -> list[str]:
        """Those of the ways that were taken."""
        return [way for way in ways if way in self.said]

    def rare(self, way: str) -> float:
        """mAP of the classes with the fewest training fields."""
        return float(np.nanmean(self.scores[way].ap[0][rarest(self.fields)[:RARE]]))


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, combines, scores; leaves the ensemble's submission, tables and a page."""
    config = dataclasses.replace(config, **FAST) if config.fast else config
    fields = open_fields(config)
    of_masks = predictions(config, fields, workdir)
    done = study(fields, of_masks(fields.masks))
    metrics = {f"mAP, {way}": done.mean(way) for way in done.said}
    if config.masks != "true":
        exact = study(fields._replace(masks=segmented.ground_truth), of_masks(segmented.ground_truth))
        metrics |= {f"mAP on true masks, {way}": exact.mean(way) for way in exact.said}
    headline = [name for name in metrics if name.startswith("mAP, ")]
    for more in (way_to_the_ceiling(done), of_rare_classes(done), of_variation(done), of_calibration(done)):
        metrics |= more
        headline += more
    metrics["mAP of the submission, 19 classes"] = submit(fields, done.said["ensemble"], workdir)
    write_classes(workdir / "classes.csv", done)
    page.write(workdir / "index.html", page.page("Labels of fields to labels of cells", ABOUT, sections(done, metrics)))
    Console().print(f"the page: {workdir / 'index.html'}", soft_wrap=True)
    return launch.Result(metrics=metrics, counts=localize_cells.counts(fields), data="simulated", headline=headline)


def study(fields: Fields, said: dict[str, list]) -> Study:
    """Every way, scored."""
    return Study(fields, said, {way: scored(fields.test, fields.masks, prob) for way, prob in said.items()})


def rarest(fields: Fields) -> np.ndarray:
    """The classes, that with the fewest training fields first."""
    return np.argsort(fields.training.labels.sum(0), kind="stable")


def way_to_the_ceiling(done: Study) -> dict[str, float]:
    """How much of what true labels of cells are worth weak labels reach; NaN where these are worth nothing."""
    found = {}
    for name, ways in WAYS.items():
        if done.there(ways) == list(ways):
            start, reached, end = map(done.mean, ways)
            found[f"share of the way, {name}"] = (reached - start) / (end - start) if end > start else np.nan
    return found


def of_rare_classes(done: Study) -> dict[str, float]:
    """mAP where examples are few."""
    return {f"mAP of the {RARE} rarest classes, {way}": done.rare(way) for way in done.there(COMPARED)}


def of_variation(done: Study) -> dict[str, float]:
    """mAP of fields by how many of their cells differ from the field."""
    share = done.variation
    found = {}
    for kind, (low, high) in VARIATION.items():
        own = np.flatnonzero((share > low) & (share <= high)).tolist()
        for way in done.there(COMPARED):
            said = [done.said[way][place] for place in own]
            part = scored(data.Part(done.fields.test, own), done.fields.masks, said)
            found[f"mAP of fields where {kind}, {way}"] = part.mean("present")
    return found


def variation(fields: Fields) -> Float[np.ndarray, " f"]:
    """Of each test field the share of cells that do not show just what the field does."""
    return np.array([(e["cell_labels"] != e["labels"]).any(1).mean() for e in examples(fields.test)])


def of_calibration(done: Study) -> dict[str, float]:
    """How far probabilities are from frequencies, the mean over classes."""
    scores = {way: classification.score(done.truth, np.concatenate(done.said[way])) for way in done.there(CALIBRATED)}
    return {f"calibration error, {way}": found.mean_error for way, found in scores.items()}


def sections(done: Study, metrics: Mapping[str, float]) -> list[page.Section]:
    """The page, from top to bottom."""
    return [
        page.Section("Which way labels single cells best?", [ways_table(done, metrics)]),
        page.Section("Cells", [page.Picture(picture(done), CELLS, CELLS)]),
        page.Section("Does it matter how much cells vary?", [page.Picture(variation_chart(done, metrics), VARIES)]),
        page.Section("Are probabilities frequencies?", [page.Picture(reliability_chart(done), RELIABLE)]),
        page.Section("Each class, rare ones first", [classes_table(done)]),
    ]


def ways_table(done: Study, metrics: Mapping[str, float]) -> page.Table:
    """Every way, on found and on true masks, and on rare classes."""
    rows = [[way, done.mean(way), metrics.get(f"mAP on true masks, {way}"), done.rare(way)] for way in done.said]
    told = f"{len(done.fields.test)} fields of proteins that no network saw; mask mAP at IoU 0.6 of classes with truth"
    shares = [f"{name} {value:.2f}" for name, value in metrics.items() if name.startswith("share of the way")]
    caption = ". ".join([told, "Simulated cells", *shares])
    return page.Table(["way", "mAP", "on true masks", f"{RARE} rarest classes"], rows, caption)


def classes_table(done: Study) -> page.Table:
    """AP of every class by the ways that are compared."""
    ways, fields = done.there(COMPARED), done.fields.training.labels.sum(0)
    truths, ap = done.scores[ways[0]].truths, np.stack([done.scores[way].ap[0] for way in ways], axis=1)
    rows = [[atlas.LOCATIONS[k], int(fields[k]), int(truths[k]), *ap[k].tolist()] for k in rarest(done.fields)]
    return page.Table(["class", "training fields", "true cells", *ways], rows, "AP at IoU 0.6")


def variation_chart(done: Study, metrics: Mapping[str, float]) -> np.ndarray:
    """mAP against how many cells of a field differ from it."""
    share = done.variation
    across = [share[(share > low) & (share <= high)] for low, high in VARIATION.values()]
    x = [float(part.mean()) if len(part) else np.nan for part in across]
    up = {way: [metrics[f"mAP of fields where {kind}, {way}"] for kind in VARIATION] for way in done.there(COMPARED)}
    title = f"fields: {', '.join(str(len(part)) for part in across)}"
    lines = {way: (x, y) for way, y in up.items()}
    return charts.curves(lines, across="share of cells that differ from their field", up="mAP", title=title)


def reliability_chart(done: Study) -> np.ndarray:
    """Frequency against probability, all classes together."""
    truth, lines = done.truth.reshape(-1, 1), {"as it should be": ([0.0, 1.0], [0.0, 1.0])}
    for way in done.there(CALIBRATED):
        found = classification.calibrate(truth, np.concatenate(done.said[way]).reshape(-1, 1), bins=50)
        lines[way] = (found.probability[0], found.frequency[0])
    return charts.curves(lines, across="probability", up="share of cells that show the class")


def submit(fields: Fields, prob: Iterable[np.ndarray], workdir: Path) -> float:
    """Writes submission.csv, truth.csv and cells.h5ad, and scores the files."""
    with submission.writer(workdir) as cells, kaggle.writing(workdir / "truth.csv") as truth:
        for example, said in zip(examples(fields.test), prob, strict=True):
            known = {name: example[name] for name in ("protein", "antibody", "cell_line")}
            cells.add(
                example["id"], fields.masks(example), said, um_per_pixel=float(example["um_per_pixel"]), obs=known
            )
            truth(
                label_images.listing(example["id"], example["cells"], label_images.truth_scores(example["cell_labels"]))
            )
    found, _ = counting.from_csv(workdir / "truth.csv", workdir / submission.SUBMISSION)
    return detection.score(found).mean()


def write_classes(path: Path, done: Study) -> None:
    """The AP of every class and way, beside the number of training fields and true cells; printed, too."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "training fields", "true cells", *done.scores])
        for label, name in enumerate(atlas.LOCATIONS):
            ap = [f"{found.ap[0][label]:.4f}" for found in done.scores.values()]
            truths = next(iter(done.scores.values())).truths[label]
            rows.writerow([name, int(done.fields.training.labels[:, label].sum()), int(truths), *ap])
    Console().print(f"each class: {path}", soft_wrap=True)


def picture(done: Study) -> np.ndarray:
    """Test fields from those whose cells agree to those that vary, cells in the colour of their label."""
    fields, order = done.fields, np.argsort(done.variation, kind="stable")
    places = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).astype(int))].tolist()
    shown, prob = [fields.test[place] for place in places], [done.said["ensemble"][place] for place in places]
    rows = {
        "predicted": [
            labelled.labelled(e["image"], fields.masks(e), p, side=384) for e, p in zip(shown, prob, strict=True)
        ],
        "true": [
            labelled.labelled(e["image"], segmented.ground_truth(e), e["cell_labels"].astype(np.float32), side=384)
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
