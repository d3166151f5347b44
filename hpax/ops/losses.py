"""Losses of multi-label examples, whatever the classes: one number for each example, never for a batch.

A loss takes logits and labels in [0, 1], both (..., n) for n classes, and answers with (...).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int, Num

from hpax.types import Array

Loss = Callable[[Float[Array, "*b n"], Float[Array, "*b n"]], Float[Array, "*b"]]


def bce(logits: Float[Array, "*b n"], labels: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Binary cross-entropy, the mean of the classes."""
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean(-1)


def weighted_bce(weights: Float[Array, " n"]) -> Loss:
    """`bce` with each class's term multiplied by its weight (see `rarity`)."""
    return lambda logits, labels: (weights * optax.sigmoid_binary_cross_entropy(logits, labels)).mean(-1)


def rarity(labels: Num[Array, "k n"], *, power: float = 0.5) -> Float[Array, " n"]:
    """Weights of classes, of mean 1, that fall with how often each occurs in `labels`, to the power `power`.

    A class that never occurs weighs as if it occurred once.
    """
    weights = jnp.maximum(jnp.asarray(labels).sum(0), 1.0) ** -power
    return weights / weights.mean()


def focal(gamma: float = 2.0) -> Loss:
    """Cross-entropy times (1 − p)^γ, where p is the probability of what is true (Lin et al. 2017); mean of classes."""
    return lambda logits, labels: optax.sigmoid_focal_loss(logits, labels, gamma=gamma).mean(-1)


def lovasz(logits: Float[Array, "*b n"], labels: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """The Lovász hinge (Berman et al. 2018) over the classes of one example, and over their complements; the mean.

    Its convex stand-in for 1 − the Jaccard index of the example's set of classes. Labels between 0 and 1 count by
    their share.
    """
    return _lovasz_hinge(jnp.stack([logits, -logits]), jnp.stack([labels, 1 - labels])).mean(0)


def hard_negative_bce(hardest: int = 5) -> Loss:
    """Cross-entropy of the positives and of the `hardest` negatives of each example, their mean.

    With as many as there are negatives, or more, it is `bce`.
    """

    def loss(logits: Array, labels: Array) -> Array:
        positives = (labels * jax.nn.softplus(-logits)).sum(-1)
        negatives = (1 - labels) * jax.nn.softplus(logits)
        kept = min(hardest, negatives.shape[-1])
        present = labels.sum(-1)
        count = present + jnp.minimum(kept, negatives.shape[-1] - present)
        return (positives + jax.lax.top_k(negatives, kept)[0].sum(-1)) / count

    return loss


def focal_lovasz_bce(logits: Float[Array, "*b n"], labels: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Half of each: `focal` summed over the classes, `lovasz`, `hard_negative_bce` (the winners of Le et al. 2022).

    The team's code sorts the examples of a batch class by class in the latter two; here, as everywhere, an example's
    loss is its own, and what is sorted are its classes.
    """
    return (
        labels.shape[-1] * focal()(logits, labels) + lovasz(logits, labels) + hard_negative_bce()(logits, labels)
    ) / 2


def smoothed(loss: Loss, amount: float = 0.1) -> Loss:
    """`loss` against labels that are `amount` of the way to ½."""
    return lambda logits, labels: loss(logits, (1 - amount) * labels + amount / 2)


def arcface(
    cosines: Float[Array, "*b a"], classes: Int[Array, "*b"], *, scale: float = 30.0, margin: float = 0.5
) -> Float[Array, "*b"]:
    """Cross-entropy of scaled cosines, with the true class's angle made wider by `margin` radians (Deng et al. 2019).

    Beyond π the cosine goes on falling as a line.
    """
    true = jnp.take_along_axis(cosines, classes[..., None], -1)
    sine = jnp.sqrt(jnp.maximum(1 - jnp.square(true), 1e-6))
    wider = true * math.cos(margin) - sine * math.sin(margin)
    wider = jnp.where(true > -math.cos(margin), wider, true - margin * math.sin(margin))
    chosen = jnp.arange(cosines.shape[-1]) == classes[..., None]
    return optax.softmax_cross_entropy_with_integer_labels(scale * jnp.where(chosen, wider, cosines), classes)


def _lovasz_hinge(logits: Array, labels: Array) -> Array:
    """Errors in descending order, each weighted by what it adds to the Jaccard loss of those before it."""
    errors = 1 - logits * (2 * labels - 1)
    order = jnp.argsort(-jax.lax.stop_gradient(errors), axis=-1)
    errors, labels = (jnp.take_along_axis(each, order, -1) for each in (errors, labels))
    present = labels.sum(-1, keepdims=True)
    jaccard = 1 - (present - labels.cumsum(-1)) / (present + (1 - labels).cumsum(-1))
    return (jax.nn.relu(errors) * jnp.diff(jaccard, axis=-1, prepend=0.0)).sum(-1)
