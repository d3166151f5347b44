"""Images, one by one, to the little that scoring detections needs of them. NumPy only.

What counts as what follows the Open Images challenge evaluator of the TensorFlow Object Detection API, which scored
the HPA single-cell competition: a detection looks at the truth of its class with the highest IoU and at no other; masks
without a pixel count as nothing; detections of a class that is not verified in an image are ignored.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Integer

from hpax import atlas, files
from hpax.formats import kaggle
from hpax.ops import overlap

CLASSES = len(atlas.LOCATIONS)

MOST = 10_000
"""How many detections of a class in an image count, those of the highest scores."""

Verified = Literal["all", "truth"] | Mapping[str, Collection[int]]
"""The classes evaluated in an image besides those of its truth: all, none, or by its ID."""


class Counts(NamedTuple):
    """Some images' detections and truths, reduced to what scoring needs. Tallies of distinct images merge in any order.

    It is a pytree of NumPy arrays. d detections, n images, c classes, m matched cells.
    """

    image: Int32[np.ndarray, " d"]  # number of the image; on equal scores a higher number comes first
    label: Int32[np.ndarray, " d"]
    score: Float64[np.ndarray, " d"]
    position: Int32[np.ndarray, " d"]  # in the listing of its image
    truth: Int32[np.ndarray, " d"]  # which truth of this class in this image has the highest IoU; -1 if none has any
    iou: Float64[np.ndarray, " d"]  # with that truth
    images: Int32[np.ndarray, " n"]
    truths: Int32[np.ndarray, "n c"]  # objects of each class
    cells: Int32[np.ndarray, "n 2"]  # predicted and true masks that have a pixel
    ignored: Int32[np.ndarray, " n"]  # detections of classes that are not evaluated in the image
    matched: Int32[np.ndarray, " m"]  # image of each pair of masks that overlap each other most, whatever their classes
    matched_iou: Float64[np.ndarray, " m"]

    def select(self, images: Collection[int]) -> "Counts":
        """The part of these images, as of a public or a private half; their numbers stay."""
        chosen = np.fromiter(images, np.int32)
        keep = {key: np.isin(getattr(self, key), chosen) for key in _OF}
        return Counts(**{name: getattr(self, name)[keep[key]] for key, names in _OF.items() for name in (key, *names)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz for another host to merge; it appears once complete."""
        with files.replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, **self._asdict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Counts":
        """Read what `save` wrote; a ValueError if it is something else."""
        with np.load(path, allow_pickle=False) as arrays:
            if set(arrays.files) != set(cls._fields):
                raise ValueError(
                    f"{os.fspath(path)} must hold {cls._fields}, it has {arrays.files}; save it with Counts"
                )
            return cls(**{name: arrays[name] for name in cls._fields})


_OF = {
    "image": ("label", "score", "position", "truth", "iou"),
    "images": ("truths", "cells", "ignored"),
    "matched": ("matched_iou",),
}
"""Which columns of a counts belong together."""


class Objects(NamedTuple):
    """What an image lists: d objects of n masks. Of a truth, the scores mean nothing."""

    label: Integer[np.ndarray, " d"]
    score: Float[np.ndarray, " d"]
    mask: Integer[np.ndarray, " d"]
    areas: Integer[np.ndarray, " n"]  # pixels of each mask


def merge(tallies: Iterable[Counts]) -> Counts:
    """One counts of all images, of any shards and hosts, sorted by image: the order of merging leaves no trace.

    Raises:
        ValueError: two of them share an image.
    """
    tallies = list(tallies) or [_EMPTY]
    merged = Counts(*map(np.concatenate, zip(*tallies, strict=True)))
    numbers, counts = np.unique(merged.images, return_counts=True)
    if (counts > 1).any():
        twice = numbers[counts > 1][:5].tolist()
        raise ValueError(f"tallies must be of distinct images, {twice} occur twice; number the images of all shards")
    order = {key: np.argsort(getattr(merged, key), kind="stable") for key in _OF}
    return Counts(**{name: getattr(merged, name)[order[key]] for key, names in _OF.items() for name in (key, *names)})


