"""Score the masks of a segmentation tool against hand-corrected ones, with hand-given labels: a real run of the metric.

Reads the folder `hpa_single_cell_truth` of the one that HPAX_REAL_DATA names: index images of 100 fields and the
labels of their 1,484 cells. Each predicted cell takes the labels of the true cell that it overlaps most, its score is
the share of its pixels that lie there; so what is lost against an mAP of 1 is lost to segmentation. Writes `truth.csv`,
`submission.csv`, `cells.csv` (the matched cells of every image) and the plots of `hpax score`.
"""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from hpax import atlas, launch
from hpax.commands import scoring
from hpax.formats import kaggle, label_images
from hpax.metrics import bootstrap, counting, detection
from hpax.ops import overlap


@dataclasses.dataclass(frozen=True)
class Config:
    """Where the masks are, and what to find out."""

    seed: int = 0  # of the bootstrap
    data: str = ""  # the folder hpa_single_cell_truth
    iou: tuple[float, ...] = (0.5, 0.6, 0.75, 0.9)
    resamples: int = 1000


def run(config: Config, workdir: Path) -> launch.Result:
    """Write both sides as the competition has them, read them back, and score."""
    folder = Path(config.data)
    if not (folder / "cells.csv").is_file():
        raise ValueError(f"--data must be the folder with cells.csv and the masks, got {config.data!r}; see the README")
    truth, submission = workdir / "truth.csv", workdir / "submission.csv"
    for path, listings in zip((truth, submission), zip(*fields(folder), strict=True), strict=True):
        kaggle.write(path, listings)
    counts, ids = counting.from_csv(truth, submission)
    scores = detection.score(counts, iou=config.iou)
    official = detection.score(counts)
    spread = bootstrap.intervals(counts, official, resamples=config.resamples, seed=config.seed)
    scoring.bars(official, spread).savefig(workdir / "average_precision.png", dpi=120)
    scoring.curves(official).savefig(workdir / "precision_recall.png", dpi=120)
    write_cells(workdir / "cells.csv", counts, ids)
    print(official.table())
    metrics = {
        "mAP": official.mean(),
        "mAP of present classes": official.mean("present"),
        "mAP, low (95%)": spread.map_present.low,
        "mAP, high (95%)": spread.map_present.high,
        "matched cells": int(official.matched_cells[0]),
        "mean IoU of matched cells": float(official.matched_iou[0]),
    }
    headline = list(metrics)
    for index, threshold in enumerate(scores.thresholds):
        metrics[f"mAP at IoU {threshold:g}"] = scores.mean(threshold=index)
        metrics[f"matched cells at IoU {threshold:g}"] = int(scores.matched_cells[index])
    metrics |= {f"AP {name}": float(ap) for name, ap in zip(atlas.LOCATIONS, official.ap[0], strict=True)}
    amounts = {
        "images": official.images,
        "true cells": official.true_cells,
        "predicted cells": official.predicted_cells,
        "true objects": int(official.truths.sum()),
        "predicted objects": int(official.detections.sum()),
        "classes": int((official.truths > 0).sum()),
    }
    return launch.Result(metrics=metrics, counts=amounts, data="real", headline=headline)


def fields(folder: Path) -> Iterator[tuple[kaggle.Listing, kaggle.Listing]]:
    """The truth and the prediction of each field, sorted by ID."""
    classes: dict[str, dict[int, list[int]]] = {}
    with open(folder / "cells.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            named = [int(label) for label in row["cell_labels"].split(";") if label]
            classes.setdefault(row["image_id"], {})[int(row["cell_index"])] = named
    for id, cells in sorted(classes.items()):
        truth, predicted = (
            label_images.read(folder / f"{side}_masks" / f"{id}.png") for side in ("truth", "predicted")
        )
        hot = np.zeros((max(int(truth.max()), *cells), len(atlas.LOCATIONS)), bool)
        for index, named in cells.items():
            hot[index - 1, named] = True
        yield (
            label_images.listing(id, truth, label_images.truth_scores(hot)),
            label_images.listing(id, predicted, carried(predicted, truth, hot)),
        )


def carried(
    predicted: label_images.Labels, truth: label_images.Labels, hot: Bool[np.ndarray, "m c"]
) -> Float64[np.ndarray, "n c"]:
    """The scores of predicted cells by the true cell that each overlaps most; none where it overlaps no cell."""
    shared, indices, true_indices = overlap.of_labels(predicted, truth)
    scores = np.full((int(predicted.max()), len(atlas.LOCATIONS)), np.nan)
    on_cells = shared * (true_indices > 0)
    for index, row, pixels in zip(indices, on_cells, shared.sum(1), strict=True):
        if index and row.max():
            named = hot[true_indices[row.argmax()] - 1]
            scores[index - 1, named] = row.max() / pixels
    return scores


def write_cells(path: Path, counts: counting.Counts, ids: Sequence[str]) -> None:
    """How many cells of each image match at the competition's threshold, and their mean IoU."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "true cells", "predicted cells", "matched cells", "mean IoU"])
        for number, (found, true) in zip(counts.images, counts.cells, strict=True):
            ious = counts.matched_iou[(counts.matched == number) & (counts.matched_iou >= detection.IOU)]
            writer.writerow([ids[number], true, found, len(ious), f"{ious.mean():.4f}" if len(ious) else ""])


SWEEPS: dict[str, Sequence[launch.Difference]] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
