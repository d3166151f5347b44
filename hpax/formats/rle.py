"""Masks as runs, and as the compressed run lengths of COCO: many masks at once, and safe on damaged text.

*Runs* are an int32 array (3, r): the mask that a run belongs to, its first pixel, and one past its last pixel, sorted
by mask and pixel. Pixels are numbered down the columns (Fortran order), as COCO counts them.

A mask's text holds run lengths, background first. From the fourth on, a length is written as its difference to the one
before the last; a number is written in groups of five bits, lowest first, as the characters "0" to "o", with bit 32
where more groups follow and the sign in bit 16 of the last one (pycocotools' maskApi.c, whose own decoder trusts its
input and reads past the end of damaged text).
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

Runs = Int32[np.ndarray, "3 r"]

PIXELS = 2**31 - 1
"""The most pixels an image can have, as runs number them in int32."""

_ZERO = ord("0")
_MORE, _SIGN, _GROUPS = 32, 16, 7  # seven groups of five bits hold every difference of two lengths


def empty() -> Runs:
    """The runs of no mask."""
    return np.zeros((3, 0), np.int32)


def of_mask(mask: Bool[np.ndarray, "h w"]) -> Runs:
    """The runs of one mask, as mask 0."""
    edges = np.diff(np.asarray(mask, bool).ravel(order="F"), prepend=False, append=False).nonzero()[0]
    start, stop = edges.reshape(-1, 2).T
    return np.stack([np.zeros_like(start), start, stop]).astype(np.int32)


def to_mask(runs: Runs, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The union of all runs as a mask."""
    steps = np.zeros(height * width + 1, np.int32)
    np.add.at(steps, runs[1], 1)
    np.subtract.at(steps, runs[2], 1)
    return (steps[:-1].cumsum() > 0).reshape(width, height).T


def encode(runs: Runs, masks: int, pixels: int) -> list[bytes]:
    """The COCO text of masks 0 to masks − 1 in an image of `pixels` pixels; a mask without runs is background.

    Raises:
        ValueError: the runs leave the image, belong to no mask, or are unsorted, touching or overlapping in a mask.
    """
    owner, start, stop = np.asarray(runs, np.int64)
    _check(owner, start, stop, masks, pixels)
    amounts = np.bincount(owner, minlength=masks)  # of runs
    last = np.concatenate([[0], stop])[amounts.cumsum()] * (amounts > 0)  # one past a mask's last pixel
    counts = 2 * amounts + (last < pixels)  # of lengths: no background after the last pixel
    first = np.cumsum(counts) - counts
    edges = np.zeros(counts.sum() + 1, np.int64)
    places = np.arange(len(owner)) * 2 + (first - 2 * (np.cumsum(amounts) - amounts))[owner]
    edges[places], edges[places + 1] = start, stop
    edges[(first + counts - 1)[last < pixels]] = pixels
    lengths = np.diff(edges[:-1], prepend=0)
    lengths[first] = edges[first]
    numbers, place = lengths.copy(), np.arange(len(lengths)) - np.repeat(first, counts)
    later = np.flatnonzero(place >= 3)
    numbers[later] -= lengths[later - 2]
    text, sizes = _spell(numbers)
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.concatenate([[0], np.cumsum(counts)])].tolist()
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


def decode(texts: Sequence[bytes], pixels: int) -> tuple[Runs, dict[int, str]]:
    """The runs of all masks of one image, and what is wrong with the damaged ones, which have no runs."""
    runs, faults = _decode(texts, pixels)
    if faults:  # rare: once more without the damaged ones
        whole = np.array([index for index in range(len(texts)) if index not in faults], np.int32)
        runs, more = decode([texts[index] for index in whole], pixels)
        runs = np.stack([whole[runs[0]], *runs[1:]]) if runs.size else empty()
        faults |= {int(whole[index]): fault for index, fault in more.items()}
    return runs, faults


def _check(owner: np.ndarray, start: np.ndarray, stop: np.ndarray, masks: int, pixels: int) -> None:
    inside = (owner >= 0) & (owner < masks) & (start >= 0) & (stop > start) & (stop <= pixels)
    sorted_ = (np.diff(owner) > 0) | ((np.diff(owner) == 0) & (start[1:] > stop[:-1]))
    if not (inside.all() and sorted_.all() and 0 < pixels <= PIXELS):
        raise ValueError(
            f"runs must lie in {masks} masks of {pixels} pixels (at most {PIXELS}), sorted by mask and pixel and apart;"
            " make them with hpax.formats.rle.of_mask or hpax.formats.label_images.runs"
        )