def of_objects(
    image: int, predicted: Objects, truth: Objects, iou: Float64[np.ndarray, "n m"], verified: Collection[int]
) -> Counts:
    """The counts of one image from the IoU of its masks.

    Raises:
        ValueError: a score is not finite.
    """
    if not np.isfinite(predicted.score).all():
        raise ValueError(f"scores must be finite, image {image} has some that are not; drop those objects")
    real = truth.areas[truth.mask] > 0
    true_label, true_mask = truth.label[real], truth.mask[real]
    nearest, overlap_ = nearest_truths(iou, true_label, true_mask)
    truths = np.bincount(true_label, minlength=CLASSES)
    evaluated = truths > 0
    evaluated[list(verified)] = True
    seen = predicted.areas[predicted.mask] > 0
    counted = _most(predicted, np.flatnonzero(seen & evaluated[predicted.label]))
    label, mask = predicted.label[counted], predicted.mask[counted]
    mutual = mutual_matches(iou)
    cells = [[(predicted.areas > 0).sum(), (truth.areas > 0).sum()]]
    ignored = [(seen & ~evaluated[predicted.label]).sum()]
    columns: list[Any] = [np.full(len(label), image), label, predicted.score[counted], counted, nearest[label, mask]]
    columns += [overlap_[label, mask], [image], truths[None], cells, ignored, np.full(len(mutual), image), mutual]
    return Counts(*(np.asarray(column, empty.dtype) for column, empty in zip(columns, _EMPTY, strict=True)))


def from_listings(
    image: int, predicted: kaggle.Listing, truth: kaggle.Listing, verified: Collection[int] = range(CLASSES)
) -> Counts:
    """The counts of one image from the rows of two CSVs.

    Raises:
        ValueError: the two are of different sizes.
    """
    if (predicted.height, predicted.width) != (truth.height, truth.width):
        sizes = f"{predicted.width} × {predicted.height} and {truth.width} × {truth.height}"
        raise ValueError(f"an image must have one size, {predicted.id!r} has {sizes}; predict at the truth's")
    shared = overlap.of_runs(predicted.runs, truth.runs, (predicted.masks, truth.masks))
    listed, true = (
        Objects(side.label, side.score, side.mask, overlap.areas(side.runs, side.masks)) for side in (predicted, truth)
    )
    return of_objects(image, listed, true, overlap.iou(shared, listed.areas, true.areas), verified)


def from_label_images(
    image: int,
    labels: Integer[np.ndarray, "h w"],
    scores: Float[np.ndarray, "n c"],
    truth_labels: Integer[np.ndarray, "h w"],
    truth_classes: Integer[np.ndarray, "m c"] | Bool[np.ndarray, "m c"],
    verified: Collection[int] = range(CLASSES),
) -> Counts:
    """The counts of one image from index images (0 is background) and what row i says of the cell of index i + 1.

    A cell is listed for every class whose score is not NaN, cell after cell. `truth_classes` is 1 for the true ones.

    Raises:
        ValueError: the images differ in shape, or hold an index without a row.
    """
    shared, indices, true_indices = overlap.of_labels(labels, truth_labels)
    rows, true_rows = len(scores) + 1, len(truth_classes) + 1
    for name, found, limit in (("labels", indices, rows), ("truth_labels", true_indices, true_rows)):
        if found.min(initial=0) < 0 or found.max(initial=0) >= limit:
            raise ValueError(f"{name} must be within 0 and {limit - 1}, got {found.max()}; give each cell its row")
    joint = np.zeros((rows, true_rows), np.int64)
    joint[np.ix_(indices, true_indices)] = shared
    areas, true_areas = joint.sum(1)[1:], joint.sum(0)[1:]
    mask, label = np.nonzero(~np.isnan(scores))
    predicted = Objects(label, np.asarray(scores, np.float64)[mask, label], mask, areas)
    true_mask, true_label = np.nonzero(truth_classes)
    truth = Objects(true_label, np.ones(len(true_label)), true_mask, true_areas)
    return of_objects(image, predicted, truth, overlap.iou(joint[1:, 1:], areas, true_areas), verified)


