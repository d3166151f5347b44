"""The cells of a field and their nuclei as two index images that share their indices."""

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt
from scipy import ndimage

from hpax.fields import Masks


def compact(cells: Integer[np.ndarray, "h w"], nuclei: Integer[np.ndarray, "h w"]) -> Masks:
    """Masks numbered 1..n by their cell's first pixel from the top; what a nucleus has outside its own cell is cut off.

    Raises:
        ValueError: the two differ in shape.
    """
    if cells.shape != nuclei.shape:
        raise ValueError(
            f"cells and nuclei must have one shape, got {cells.shape} and {nuclei.shape}; resize one with `nearest`"
        )
    cells_from_top = relabel_sequential(cells)
    return Masks(cells_from_top, np.where(nuclei == cells, cells_from_top, 0).astype(cells_from_top.dtype))


def relabel_sequential(mask: Integer[np.ndarray, "h w"]) -> UInt[np.ndarray, "h w"]:
    """An index mask renumbered 1..n by each object's first pixel from the top; uint16, or uint32 beyond 65,535."""
    flat = mask.ravel()
    first = np.flatnonzero(np.diff(flat, prepend=0))  # of each stretch; background before the first needs none
    indices, place, stretch = np.unique(np.append(0, flat[first]), return_index=True, return_inverse=True)
    order = np.empty(len(indices), np.uint16 if len(indices) <= 2**16 else np.uint32)
    order[np.argsort(place)] = np.arange(len(indices))
    sizes = np.diff(np.append(0, first), append=flat.size)
    return np.repeat(order[stretch], sizes).reshape(mask.shape)


def enlarge(mask: Shaped[np.ndarray, "h w"], factor: int) -> Shaped[np.ndarray, "{factor}*h {factor}*w"]:
    """A mask with every pixel repeated `factor` times in both directions."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)


def block_mean(channel: Float[np.ndarray, "h w"], factor: int) -> Float[np.ndarray, "H W"]:
    """A channel averaged over squares of `factor` pixels; its last row and column are repeated to fill the last."""
    height, width = channel.shape
    if factor == 1 or not channel.size:
        return channel
    padded = np.pad(channel, ((0, -height % factor), (0, -width % factor)), mode="edge")
    return padded.reshape(-(-height // factor), factor, -1, factor).mean((1, 3), dtype=channel.dtype)


def remove_small(mask: Integer[np.ndarray, "h w"], pixels: float) -> Integer[np.ndarray, "h w"]:
    """An index mask without the objects that cover fewer than `pixels`; the others keep their index."""
    large = np.bincount(mask.ravel()) >= pixels - 1e-6
    large[0] = False
    return np.where(large[mask], mask, 0)


def fill_holes(mask: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
    """An index mask in which background that a single object encloses belongs to that object.

    What several objects enclose stays background, and so does what reaches the edge of the image.
    """
    filled = np.pad(mask, 1)
    gaps, _ = ndimage.label(filled == 0)
    for number, box in enumerate(ndimage.find_objects(gaps), 1):
        if number == gaps[0, 0]:
            continue
        window = tuple(slice(side.start - 1, side.stop + 1) for side in box)
        gap = gaps[window] == number
        around = np.unique(filled[window][ndimage.binary_dilation(gap) & ~gap])
        if len(around) == 1:
            filled[window][gap] = around[0]
    return filled[1:-1, 1:-1]
