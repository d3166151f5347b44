"""Agreement between images."""

import jax.numpy as jnp
from jaxtyping import Float

from hpax.types import Array


def pearson(a: Float[Array, " b *space"], b: Float[Array, " b *space"]) -> Float[Array, " b"]:
    """Pearson's correlation of each pair of images; 0 where one of the two is constant."""
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    spread = (a * a).sum(1) * (b * b).sum(1)
    root = jnp.sqrt(jnp.where(spread > 0, spread, 1.0))  # whose gradient at 0 is infinite
    return jnp.where(spread > 0, (a * b).sum(1) / root, 0.0)
