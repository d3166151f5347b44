"""What the cells of a field say together."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hpax.types import Array

Pooling = Literal["mean", "max", "noisy-or"]


def mean_present(values: Float[Array, "b m ..."], present: Float[Array, "b m"]) -> Float[Array, "b ..."]:
    """The mean of the present cells of each field; 0 where there is none."""
    there = present.reshape(*present.shape, *[1] * (values.ndim - 2)) > 0
    return jnp.where(there, values, 0).sum(1) / jnp.maximum((present > 0).sum(1), 1).reshape(-1, *there.shape[2:])


def pooled(logits: Float[Array, "b m n"], present: Float[Array, "b m"], how: Pooling) -> Float[Array, "b n"]:
    """A field's logits from those of its present cells; absent ones change nothing.

    "mean" is the mean logit, "max" the highest, and "noisy-or" the logit of 1 − ∏(1 − p), that at least one cell shows
    the class if cells are independent. Where no cell is present they are finite and carry no gradient.
    """
    there = present[..., None] > 0
    if how == "mean":
        return mean_present(logits, present)
    if how == "max":
        return jnp.where(there.any(1), jnp.where(there, logits, -jnp.inf).max(1), 0)
    none = jnp.where(there, jax.nn.softplus(logits), 0).sum(1)  # −log of the probability that no cell does
    none = jnp.maximum(none, 1e-30)
    return none + jnp.log(-jnp.expm1(-none))
