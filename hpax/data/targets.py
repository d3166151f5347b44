"""What a segmentation network learns to paint: border and object maps of an index mask."""

import numpy as np
from jaxtyping import Float32, Integer

REACH = 0.8  # µm


def maps(
    mask: Integer[np.ndarray, "h w"], um_per_pixel: float, *, reach: float = REACH
) -> Float32[np.ndarray, "h w 2"]:
    """[border, object] of an index mask, each 0 or 1.

    A pixel is object inside any object, and border within `reach` µm of two of them, where they touch or nearly do:
    subtracting the borders from the objects parts what touches, and an object alone has no border. Both follow the
    description of HPACellSegmentator's maps (Le et al. 2022, Methods).
    """
    mask = mask.astype(np.int64)
    nowhere = mask.max(initial=0) + 1
    highest, lowest = mask.copy(), np.where(mask, mask, nowhere)
    for y, x in _disc(reach / um_per_pixel):
        here, there = _overlap(mask.shape, y, x)
        neighbour = mask[there]
        np.maximum(highest[here], neighbour, out=highest[here])
        np.minimum(lowest[here], np.where(neighbour, neighbour, nowhere), out=lowest[here])
    return np.stack([highest > lowest, mask > 0], axis=-1).astype(np.float32)


def _disc(radius: float) -> list[tuple[int, int]]:
    """The steps (y, x) from a pixel to all others whose centres are within `radius` pixels."""
    side = int(radius)
    y, x = np.mgrid[-side : side + 1, -side : side + 1]
    near = (np.hypot(y, x) <= radius + 1e-6) & ((y != 0) | (x != 0))
    return list(zip(y[near].tolist(), x[near].tolist(), strict=True))


def _overlap(shape: tuple[int, ...], y: int, x: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where an image meets itself moved by (y, x): these pixels, and what they meet."""
    here = tuple(slice(max(0, -step), max(0, min(side, side - step))) for side, step in zip(shape, (y, x), strict=True))
    there = tuple(slice(part.start + step, part.stop + step) for part, step in zip(here, (y, x), strict=True))
    return here, there