def _spell(numbers: Int[np.ndarray, " n"]) -> tuple[bytes, Int[np.ndarray, " n"]]:
    """Signed numbers as text, and how many characters each takes."""
    magnitude = numbers ^ (numbers >> 63)
    sizes = 1 + sum((magnitude >> (5 * groups - 1) > 0).astype(np.int64) for groups in range(1, _GROUPS))
    column = np.arange(sizes.max(initial=1))
    groups = (numbers[:, None] >> 5 * column & 31) + _ZERO + _MORE * (column < sizes[:, None] - 1)
    return groups.astype(np.uint8)[column < sizes[:, None]].tobytes(), sizes


def _decode(texts: Sequence[bytes], pixels: int) -> tuple[Runs, dict[int, str]]:
    """As `decode`, but the runs are worthless where there are faults."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(_ZERO)
    if faults := _misspelt(codes, sizes):
        return empty(), faults
    numbers = _numbers(codes)
    if len(numbers) == 0:
        return empty(), {}
    amounts = np.add.reduceat(codes < _MORE, np.cumsum(sizes) - sizes, dtype=np.int64)
    leading, inside, outside, pairs = _lengths(numbers, amounts)
    owner = np.repeat(np.arange(len(texts)), pairs)
    bad = (np.minimum(inside, outside) < 0) | (np.maximum(inside, outside) > pixels)
    broken = np.union1d(owner[bad], np.flatnonzero((leading < 0) | (leading > pixels)))
    if len(broken):
        return empty(), dict.fromkeys(broken.tolist(), f"a run length is not within 0 and the {pixels} pixels")
    both = inside + outside
    start = _restart(both, pairs) - both + leading[owner]
    total = leading + np.bincount(owner, both, minlength=len(texts)).astype(np.int64)
    wrong = np.flatnonzero(total != pixels).tolist()
    faults = {index: f"its runs sum to {total[index]} pixels, the image has {pixels}" for index in wrong}
    seen = inside > 0
    return np.stack([owner[seen], start[seen], (start + inside)[seen]]).astype(np.int32), faults


def _misspelt(codes: np.ndarray, sizes: Int[np.ndarray, " n"]) -> dict[int, str]:
    """Texts that are empty, hold a foreign character, end inside a number, or hold a number that is too long."""
    faults = dict.fromkeys(np.flatnonzero(sizes == 0).tolist(), "it holds no run lengths")
    ends = np.cumsum(sizes)
    if faults or len(codes) == 0:
        return faults
    open_ = np.flatnonzero(codes[ends - 1] & _MORE).tolist()
    faults |= dict.fromkeys(open_, "its run lengths end in the middle of a number")
    closing = np.flatnonzero(codes < _MORE)
    long = closing[1:][np.diff(closing) > _GROUPS] if len(closing) else closing
    long = np.append(long, closing[:1][closing[:1] >= _GROUPS])
    faults |= dict.fromkeys(np.searchsorted(ends, long, side="right").tolist(), "it holds a number of over 35 bits")
    foreign = np.unique(np.searchsorted(ends, np.flatnonzero(codes > 63), side="right")).tolist()
    return faults | dict.fromkeys(foreign, "it holds a character that run lengths never use")


def _numbers(codes: np.ndarray) -> Int[np.ndarray, " n"]:
    """The signed numbers that the characters spell."""
    closing = np.flatnonzero(codes < _MORE)
    firsts = np.concatenate([[0], closing[:-1] + 1]) if len(closing) else closing
    sizes = closing + 1 - firsts
    numbers = (codes[firsts] & 31).astype(np.int64)
    for group in range(1, int(sizes.max(initial=0))):
        longer = np.flatnonzero(sizes > group)
        numbers[longer] |= (codes[firsts[longer] + group] & 31).astype(np.int64) << 5 * group
    negative = np.flatnonzero(codes[closing] & _SIGN)
    numbers[negative] -= np.int64(1) << 5 * sizes[negative]
    return numbers


def _lengths(
    numbers: Int[np.ndarray, " n"], amounts: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " p"], Int[np.ndarray, " p"], Int[np.ndarray, " m"]]:
    """Undo the differences: the background that leads each mask; then its runs, the background after each; how many."""
    leading = np.cumsum(amounts) - amounts
    pairs = amounts // 2
    odd = (np.arange(len(numbers)) - np.repeat(leading, amounts)) & 1 > 0
    even = ~odd
    even[leading] = False
    inside = _restart(numbers[odd], pairs)
    outside = np.zeros_like(inside)
    written = np.ones(len(inside), bool)
    written[np.cumsum(pairs)[amounts % 2 == 0] - 1] = False  # no background follows a mask that ends with the image
    outside[written] = _restart(numbers[even], (amounts - 1) // 2)
    return numbers[leading], inside, outside, pairs


def _restart(values: Int[np.ndarray, " n"], sizes: Int[np.ndarray, " m"]) -> Int[np.ndarray, " n"]:
    """Cumulative sums that begin anew in each of the consecutive parts of these sizes."""
    sums = np.concatenate([[0], np.cumsum(values)])
    return sums[1:] - np.repeat(sums[np.cumsum(sizes) - sizes], sizes)
