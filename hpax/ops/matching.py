"""Detections to true positives and average precision, over padded arrays that compile once per bucket."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def bucket(size: int) -> int:
    """The least of 64, 80, 96, 112, 128, 160, 192, … that holds `size`: few shapes to compile, little padding."""
    step = 1 << max((size - 1).bit_length() - 3, 4)
    return max(-(-size // step) * step, 64)


def true_positives(
    tier: Int[Array, " d"], truth: Int[Array, " d"], iou: Float[Array, " d"], threshold: Float[Array, ""], truths: int
) -> Bool[Array, " d"]:
    """Which detections of one class find a free truth, when those of higher score choose first.

    Detections are in order of descending score; `tier` is equal where scores are, and there the later listed chooses
    first. Each looks at `truth` alone (an index below `truths`, or −1), and finds it if its IoU reaches the threshold:
    so the first to come is the one true positive of a truth, and no loop over detections is needed.
    """
    place = jnp.arange(len(tier))
    near = (iou >= threshold) & (truth >= 0)
    first = jax.ops.segment_min(jnp.where(near, tier, jnp.iinfo(tier.dtype).max), truth, truths)
    tied = near & (tier == first[truth])
    last = jax.ops.segment_max(jnp.where(tied, place, -1), truth, truths)
    return tied & (place == last[truth])


def envelope(hit: Bool[Array, " d"]) -> Float[Array, " d"]:
    """The precision at each detection or any later one, whichever is higher."""
    found = jnp.cumsum(hit)
    precision = found / jnp.arange(1, len(hit) + 1)
    return jax.lax.cummax(precision, reverse=True)


def average_precision(hit: Bool[Array, " d"], positives: Int[Array, ""]) -> Float[Array, ""]:
    """The area under the precision envelope at every recall (as VOC has it since 2010); NaN if there is no positive."""
    return jnp.where(positives > 0, (hit * envelope(hit)).sum() / jnp.maximum(positives, 1), jnp.nan)


@functools.partial(jax.jit, static_argnames="truths")
def evaluate(
    tier: Int[Array, "c d"],
    truth: Int[Array, "c d"],
    iou: Float[Array, "c d"],
    positives: Int[Array, " c"],
    thresholds: Float[Array, " k"],
    *,
    truths: int,
) -> tuple[Float[Array, "k c"], Bool[Array, "k c d"]]:
    """AP of every threshold and class, and the true positives. Padding has truth −1 and comes last."""

    def one(threshold: Array, tier: Array, truth: Array, iou: Array, positives: Array) -> tuple[Array, Array]:
        hit = true_positives(tier, truth, iou, threshold, truths)
        return average_precision(hit, positives), hit

    return jax.vmap(jax.vmap(one, (None, 0, 0, 0, 0)), (0, None, None, None, None))(
        thresholds, tier, truth, iou, positives
    )