def from_csv(
    truth: str | os.PathLike[str],
    submission: str | os.PathLike[str],
    *,
    verified: Verified = "all",
    limits: kaggle.Limits = kaggle.LIMITS,
) -> tuple[Counts, tuple[str, ...]]:
    """The counts of a submission against a truth, read image by image, and the IDs that number its images.

    Raises:
        kaggle.SubmissionError: a file has defects; the message names the first twenty.
    """
    tables = kaggle.Table(truth, limits), kaggle.Table(submission, limits)
    if tables[0].defects:
        raise kaggle.SubmissionError(truth, tables[0].defects)
    if defects := tables[1].defects + tables[1].against(tables[0]):
        raise kaggle.SubmissionError(submission, defects, complete=False)
    found: tuple[list[kaggle.Defect], list[kaggle.Defect]] = ([], [])
    tallies = []
    for number, id in enumerate(tables[0].entries):
        listings = []
        for table, errors in zip(tables, found, strict=True):
            listing, defects = table.read(id)
            listings.append(listing)
            errors += [defect for defect in defects if not defect.warning]
        if max(map(len, found)) >= kaggle.SHOWN:
            break
        if not any(found):
            tallies.append(from_listings(number, listings[1], listings[0], _verified(verified, id)))
    for table, errors in zip(tables, found, strict=True):
        if errors:
            raise kaggle.SubmissionError(table.path, errors, complete=False)
    return merge(tallies), tuple(tables[0].entries)


def nearest_truths(
    iou: Float64[np.ndarray, "n m"], label: Integer[np.ndarray, " t"], mask: Integer[np.ndarray, " t"]
) -> tuple[Int32[np.ndarray, "c n"], Float64[np.ndarray, "c n"]]:
    """For every class and predicted mask the truth of highest IoU, numbered within its class, and that IoU.

    The first of equal ones; −1 and 0 where no truth of the class shares a pixel.
    """
    nearest = np.full((CLASSES, len(iou)), -1, np.int32)
    best = np.zeros((CLASSES, len(iou)))
    if len(label):
        order = np.argsort(label, kind="stable")
        amounts = np.bincount(label, minlength=CLASSES)
        classes = np.flatnonzero(amounts)
        first = (np.cumsum(amounts) - amounts)[classes]
        candidates = iou.T[mask[order]]
        best[classes] = np.maximum.reduceat(candidates, first)
        place = (np.arange(len(order)) - np.repeat(first, amounts[classes]))[:, None]
        places = np.where(candidates == best[label[order]], place, len(order))
        nearest[classes] = np.where(best[classes] > 0, np.minimum.reduceat(places, first), -1)
    return nearest, best


def mutual_matches(iou: Float64[np.ndarray, "n m"]) -> Float64[np.ndarray, " p"]:
    """IoU of the pairs of a predicted and a true mask that overlap each other most."""
    if not iou.size:
        return np.zeros(0)
    nearest = iou.argmax(1)
    rows = np.flatnonzero(iou.argmax(0)[nearest] == np.arange(len(iou)))
    pairs = iou[rows, nearest[rows]]
    return pairs[pairs > 0]


def _most(objects: Objects, counted: Integer[np.ndarray, " d"]) -> Integer[np.ndarray, " most"]:
    """The counted objects without those beyond `MOST` of their class, by score; of equal ones the later listed stay."""
    label = objects.label[counted]
    if np.bincount(label, minlength=1).max() <= MOST:
        return counted
    order = np.lexsort((-counted, -objects.score[counted], label))
    place = np.arange(len(order)) - np.searchsorted(label[order], label[order])
    return counted[np.sort(order[place < MOST])]


def _verified(verified: Verified, id: str) -> Collection[int]:
    """The classes verified in an image."""
    if isinstance(verified, str):
        return range(CLASSES) if verified == "all" else ()
    return verified.get(id, ())


def _empty() -> Counts:
    floats, shaped = ("score", "iou", "matched_iou"), {"truths": (0, CLASSES), "cells": (0, 2)}
    arrays = (np.zeros(shaped.get(name, 0), np.float64 if name in floats else np.int32) for name in Counts._fields)
    return Counts(*arrays)


_EMPTY = _empty()
