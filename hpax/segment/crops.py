"""Cutting cells out of fields, and resizing crops."""

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt


def centroids(mask: Integer[np.ndarray, "h w"]) -> dict[int, tuple[float, float]]:
    """Index of each object of an index mask → its centre of mass (y, x) in pixels."""
    begins = np.ones(mask.shape, bool)  # a stretch of one index in a row
    begins[:, 1:] = mask[:, 1:] != mask[:, :-1]
    start = np.flatnonzero(begins)
    length = np.diff(start, append=mask.size)
    indices, where = np.unique(mask.ravel()[start], return_inverse=True)
    y, x = np.divmod(start, mask.shape[1])
    sums = [np.bincount(where, position * length) for position in (y, x + (length - 1) / 2)]
    centres = np.stack(sums, axis=1) / np.bincount(where, length)[:, None]
    return {int(i): (float(cy), float(cx)) for i, (cy, cx) in zip(indices, centres, strict=True) if i != 0}


def cut(
    field: UInt[np.ndarray, "h w c"], centres: Float[np.ndarray, "n 2"], size: int
) -> UInt[np.ndarray, "n {size} {size} c"]:
    """Squares of `size` pixels around `centres` (y, x); what lies outside the field is 0."""
    corners = _corners(centres, size)
    crops = np.zeros((len(corners), size, size, field.shape[-1]), field.dtype)
    for crop, (top, left) in zip(crops, corners, strict=True):
        inside = field[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
        y, x = max(-top, 0), max(-left, 0)
        crop[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return crops


def sticks_out(centres: Float[np.ndarray, "n 2"], size: int, shape: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Whether the square around each centre reaches over the edge of a field of `shape` (h, w)."""
    corners = _corners(centres, size)
    return np.any((corners < 0) | (corners + size > np.asarray(shape)), axis=1)


def _corners(centres: Float[np.ndarray, "n 2"], size: int) -> Integer[np.ndarray, "n 2"]:
    return np.floor(np.asarray(centres).reshape(-1, 2) + 0.5).astype(int) - size // 2
