"""What microscopes do to crops, by a known amount: to ask whether features survive it. NumPy, integers in and out."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt
from scipy import ndimage

from hpax import atlas


def gain(crops: UInt[np.ndarray, "b s s c"], *, factor: float = 0.5) -> UInt[np.ndarray, "b s s c"]:
    """Every channel darker, or brighter and clipped."""
    return _clipped(crops * np.float32(factor), crops.dtype)


def blur(crops: UInt[np.ndarray, "b s s c"], *, sigma: float = 1.0) -> UInt[np.ndarray, "b s s c"]:
    """Every channel out of focus, by a Gaussian of `sigma` pixels."""
    return _clipped(ndimage.gaussian_filter(crops.astype(np.float32), (0, sigma, sigma, 0)), crops.dtype)


def bleed_through(crops: UInt[np.ndarray, "b s s c"], *, share: float = 0.3) -> UInt[np.ndarray, "b s s c"]:
    """A share of the mean of the structural channels in the protein's."""
    bled = crops.astype(np.float32)
    bled[..., atlas.PROTEIN] += share * bled[..., atlas.STRUCTURE].mean(-1, keepdims=True)
    return _clipped(bled, crops.dtype)


CORRUPTIONS: Mapping[str, Callable[..., UInt[np.ndarray, "b s s c"]]] = {
    "half the gain": gain,
    "blur of 1 pixel": blur,
    "bleed-through of 0.3": bleed_through,
}
"""Name → a corruption at its default strength."""


def _clipped(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
