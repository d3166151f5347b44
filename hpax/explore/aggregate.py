"""All cells of a plane as squares: how many lie in each, and what they are; as large as the plane, whatever the count.

squares = aggregate.squares(places[:, :2])
aggregate.commonest(squares.of, codes), aggregate.means(squares.of, values)
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Integer, Real, UInt8

SIDE = 512
"""Squares along either axis."""


@dataclasses.dataclass(frozen=True, eq=False)
class Squares:
    """A plane cut into SIDE × SIDE squares, row by row from the lowest y."""

    low: tuple[float, float]  # x and y where the first begins
    high: tuple[float, float]  # and where the last ends
    of: Integer[np.ndarray, " n"]  # the square of each cell


def squares(places: Real[np.ndarray, "n 2"]) -> Squares:
    """The plane that just holds all cells.

    Raises:
        ValueError: there is no cell, or one's place is not finite.
    """
    if not len(places) or not np.isfinite(places).all():
        raise ValueError(f"squares need one or more cells at finite places, got {len(places)}; leave others out")
    low, high = places.min(0).astype(np.float64), places.max(0).astype(np.float64)
    high = np.where(high > low, high, low + 1)
    across, up = (_steps(places[:, axis], low[axis], high[axis]) for axis in (0, 1))
    return Squares((float(low[0]), float(low[1])), (float(high[0]), float(high[1])), up * SIDE + across)


def _steps(values: Real[np.ndarray, " n"], low: float, high: float) -> Integer[np.ndarray, " n"]:
    """Which of the steps from low to high a value is in; the highest value is in the last."""
    return np.minimum((values - low) * (SIDE / (high - low)), SIDE - 1).astype(np.int32)


def densities(of: Integer[np.ndarray, " n"]) -> UInt8[np.ndarray, " s"]:
    """How many cells each square has, the logarithm from 1, for one cell, to 255, for the most; 0: none."""
    counts = np.bincount(of, minlength=SIDE * SIDE)
    share = np.log(np.maximum(counts, 1)) / max(np.log(counts.max()), 1e-9)
    return np.where(counts > 0, 1 + np.rint(254 * share), 0).astype(np.uint8)


def commonest(of: Integer[np.ndarray, " n"], codes: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " s"]:
    """The code that most cells of a square have, of equals the lowest; 0 where there is no cell."""
    width = int(codes.max(initial=0)) + 1
    pairs, counts = np.unique(of.astype(np.int64) * width + codes, return_counts=True)
    where, code = np.divmod(pairs, width)
    order = np.lexsort((code, -counts, where))
    first = np.unique(where[order], return_index=True)[1]
    found = np.zeros(SIDE * SIDE, np.int64)
    found[where[order][first]] = code[order][first]
    return found


def means(of: Integer[np.ndarray, " n"], values: Real[np.ndarray, " n"]) -> Float[np.ndarray, " s"]:
    """The mean of what is finite in a square; NaN where nothing is."""
    known = np.isfinite(values)
    counts = np.bincount(of[known], minlength=SIDE * SIDE)
    sums = np.bincount(of[known], weights=values[known].astype(np.float64), minlength=SIDE * SIDE)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
