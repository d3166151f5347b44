"""Hand-corrected masks with hand-given labels, and those of a segmentation tool, as truth and submission.

A folder holds truth_masks/{id}.png, predicted_masks/{id}.png and cells.csv with the labels of the true cells.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from hpax import atlas
from hpax.formats import kaggle, label_images
from hpax.metrics import counting, detection
from hpax.ops import overlap


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
