"""Crops as the published networks see them: integers in, float32 in [0, 1] out, over any leading axes.

The protein is channel 0. A flat channel becomes 0 everywhere. Arrays are NumPy's, or JAX's as a compiled update has
them: on CPUs the numbers are the same to the bit.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt

from hpax import images
from hpax.ops import stretch
from hpax.types import Array


def human(crops: UInt[Array, "*b s s c"]) -> Float[Array, "*b s s c"]:
    """Human cells, as `hpax.ops.stretch.human` has them."""
    return stretch.human(as_float(crops))


def yeast(crops: UInt[Array, "*b s s c"]) -> Float[Array, "*b s s c"]:
    """Yeast cells (Lu et al. 2019): every channel spans [0, 1] in each crop."""
    return stretch.span(as_float(crops))


def as_float(image: UInt[Array, "..."]) -> Float[Array, "..."]:
    """Unsigned integers to float32 in [0, 1], as `images.as_float`, on devices too."""
    if isinstance(image, np.ndarray):
        return images.as_float(image)
    return stretch.quotient(image.astype(np.float32), np.iinfo(image.dtype).max)


def flip(images: Float[Array, "b h w c"], flips: Bool[Array, "b 2"]) -> Float[Array, "b h w c"]:
    """Each image upside down where `flips[:, 0]`, mirrored where `flips[:, 1]`."""
    xp = images.__array_namespace__()
    vertical, horizontal = flips[:, 0, None, None, None], flips[:, 1, None, None, None]
    turned = xp.where(vertical, images[:, ::-1], images)
    return xp.where(horizontal, turned[:, :, ::-1], turned)
