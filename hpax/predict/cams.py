"""Class activation maps of a whole field → probabilities of its cells."""

from collections.abc import Iterator

import numpy as np
import scipy.special
from jaxtyping import Float, Float32, Integer
from PIL import Image

QUANTILE = 0.99
"""Of a map's pixels; the highest alone would be noise."""

FINE = 8
"""Of a mask much finer than the map, so many pixels are looked at along a pixel of the map."""

Maps = Float[np.ndarray, "h w n"]
Cells = Integer[np.ndarray, "height width"]


def cam_to_cells(
    maps: Maps, probabilities: Float[np.ndarray, " n"], cells: Cells, *, quantile: float = QUANTILE
) -> Float32[np.ndarray, "k n"]:
    """The field's probabilities, each times how much of its map's strength a cell reaches (team 3 of Le et al. 2022).

    p · q(cell) / q(field), within 0 and p, where q is a quantile of the map; a row for each cell by ascending index.
    A map that is not even there above 0 singles out no place: every cell has p.
    """
    return _within_field(*_quantiles(maps, cells, quantile), probabilities)


def sigmoid_to_cells(maps: Maps, cells: Cells, *, quantile: float = QUANTILE) -> Float32[np.ndarray, "k n"]:
    """The probability that a quantile of a class's map in a cell stands for, whatever the field's own."""
    return scipy.special.expit(in_cells(maps, cells, quantile=quantile))


def cell_probabilities(maps: Maps, probabilities: Float[np.ndarray, " n"], cells: Cells) -> Float32[np.ndarray, "k n"]:
    """The mean of `cam_to_cells` and `sigmoid_to_cells`: a map's strength within its field, and by itself."""
    whole, of_cells = _quantiles(maps, cells, QUANTILE)
    return (_within_field(whole, of_cells, probabilities) + scipy.special.expit(of_cells)) / 2


def in_cells(maps: Maps, cells: Cells, *, quantile: float = QUANTILE) -> Float32[np.ndarray, "k n"]:
    """A quantile of each class's map in each cell, by ascending index; the maps may be coarser than the mask."""
    return _quantiles(maps, cells, quantile)[1]


def _within_field(
    whole: Float[np.ndarray, " n"], of_cells: Float32[np.ndarray, "k n"], probabilities: Float[np.ndarray, " n"]
) -> Float32[np.ndarray, "k n"]:
    there = whole > 0
    share = np.ones_like(of_cells)
    share[:, there] = np.clip(of_cells[:, there] / whole[there], 0, 1)
    return (share * probabilities).astype(np.float32)


def _quantiles(maps: Maps, cells: Cells, quantile: float) -> tuple[Float[np.ndarray, " n"], Float32[np.ndarray, "k n"]]:
    """A quantile of each class's map, and of that map in each cell."""
    wholes, columns = [], []
    for plane, of_cells in _within(maps, cells, quantile):
        wholes.append(np.quantile(plane, quantile))
        columns.append(of_cells)
    return np.array(wholes), np.stack(columns, axis=1)


def enlarged(plane: Float[np.ndarray, "h w"], shape: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
    """One map at `shape` (h, w), bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR))


def _within(
    maps: Maps, cells: Cells, quantile: float
) -> Iterator[tuple[Float32[np.ndarray, "rows columns"], Float32[np.ndarray, " k"]]]:
    """For each class its map at the mask's size, or part of its pixels, and the map's quantile in every cell."""
    step = max(1, min(fine // (FINE * coarse) for fine, coarse in zip(cells.shape, maps.shape, strict=False)))
    grid = (slice(step // 2, None, step),) * 2
    pixels = _pixels(cells, grid)
    owner = cells.ravel()[pixels]
    order = np.argsort(owner, kind="stable")
    pixels, starts = pixels[order], np.flatnonzero(np.diff(owner[order], prepend=0))
    for label in range(maps.shape[2]):
        plane = enlarged(maps[..., label], cells.shape)
        own = np.split(plane.ravel()[pixels], starts[1:]) if len(starts) else []
        yield plane[grid], np.array([np.quantile(values, quantile) for values in own], np.float32)


def _pixels(cells: Cells, grid: tuple[slice, slice]) -> Integer[np.ndarray, " p"]:
    """The pixels of cells on a grid, and all of those cells that fall through it."""
    seen = np.zeros(cells.shape, bool)
    seen[grid] = cells[grid] > 0
    there = np.bincount(cells[seen], minlength=int(cells.max(initial=0)) + 1) > 0
    there[0] = True
    return np.flatnonzero(seen | ~there[cells])
