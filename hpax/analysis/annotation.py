"""Single-cell truth by hand, with any annotation tool: draw cells, hand them out, take labels back, compare people.

As the test set of Le et al. (2022) was made: cells in random order, each with 50 pixels around it, a tenth of them seen
by everybody.
"""

import csv
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from hpax import atlas, files
from hpax.explore import colour, overlays
from hpax.fields import Field
from hpax.formats.label_images import Labels as IndexMask

PADDING = 50  # pixels around a cell's box
OVERLAP = 0.1  # share of the cells that every annotator sees
MAX_ROWS = 1_000_000
TASKS = "tasks.csv"

Hot = UInt8[np.ndarray, "n 19"]


def draw(cells: int, annotators: int, *, overlap: float = OVERLAP, seed: int = 0) -> list[Int[np.ndarray, " k"]]:
    """For each annotator the cells to look at, in random order: those shared by all, and a part of the others.

    Raises:
        ValueError: no cell, no annotator, or an overlap outside of [0, 1].
    """
    if cells < 1 or annotators < 1 or not 0 <= overlap <= 1:
        raise ValueError(f"needs cells, annotators and an overlap in [0, 1], got {cells}, {annotators}, {overlap}")
    random = np.random.default_rng(seed)
    order = random.permutation(cells)
    shared = order[: round(overlap * cells)]
    parts = np.array_split(order[len(shared) :], annotators)
    return [random.permutation(np.concatenate([shared, part])) for part in parts]


def box(cells: IndexMask, index: int, *, padding: int = PADDING) -> tuple[slice, slice]:
    """Rows and columns of a cell with `padding` pixels around it, as far as the field goes.

    Raises:
        ValueError: there is no such cell.
    """
    y, x = np.nonzero(cells == index)
    if not len(y):
        raise ValueError(f"the mask must hold cell {index}, it does not; its cells are 1..{int(cells.max(initial=0))}")
    rows, columns = cells.shape
    return (
        slice(max(0, int(y.min()) - padding), min(rows, int(y.max()) + padding + 1)),
        slice(max(0, int(x.min()) - padding), min(columns, int(x.max()) + padding + 1)),
    )


def picture(field: Field, index: int, *, padding: int = PADDING) -> UInt8[np.ndarray, "h w 3"]:
    """A cell with what is around it in the HPA's colours, the cell alone outlined."""
    place = box(field.found.cells, index, padding=padding)
    own = (field.found.cells[place] == index).astype(np.uint16)
    seen = overlays.light(field.image[place], max(own.shape))
    shown = colour.picture(overlays.LIGHT * seen)
    shown[overlays.outlines(own)] = overlays.CELLS
    return shown


def export(
    folder: pathlib.Path,
    fields: Mapping[str, Field],
    cells: Sequence[tuple[str, int]],
    annotators: Sequence[str],
    *,
    padding: int = PADDING,
    overlap: float = OVERLAP,
    seed: int = 0,
) -> list[pathlib.Path]:
    """Leaves for each annotator a folder of pictures and a tasks.csv to fill in; returns the tables.

    A row of the table is a task: its number, the picture's name, which tells nothing of the protein, and an empty
    column for each of the 19 classes, to be 1 where the cell shows it. cells.csv, which annotators need not see, says
    which cell each picture is of.

    Raises:
        ValueError: names of annotators that cannot be folders, or a cell that is not in its field.
    """
    if bad := [name for name in annotators if not name or not name.replace("_", "").replace("-", "").isalnum()]:
        raise ValueError(f"annotators must be named by letters, digits, - and _, got {bad[0]!r}; rename it")
    tables = []
    for name, own in zip(annotators, draw(len(cells), len(annotators), overlap=overlap, seed=seed), strict=True):
        (folder / name / "pictures").mkdir(parents=True, exist_ok=True)
        rows = []
        for task, cell in enumerate(own.tolist(), 1):
            field, index = cells[cell]
            path = folder / name / "pictures" / f"cell{cell:06}.png"
            Image.fromarray(picture(fields[field], index, padding=padding)).save(path)
            rows.append([task, path.stem])
        table = pd.DataFrame(rows, columns=["task", "cell"]).assign(**dict.fromkeys(atlas.LOCATIONS, ""))
        files.write_text(folder / name / TASKS, table.to_csv(index=False, lineterminator="\n"))
        tables.append(folder / name / TASKS)
    known = pd.DataFrame([[f"cell{n:06}", *cell] for n, cell in enumerate(cells)], columns=["cell", "field", "index"])
    files.write_text(folder / "cells.csv", known.to_csv(index=False, lineterminator="\n"))
    return tables


def read(path: pathlib.Path) -> tuple[list[str], Hot]:
    """The cells of a filled table and their labels; a row that is all empty was not looked at, and is left out.

    Raises:
        ValueError: a class has no column, a cell comes twice, or a value is not 0, 1 or empty.
    """
    names, rows = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in ("cell", *atlas.LOCATIONS) if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path} must have a column for the cell and each class, {missing[0]!r} is missing")
        for number, row in enumerate(itertools.islice(reader, MAX_ROWS), 2):
            values = [(row[name] or "").strip() for name in atlas.LOCATIONS]
            if not any(values):
                continue
            if bad := [value for value in values if value not in ("", "0", "1")]:
                raise ValueError(f"{path}:{number}: a class must be 0, 1 or empty, got {bad[0]!r}")
            names.append(row["cell"])
            rows.append([value == "1" for value in values])
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: each cell must come once, {pd.Series(names).mode()[0]!r} comes again")
    return names, np.array(rows, np.uint8).reshape(-1, len(atlas.LOCATIONS))


def agreement(first: tuple[Sequence[str], Hot], second: tuple[Sequence[str], Hot]) -> pd.DataFrame:
    """How two annotators agree on the cells that both saw, by class: cells, agreement, kappa, how often each said it.

    The last row, "any class", is over all decisions. Cohen's kappa is NaN where both always say the same one thing.

    Raises:
        ValueError: they share no cell.
    """
    names, rows, others = np.intersect1d(first[0], second[0], return_indices=True)
    if not len(names):
        raise ValueError("two annotators must share cells to be compared, these share none; draw with an overlap")
    one, other = first[1][rows] > 0, second[1][others] > 0
    table = [_agreed(one[:, label], other[:, label]) for label in range(len(atlas.LOCATIONS))]
    table.append(_agreed(one.ravel(), other.ravel()))
    columns = ["cells", "agreement", "kappa", "first_share", "second_share"]
    found = pd.DataFrame(table, index=[*atlas.LOCATIONS, "any class"], columns=columns)
    return found.assign(cells=len(names)).rename_axis("class")


def error_rates(truth: Hot, said: Hot) -> pd.DataFrame:
    """By class, how often an annotator misses it where it is, and says it where it is not; NaN where that cannot be."""
    true, told = truth > 0, said > 0
    present, absent = true.sum(0), (~true).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        missed, false = (true & ~told).sum(0) / present, (~true & told).sum(0) / absent
    return pd.DataFrame({"cells": present, "missed": missed, "false": false}, index=pd.Index(atlas.LOCATIONS))


def _agreed(one: Bool[np.ndarray, " n"], other: Bool[np.ndarray, " n"]) -> list[float]:
    same, p, q = float((one == other).mean()), float(one.mean()), float(other.mean())
    chance = p * q + (1 - p) * (1 - q)
    kappa = (same - chance) / (1 - chance) if chance < 1 else np.nan
    return [0, same, kappa, p, q]
