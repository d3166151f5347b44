"""How many pixels masks share: from their runs or from two index images, never from stacks of masks. NumPy only.

Runs are an int32 array (3, r): the mask that a run belongs to, its first pixel, and one past its last pixel, sorted
by mask and pixel (see `hpax.formats.rle`).
"""

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer

Runs = Int32[np.ndarray, "3 r"]

_PAIRS = 2**22
"""How many pairs of runs are looked at together; bounds the memory of `of_runs`."""

_ROUNDS = 2
"""Most runs of a cell meet one run of the other side's cells; those that meet more than this are looked up again."""


def areas(runs: Runs, masks: int) -> Int64[np.ndarray, " masks"]:
    """The pixels of masks 0 to masks − 1."""
    return np.bincount(runs[0], runs[2] - runs[1], minlength=masks).astype(np.int64)


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

    Background is a value like any other. Counted by stretches where neither image changes, not by pixel.

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
    joint = np.bincount(rows * len(in_b) + columns, sizes, minlength=len(in_a) * len(in_b))
    return joint.astype(np.int64).reshape(len(in_a), len(in_b)), in_a, in_b


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
    shared = np.zeros(shape[0] * shape[1])
    met = np.searchsorted(b[2], a[1], side="right")  # the first run of b that each run of a may meet, then the next
    left = np.arange(a.shape[1])
    for _ in range(_ROUNDS):
        left = left[met[left] < b.shape[1]]
        left = left[b[1].take(met[left]) < a[2].take(left)]
        shared += _shared(a, b, left, met[left], shape)
        met[left] += 1
    amounts = np.searchsorted(b[1], a[2][left], side="left") - met[left]
    ends = np.cumsum(amounts)
    parts = np.searchsorted(ends, np.arange(_PAIRS, ends[-1], _PAIRS)) if len(left) else []
    for part in np.split(np.arange(len(left)), parts):
        runs = np.repeat(left[part], amounts[part])
        place = np.arange(len(runs)) - np.repeat(np.cumsum(amounts[part]) - amounts[part], amounts[part])
        shared += _shared(a, b, runs, met[runs] + place, shape)
    return shared.astype(np.int64).reshape(shape)


def _shared(a: Runs, b: Runs, in_a: np.ndarray, in_b: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that pairs of runs share, summed by their masks."""
    pixels = np.minimum(a[2].take(in_a), b[2].take(in_b)) - np.maximum(a[1].take(in_a), b[1].take(in_b))
    pair = a[0].take(in_a) * np.int64(shape[1]) + b[0].take(in_b)
    return np.bincount(pair, pixels, minlength=shape[0] * shape[1])
