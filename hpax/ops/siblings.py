"""Losses of pairs of embeddings that belong together, among a batch of others: one number for each pair."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hpax.types import Array

TEMPERATURE = 0.1


def normalised_contrast(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    groups: Int[Array, " b"],
    mask: Float[Array, " b"],
    *,
    temperature: float = TEMPERATURE,
) -> Float[Array, " b"]:
    """How much nearer the two of a pair are than pairs of other groups (InfoNCE, van den Oord 2018; Chen et al. 2020).

    Both ways: the second among all seconds, and the first among all firsts. What shares the group of a pair is no
    negative, nor is padding. Cosine distances.

    Args:
        first: the embeddings of one side.
        second: of the other.
        groups: what must not repel each other, such as the protein; the row's number where only the cell itself.
        mask: 1 for a pair, 0 for padding.
        temperature: what cosines are divided by.
    """
    first, second = _directions(first), _directions(second)
    rival = (groups[:, None] != groups) & (mask > 0)
    cosines = first @ second.T / temperature
    own = jnp.diagonal(cosines)
    total = jnp.zeros_like(own)
    for each in (cosines, cosines.T):
        others = jnp.where(rival, each, -jnp.inf)
        total += jax.nn.logsumexp(jnp.concatenate([own[:, None], others], 1), axis=1) - own
    return total / 2


def vicreg(
    first: Float[Array, "b d"], second: Float[Array, "b d"], mask: Float[Array, " b"], *, scale: float = 25.0
) -> Float[Array, " b"]:
    """Variance-invariance-covariance regularisation (Bardes et al. 2022), weights 25, 25 and 1.

    The invariance is each pair's; variance and covariance are the batch's, and the same for every pair.
    """
    invariance = jnp.square(first - second).mean(1)
    return scale * invariance + sum(_spread(side, mask, scale) for side in (first, second))


def _spread(side: Float[Array, "b d"], mask: Float[Array, " b"], scale: float) -> Float[Array, ""]:
    """How far a side of a batch is from unit variances and no covariance."""
    count = jnp.maximum(mask.sum(), 2)
    centred = (side - (side * mask[:, None]).sum(0) / count) * mask[:, None]
    covariance = centred.T @ centred / (count - 1)
    variance = jnp.diagonal(covariance)
    hinge = jax.nn.relu(1 - jnp.sqrt(variance + 1e-4)).mean()
    return scale * hinge + (jnp.square(covariance).sum() - jnp.square(variance).sum()) / side.shape[1]


def _directions(vectors: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return vectors / jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(1, keepdims=True), 1e-12))
