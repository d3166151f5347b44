"""How many pixels masks share: from their runs or from two index images, never from stacks of masks. NumPy only.

Runs are an int32 array (3, runs): the mask that a run belongs to, its first pixel, and one past its last pixel, sorted
by mask and pixel (see `hpax.formats.rle`).
"""

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer

Runs = Int32[np.ndarray, "3 _"]

_PAIRS = 2**22
"""How many pairs of runs are looked at together; bounds the memory of `of_runs`."""

_NOWHERE = np.array([[0], [2**31 - 1], [2**31 - 1]], np.int32)
"""A run beyond every image, which none meets."""


def areas(runs: Runs, masks: int) -> Int64[np.ndarray, " masks"]:
    """The pixels of masks 0 to masks − 1."""
    pixels = np.concatenate([[0], np.cumsum(runs[2] - runs[1], dtype=np.int64)])
    return np.diff(pixels[np.searchsorted(runs[0], np.arange(masks + 1, dtype=np.int32))])


def disjoint(runs: Runs) -> bool:
    """Whether no two runs share a pixel."""
    order = np.argsort(runs[1], kind="stable")
    return bool((runs[1][order][1:] >= runs[2][order][:-1]).all())


def of_runs(a: Runs, b: Runs, shape: tuple[int, int]) -> Int64[np.ndarray, "n m"]:
    """The pixels that each of the n masks of `a` shares with each of the m masks of `b`.

    Fast where the masks of `a` or those of `b` are disjoint, as cells are: each run then meets a range of runs of the
    other side. Else `b` is taken mask by mask.
    """
    n, m = shape
    if not n * m:
        return np.zeros(shape, np.int64)
    by_start = b.take(np.argsort(b[1], kind="stable"), axis=1)
    if (by_start[1, 1:] >= by_start[2, :-1]).all():
        return _sorted(a, by_start, shape)
    if disjoint(a):
        return _sorted(b, a.take(np.argsort(a[1], kind="stable"), axis=1), (m, n)).T
    shared = np.zeros(shape, np.int64)
    for mask, one in enumerate(np.split(b[1:], np.searchsorted(b[0], np.arange(1, m)), axis=1)):
        shared[:, mask] = _sorted(a, np.insert(one, 0, 0, axis=0), (n, 1))[:, 0]
    return shared


def of_labels(
    a: Integer[np.ndarray, "h w"], b: Integer[np.ndarray, "h w"]
) -> tuple[Int64[np.ndarray, "n m"], np.ndarray, np.ndarray]:
    """The joint histogram of two index images: pixels by the (sorted) values of `a` and of `b`, and these values.

    Background is a value like any other.

    Raises:
        ValueError: the images differ in shape.
    """
    rows, columns, pixels, in_a, in_b = pairs_of_labels(a, b)
    joint = np.zeros((len(in_a), len(in_b)), np.int64)
    joint[rows, columns] = pixels
    return joint, in_a, in_b


def pairs_of_labels(
    a: Integer[np.ndarray, "h w"], b: Integer[np.ndarray, "h w"]
) -> tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"], Int64[np.ndarray, " p"], np.ndarray, np.ndarray]:
    """The entries of `of_labels` above 0: rows, columns, pixels; then the values of `a` and of `b`.

    Counted by stretches where neither image changes, not by pixel; the memory grows with the stretches alone.

    Raises:
        ValueError: the images differ in shape.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"index images must have one shape, got {a.shape} and {b.shape}; resize neither, find the pair"
        )
    a, b = a.ravel(), b.ravel()
    first = np.flatnonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])) + 1
    first = np.concatenate([[0], first])[: a.size]
    sizes = np.diff(first, append=a.size)
    (in_a, rows), (in_b, columns) = (np.unique(image[first], return_inverse=True) for image in (a, b))
    entries, which = np.unique(rows * max(len(in_b), 1) + columns, return_inverse=True)
    pixels = np.bincount(which, sizes, minlength=len(entries)).astype(np.int64)
    return *np.divmod(entries, max(len(in_b), 1)), pixels, in_a, in_b


def iou(
    shared: Int64[np.ndarray, "n m"], area_a: Int64[np.ndarray, " n"], area_b: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, "n m"]:
    """Intersection over union; 0 for two masks without a pixel.

    The quotient is correctly rounded, so 6 of 10 and 3 of 5 pixels both equal the literal 0.6.
    """
    union = area_a[:, None] + area_b - shared
    return shared / np.maximum(union, 1)


def _sorted(a: Runs, b: Runs, shape: tuple[int, int]) -> Int64[np.ndarray, "n m"]:
    """As `of_runs`, where the runs of `b` are disjoint and sorted by their first pixel."""
    b = np.append(b, _NOWHERE, axis=1)
    met = np.searchsorted(b[2], a[1], side="right")  # the first run of b that each run of a may meet
    shared = _shared(a, b.take(met, axis=1), shape)
    met += met < b.shape[1] - 1
    more = np.flatnonzero(b[1].take(met) < a[2])  # few: most runs of a cell meet one run of the other side's cells
    a, met = a.take(more, axis=1), met[more]
    amounts = np.searchsorted(b[1], a[2], side="left") - met
    parts = np.searchsorted(np.cumsum(amounts), np.arange(_PAIRS, amounts.sum(), _PAIRS))
    for part in np.split(np.arange(len(more)), parts):
        runs = np.repeat(part, amounts[part])
        place = np.arange(len(runs)) - np.repeat(np.cumsum(amounts[part]) - amounts[part], amounts[part])
        shared += _shared(a.take(runs, axis=1), b.take(met[runs] + place, axis=1), shape)
    return shared.astype(np.int64).reshape(shape)


def _shared(a: Runs, b: Runs, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that each run of `a` shares with that of `b` at its place, summed by their masks."""
    pixels = np.minimum(a[2], b[2]) - np.maximum(a[1], b[1])
    pair = a[0] * np.int64(shape[1]) + b[0]
    return np.bincount(pair, np.maximum(pixels, 0), minlength=shape[0] * shape[1])
