"""How the published networks see the channels of a cell: stretched, the protein always to its whole range.

Arrays are NumPy's, or JAX's as a compiled update has them: on CPUs the numbers are the same to the bit.
"""

import jax
import numpy as np
from jaxtyping import Float

from hpax import atlas
from hpax.types import Array

FLOOR = 0.05  # structural markers under this fraction of full scale are background


def human(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Human cells (Lu et al. 2019): the protein spans [0, 1] in each crop, markers are stretched from [0.05, 1].

    The published code stretches; the paper only says that pixels under 0.05 become 0.
    """
    xp = image.__array_namespace__()
    markers = quotient(xp.maximum(image[..., atlas.STRUCTURE] - FLOOR, 0), 1 - FLOOR)
    return xp.concatenate([span(image[..., atlas.PROTEIN]), markers], -1)


def span(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Each channel of each image linearly to minimum 0 and maximum 1."""
    xp = image.__array_namespace__()
    low = image.min((-3, -2), keepdims=True)
    extent = image.max((-3, -2), keepdims=True) - low
    return quotient(image - low, xp.where(extent > 0, extent, 1))


def quotient(dividend: Float[Array, "*b"], divisor: Float[Array, "*#b"] | float) -> Float[Array, "*b"]:
    """The rounded quotient. XLA multiplies by the inverse of a divisor that it sees broadcast, and rounds twice."""
    if isinstance(dividend, np.ndarray):
        return dividend / np.asarray(divisor, dividend.dtype)
    whole = jax.numpy.broadcast_to(jax.numpy.asarray(divisor, dividend.dtype), dividend.shape)
    return dividend / jax.lax.optimization_barrier(whole)
