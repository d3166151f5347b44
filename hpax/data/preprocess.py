"""Crops as the published networks see them: integers in, float32 in [0, 1] out, over any leading axes.

The protein is channel 0. A flat channel becomes 0 everywhere. Arrays are NumPy's, or JAX's as a compiled update has
them: on CPUs the numbers are the same to the bit.
"""

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt

from hpax import atlas, images
from hpax.types import Array

FLOOR = 0.05  # structural markers under this fraction of full scale are background


def human(crops: UInt[Array, "*b s s c"]) -> Float[Array, "*b s s c"]:
    """Human cells (Lu et al. 2019): the protein spans [0, 1] in each crop, markers are stretched from [0.05, 1].

    The published code stretches; the paper only says that pixels under 0.05 become 0.
    """
    image = as_float(crops)
    xp = image.__array_namespace__()
    markers = quotient(xp.maximum(image[..., atlas.STRUCTURE] - FLOOR, 0), 1 - FLOOR)
    return xp.concatenate([span(image[..., atlas.PROTEIN]), markers], -1)


def yeast(crops: UInt[Array, "*b s s c"]) -> Float[Array, "*b s s c"]:
    """Yeast cells (Lu et al. 2019): every channel spans [0, 1] in each crop."""
    return span(as_float(crops))


def as_float(image: UInt[Array, "..."]) -> Float[Array, "..."]:
    """Unsigned integers to float32 in [0, 1], as `images.as_float`, on devices too."""
    if isinstance(image, np.ndarray):
        return images.as_float(image)
    return quotient(image.astype(np.float32), np.iinfo(image.dtype).max)


def span(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Each channel of each image linearly to minimum 0 and maximum 1."""
    xp = image.__array_namespace__()
    low = image.min((-3, -2), keepdims=True)
    extent = image.max((-3, -2), keepdims=True) - low
    return quotient(image - low, xp.where(extent > 0, extent, 1))


def flip(images: Float[Array, "b h w c"], flips: Bool[Array, "b 2"]) -> Float[Array, "b h w c"]:
    """Each image upside down where `flips[:, 0]`, mirrored where `flips[:, 1]`."""
    xp = images.__array_namespace__()
    vertical, horizontal = flips[:, 0, None, None, None], flips[:, 1, None, None, None]
    turned = xp.where(vertical, images[:, ::-1], images)
    return xp.where(horizontal, turned[:, :, ::-1], turned)


def quotient(dividend: Float[Array, "*b"], divisor: Float[Array, "*#b"] | float) -> Float[Array, "*b"]:
    """The rounded quotient. XLA multiplies by the inverse of a divisor that it sees broadcast, and rounds twice."""
    if isinstance(dividend, np.ndarray):
        return dividend / np.asarray(divisor, dividend.dtype)
    whole = jax.numpy.broadcast_to(jax.numpy.asarray(divisor, dividend.dtype), dividend.shape)
    return dividend / jax.lax.optimization_barrier(whole)
