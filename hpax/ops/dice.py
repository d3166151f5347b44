"""How much two maps overlap, as a number with a gradient."""

import jax.numpy as jnp
from jaxtyping import Float

from hpax.types import Array


def dice(
    maps: Float[Array, "b h w k"], targets: Float[Array, "b h w k"], weights: Float[Array, "b h w"]
) -> Float[Array, "b k"]:
    """The soft Dice coefficient of each map with its target, both in [0, 1], over pixels weighted by `weights`.

    Twice the product over the sum, with one pixel of agreement added to both: two empty maps agree, 1, and a single
    wrong pixel on an empty target gives ½.
    """
    weights = weights[..., None]
    shared = (weights * maps * targets).sum((1, 2))
    total = (weights * (maps + targets)).sum((1, 2))
    return (2 * shared + 1) / (total + 1)


def masked_mean(values: Float[Array, "b h w k"], weights: Float[Array, "b h w"]) -> Float[Array, "b k"]:
    """The mean of each map over the pixels, weighted by `weights`; 0 where no pixel counts."""
    total = (values * weights[..., None]).sum((1, 2))
    return total / jnp.maximum(weights.sum((1, 2)), 1)[:, None]
