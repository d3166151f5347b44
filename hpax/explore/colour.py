"""Channels → colours, as the Human Protein Atlas shows them."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from hpax import atlas

RGB = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "grey": (1, 1, 1),
}
"""The part of each light in a colour."""

YEAST = ("green", "magenta")
"""Of published crops of yeast: protein and marker."""


def picture(
    image: Num[np.ndarray, "*b h w c"], *, colours: Sequence[str] | None = None
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Channels as added light: 0 is black, 1 (or the dtype's largest integer) the full colour, more is clipped.

    `colours` names one of RGB for each channel; without it they are the HPA's, in the order of atlas.CHANNELS. So the
    green light of (protein, nucleus, microtubules) is the protein and nothing else.

    Raises:
        ValueError: a channel without a colour, an unknown colour, or pixels that are not finite.
    """
    colours = _colours(image.shape[-1]) if colours is None else list(colours)
    if len(colours) != image.shape[-1] or not set(colours) <= set(RGB):
        raise ValueError(f"each of {image.shape[-1]} channels needs a colour of {sorted(RGB)}, got {colours}")
    light = _unit(image) @ np.array([RGB[colour] for colour in colours], np.float32)
    return np.rint(255 * light.clip(0, 1)).astype(np.uint8)


def protein(image: Num[np.ndarray, "*b h w c"], *, colour: str = "green") -> UInt8[np.ndarray, "*b h w 3"]:
    """The protein alone; "grey" shows faint signal best."""
    return picture(image[..., atlas.PROTEIN], colours=[colour])


def structure(
    image: Num[np.ndarray, "*b h w c"], *, colours: Sequence[str] | None = None
) -> UInt8[np.ndarray, "*b h w 3"]:
    """The structural markers alone; `colours` are those of all channels, the protein's included."""
    colours = _colours(image.shape[-1]) if colours is None else list(colours)
    return picture(image[..., atlas.STRUCTURE], colours=colours[atlas.STRUCTURE])


def png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture as a PNG file; the same picture gives the same bytes."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=4)  # hardly larger than at 9, and far sooner
    return file.getvalue()


def _colours(channels: int) -> list[str]:
    """The HPA's colours of the first channels."""
    return [atlas.COLOURS[name] for name in atlas.CHANNELS[:channels]]


def _unit(image: np.ndarray) -> np.ndarray:
    """Float32 in which the full intensity is 1."""
    if np.issubdtype(image.dtype, np.integer):
        return image.astype(np.float32) / np.iinfo(image.dtype).max
    if not np.isfinite(image).all():
        raise ValueError(f"pixels must be finite, {np.sum(~np.isfinite(image))} are not; find out where they came from")
    return image.astype(np.float32)
