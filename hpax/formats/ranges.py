"""Channels that hardly say anything: flat, saturated, of a narrow range, or each other's copies."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt

from hpax import atlas

NARROW = 16  # of its range a channel must use a part of this many, else it is worth a remark
SATURATED = 0.05  # share of a channel's pixels at the top of its range that is worth a remark


def remarks(image: UInt[np.ndarray, "h w 4"]) -> Iterator[str]:
    """What to tell of channels that are flat, saturated, hardly use their range, or are each other's copies."""
    full = int(np.iinfo(image.dtype).max)
    planes = dict(zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True))
    for name, channel in planes.items():
        lowest, highest = int(channel.min()), int(channel.max())
        saturated = float((channel == full).mean())
        if lowest == highest:
            yield f"{name} is flat, every pixel is {lowest}"
        elif highest - lowest < full / NARROW:
            yield f"{name} spans {lowest} to {highest} of {full} only; is the full scale that of the camera?"
        elif saturated > SATURATED:
            yield f"{name} is saturated in {saturated:.0%} of the pixels"
    for one, other in itertools.combinations(planes, 2):
        if planes[one].min() < planes[one].max() and np.array_equal(planes[one], planes[other]):
            yield f"{one} and {other} are one picture; is a file a copy?"
