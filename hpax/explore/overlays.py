"""Fields with the outlines of their cells and nuclei, and sheets of many."""

import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt, UInt8
from PIL import Image

from hpax import images
from hpax.explore import colour, grids
from hpax.fields import Masks

CELLS, NUCLEI = (255, 255, 255), (0, 255, 255)  # white and cyan, which no single channel has
BRIGHT = 0.999  # share of a channel's pixels under its full light
GAMMA = 0.8  # lifts faint cells
LIGHT = 0.75  # of a channel at its brightest, as the channels add up


def outlines(mask: Integer[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels of each object that have a neighbour above, below or beside of another index."""
    edge = np.zeros(mask.shape, bool)
    for one, other in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        differs = mask[one] != mask[other]
        edge[one] |= differs
        edge[other] |= differs
    return edge & (mask != 0)


def overlay(image: UInt[np.ndarray, "h w 4"], masks: Masks, *, side: int = 1024) -> UInt8[np.ndarray, "height width 3"]:
    """A field in the HPA's colours, each channel stretched, cells outlined in white and nuclei in cyan.

    The longer side has `side` pixels, or its own number if that is less; outlines are one pixel wide.
    """
    picture = colour.picture(LIGHT * light(image, side))
    masks = masks.resized(picture.shape[:2])
    picture[outlines(masks.cells)] = CELLS
    picture[outlines(masks.nuclei)] = NUCLEI
    return picture


def light(image: UInt[np.ndarray, "h w c"], side: int) -> Float[np.ndarray, "height width c"]:
    """Each channel stretched to 0 and 1; the longer side has `side` pixels, or its own number if that is less."""
    scale = min(1.0, side / max(image.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    channels = []
    for channel in np.moveaxis(image, -1, 0):
        grey = Image.fromarray(channel.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        channels.append(images.percentile_normalise(np.rint(np.asarray(grey)).astype(channel.dtype), high=BRIGHT))
    return np.stack(channels, axis=-1) ** GAMMA


def planes(image: UInt[np.ndarray, "h w c"], side: int) -> bytes:
    """The channels of a field as `light` shows them, grey, one below the other in a JPEG."""
    grey = np.rint(255 * np.concatenate(np.moveaxis(light(image, side), -1, 0))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="JPEG", quality=80)
    return file.getvalue()


def sheet(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, columns: int, title: str = ""
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures in rows of `columns`, each in the middle of a square that holds the largest."""
    side = max(max(picture.shape[:2]) for picture in pictures)
    squares = [_centred(picture, side) for picture in pictures]
    squares += [np.full((side, side, 3), grids.PAPER, np.uint8)] * (-len(squares) % columns)
    rows = [squares[row * columns : (row + 1) * columns] for row in range(math.ceil(len(squares) / columns))]
    return grids.grid(rows, title=title)


def _centred(picture: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    square = np.full((side, side, 3), grids.PAPER, np.uint8)
    top, left = ((side - size) // 2 for size in picture.shape[:2])
    square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return square
