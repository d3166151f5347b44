"""Two examples made one: mixup and cutmix, and the turns of a square.

Rows whose mask is 0 are nobody's partner, and what any row becomes does not depend on how many of them follow.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from hpax.types import Array

Mixture = Literal["none", "mixup", "cutmix"]


def mixed(
    how: Mixture,
    key: jax.Array,
    images: Float[Array, "b h w c"],
    labels: Float[Array, "b n"],
    mask: Float[Array, " b"],
) -> tuple[Float[Array, "b h w c"], Float[Array, "b n"]]:
    """`mixup`, `cutmix` or neither."""
    if how == "none":
        return images, labels
    return (mixup if how == "mixup" else cutmix)(key, images, labels, mask)


def mixup(
    key: jax.Array, images: Float[Array, "b h w c"], labels: Float[Array, "b n"], mask: Float[Array, " b"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b n"]]:
    """Each image and its labels, averaged with those of another row by a Beta(½, ½) weight (Zhang et al. 2018)."""
    pairing, weighing = jax.random.split(key)
    other = partners(pairing, mask)
    share = _of_each_row(weighing, len(images), lambda key: jnp.sin(jnp.pi / 2 * jax.random.uniform(key)) ** 2)
    image_share, label_share = share[:, None, None, None], share[:, None]
    images = image_share * images + (1 - image_share) * jnp.take(images, other, 0)
    return images, label_share * labels + (1 - label_share) * jnp.take(labels, other, 0)


def cutmix(
    key: jax.Array, images: Float[Array, "b h w c"], labels: Float[Array, "b n"], mask: Float[Array, " b"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b n"]]:
    """Each image with a box of another row's in it, and the labels averaged by area (Yun et al. 2019).

    The box's area is uniform in [0, 1] of the image before its border cuts it.
    """
    pairing, boxing = jax.random.split(key)
    other = partners(pairing, mask)
    inside = _of_each_row(boxing, len(images), lambda key: _box(key, images.shape[1:3]))
    images = jnp.where(inside[..., None], jnp.take(images, other, 0), images)
    share = inside.mean((1, 2))[:, None]
    return images, (1 - share) * labels + share * jnp.take(labels, other, 0)


def partners(key: jax.Array, mask: Float[Array, " b"]) -> Int[Array, " b"]:
    """For each real row another real row, each taken once (itself if it is alone); a padded row keeps to itself."""
    real = mask > 0
    rank, count = jnp.cumsum(real) - 1, real.sum()
    step = 1 + jnp.floor(jax.random.uniform(key) * (count - 1)).astype(int)
    rows = jnp.argsort(~real, stable=True)  # the real ones first
    return jnp.where(real, rows[(rank + step) % jnp.maximum(count, 1)], jnp.arange(len(real)))


def turns(key: jax.Array, count: int) -> Bool[Array, "b 3"]:
    """One of the eight turns of a square for each of `count` rows: transposed? upside down? left to right?"""
    return _of_each_row(key, count, lambda key: jax.random.bernoulli(key, shape=(3,)))


def turned(images: Float[Array, "b s s c"], turns: Bool[Array, "b 3"]) -> Float[Array, "b s s c"]:
    """Square images, transposed and then mirrored where `turns` says so."""
    for which, axes in enumerate(_TURNS):
        images = _where(turns[:, which], axes(images), images)
    return images


def unturned(images: Float[Array, "b s s c"], turns: Bool[Array, "b 3"]) -> Float[Array, "b s s c"]:
    """The inverse of `turned`."""
    for which, axes in reversed([*enumerate(_TURNS)]):
        images = _where(turns[:, which], axes(images), images)
    return images


_TURNS: tuple[Callable[[Array], Array], ...] = (
    lambda images: images.swapaxes(1, 2),
    lambda images: images[:, ::-1],
    lambda images: images[:, :, ::-1],
)


def _where(rows: Array, images: Array, others: Array) -> Array:
    return jnp.where(rows[:, None, None, None], images, others)


def _of_each_row(key: jax.Array, count: int, draw: Callable[[jax.Array], Array]) -> Array:
    """One draw for each row from a key of its own, so that it does not depend on how many rows there are."""
    return jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(jnp.arange(count))


def _box(key: jax.Array, shape: tuple[int, ...]) -> Bool[Array, "h w"]:
    """The pixels within a box of the image's proportions around a uniformly drawn place."""
    area, *centre = jax.random.uniform(key, (3,))
    lines = [
        jnp.abs((jnp.arange(side) + 0.5) / side - place) < jnp.sqrt(area) / 2
        for side, place in zip(shape, centre, strict=True)
    ]
    return lines[0][:, None] & lines[1][None]
