"""A truth and a submission of the HPA single-cell competition, drawn at the size of its test set.

Disjoint cells with wobbly outlines, drawn as runs; a predicted cell is its true cell moved and deformed, every
twenty-fifth too much to match; the submission scores all 19 classes of every cell.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hpax import atlas
from hpax.formats import kaggle, rle

CLASSES = len(atlas.LOCATIONS)
PREVALENCE = 1 / np.arange(
    1, CLASSES + 1
)  # of the classes in a cell, up to a factor: two orders of magnitude and a tail
WRONG = 0.04  # of the predicted cells
SECOND = 0.4  # of the cells have a second label


@dataclasses.dataclass(frozen=True)
class Size:
    """How much to draw; the defaults are the competition's test set."""

    seed: int = 0
    images: int = 1776
    cells: int = 41_597  # over all images
    size: int = 2048  # pixels, of each side


@dataclasses.dataclass(frozen=True)
class Outline:
    """A cell as the first and last row of each of its columns."""

    left: int
    top: Int[np.ndarray, " w"]
    bottom: Int[np.ndarray, " w"]  # exclusive


def write(size: Size, folder: Path) -> dict[str, float]:
    """Leaves truth.csv and submission.csv; returns the megabytes of each."""
    kaggle.write(folder / "truth.csv", (pair[0] for pair in pairs(size)))
    kaggle.write(folder / "submission.csv", (pair[1] for pair in pairs(size)))
    return {f"{name} (MB)": (folder / f"{name}.csv").stat().st_size / 1e6 for name in ("truth", "submission")}


def counts(size: Size) -> dict[str, int]:
    """What is drawn."""
    return {"images": size.images, "cells": size.cells, "detections": size.cells * CLASSES}


def pairs(config: Size) -> Iterator[tuple[kaggle.Listing, kaggle.Listing]]:
    """The truth and the submission of each image; an image is a function of (seed, index) and its count of cells."""
    share = np.random.default_rng(config.seed).gamma(8, size=config.images)
    ends = np.rint(np.cumsum(share) / share.sum() * config.cells).astype(int)
    for index, cells in enumerate(np.diff(ends, prepend=0)):
        yield draw(np.random.default_rng((config.seed, index)), f"simulated_{index:05d}", int(cells), config.size)


def draw(generator: np.random.Generator, id: str, cells: int, size: int) -> tuple[kaggle.Listing, kaggle.Listing]:
    """One image's truth and submission."""
    true, predicted = outlines(generator, cells, size)
    truth = labels(generator, cells)
    logits = generator.normal(size=(cells, CLASSES)) + 2.5 * truth - 1.5
    scores = np.round(1 / (1 + np.exp(-logits)), 5)
    cell, label = np.nonzero(truth)
    every, all_labels = (part.ravel() for part in np.indices((cells, CLASSES)))
    return (
        listing(id, size, true, cell, label, np.ones(len(cell))),
        listing(id, size, predicted, every, all_labels, scores.ravel()),
    )


def labels(generator: np.random.Generator, cells: int) -> Int[np.ndarray, "n c"]:
    """One or two classes of each cell."""
    truth = np.zeros((cells, CLASSES), int)
    chance = PREVALENCE / PREVALENCE.sum()
    for part in (np.arange(cells), np.flatnonzero(generator.random(cells) < SECOND)):
        truth[part, generator.choice(CLASSES, len(part), p=chance)] = 1
    return truth


def listing(
    id: str, size: int, shapes: Sequence[Outline], cell: np.ndarray, label: np.ndarray, score: np.ndarray
) -> kaggle.Listing:
    """A row that lists these cells' classes."""
    owner = np.repeat(np.arange(len(shapes)), [len(shape.top) for shape in shapes])
    edges = [
        (shape.left + np.arange(len(shape.top))) * size + np.stack([shape.top, shape.bottom]) for shape in shapes
    ] or [np.zeros((2, 0))]
    runs = np.concatenate([owner[None], np.concatenate(edges, 1)]).astype(np.int32) if shapes else rle.empty()
    return kaggle.Listing(id, size, size, label.astype(np.int32), score, cell.astype(np.int32), runs, len(shapes))


def outlines(generator: np.random.Generator, cells: int, size: int) -> tuple[list[Outline], list[Outline]]:
    """True cells, each in its own box of a grid, and predicted ones in the same boxes."""
    side = max(int(np.ceil(np.sqrt(cells))), 1)
    pitch = size // side
    true, predicted = [], []
    for place in generator.choice(side**2, cells, replace=False):
        corner = np.array(divmod(int(place), side)) * pitch
        radii = generator.uniform(0.35, 0.45, 2) * pitch
        centre = pitch / 2 + generator.uniform(-0.04, 0.04, 2) * pitch
        waves = generator.normal(size=(2, 6)) * 0.04 / np.arange(1, 7)
        true.append(outline(corner, pitch, centre, radii, waves))
        wrong = generator.random() < WRONG
        off = generator.normal(size=2) * 0.01 * pitch
        factor = 0.6 if wrong else 1.0
        other = waves + generator.normal(size=waves.shape) * 0.01
        predicted.append(outline(corner, pitch, centre + off, radii * factor * generator.normal(1, 0.02), other))
    return true, predicted


def outline(
    corner: Int[np.ndarray, "2"],
    pitch: int,
    centre: Float[np.ndarray, "2"],
    radii: Float[np.ndarray, "2"],
    waves: Float[np.ndarray, "2 6"],
) -> Outline:
    """An ellipse whose upper and lower edge waver, clipped to its box."""
    columns = np.arange(max(int(np.ceil(centre[0] - radii[0])), 0), min(int(centre[0] + radii[0]) + 1, pitch))
    along = np.clip((columns - centre[0]) / radii[0], -1, 1)
    phases = np.sin(np.pi * np.arange(1, 7)[:, None] * (along + 1.3))
    height = radii[1] * np.sqrt(1 - along**2) * np.maximum(1 + waves @ phases, 0.2)
    top = np.clip(np.rint(centre[1] - height[0]), 0, pitch - 1).astype(int)
    bottom = np.clip(np.rint(centre[1] + height[1]), top + 1, pitch).astype(int)
    return Outline(int(corner[0]) + int(columns[0]), corner[1] + top, corner[1] + bottom)
