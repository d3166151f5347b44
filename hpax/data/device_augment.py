"""Patches as `augment` varies them, drawn and made by devices: pure functions of keys, to be compiled.

Equal in distribution to what the host makes of the same `Augmentation`, not number by number: generators differ. What
an augmentation leaves out is not computed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt32

from hpax import atlas
from hpax.data import preprocess
from hpax.data.augment import Augmentation
from hpax.ops import resample
from hpax.types import Array

_STREAM = 0x5A17
"""Sets these keys apart from those of `hpax.train.state`, whose streams are small numbers."""


def keys(rows: UInt32[Array, "b 3"]) -> jax.Array:
    """The key (b,) of each row by its (seed, epoch, place)."""

    def key(row: Array) -> jax.Array:
        seed, epoch, place = row
        own = jax.random.fold_in(jax.random.key(seed), _STREAM)
        return jax.random.fold_in(jax.random.fold_in(own, epoch), place)

    return jax.vmap(key)(rows)


def varied(
    keys: jax.Array,
    augmentation: Augmentation,
    images: UInt8[Array, "b h w c"],
    extents: Int[Array, "b 2"],
    *,
    size: int,
    corners: Int[Array, "b 2"] | None = None,
) -> Float[Array, "b {size} {size} c"]:
    """A square of about `size` pixels anywhere in each image, zoomed, turned and stained anew, in [0, 1].

    Of an image the first `extents` (h, w) pixels count. Where the augmentation leaves pixels in their places
    (`Augmentation.whole`), the squares begin at `corners` (y, x), if these are given. The keys are (b,).
    """
    placing, staining = jax.vmap(jax.random.split, out_axes=1)(keys)

    def seen(key: jax.Array, image: Array, extent: Array, corner: Array | None) -> Array:
        return placed(key, augmentation, image, extent, size=size, corner=corner)

    patches = preprocess.as_float(jax.vmap(seen)(placing, images, extents, corners))  # of a batch: `quotient` is exact
    return jax.vmap(lambda key, patch: stained(key, augmentation, patch))(staining, patches)


class Place(NamedTuple):
    """Which square of an image is seen, and how."""

    middle: Float[Array, "2"]  # (y, x)
    zoom: Float[Array, ""]
    angle: Float[Array, ""]  # radians
    turns: Bool[Array, "3"]  # of `hpax.ops.mix.turned`


def place(key: jax.Array, augmentation: Augmentation, extent: Int[Array, "2"], *, size: int) -> Place:
    """A place as `augment` draws it: as far from the edges as `zoom` leaves room for."""
    zooming, placing, rotating, turning = jax.random.split(key, 4)
    zoom = augmentation.zoom ** (jax.random.uniform(zooming, (2,)).sum() - 1)
    half, free = zoom * size / 2, extent - zoom * size
    low = jnp.where(free < 0, extent - half, half)
    middle = low + jax.random.uniform(placing, (2,)) * jnp.abs(free)
    eighth = np.pi / 4 if augmentation.rotate else 0.0
    angle = jax.random.uniform(rotating, minval=-1, maxval=1) * eighth
    turns = jax.random.bernoulli(turning, shape=(3,)) & augmentation.turn
    return Place(middle, zoom, angle, turns)


def placed(
    key: jax.Array,
    augmentation: Augmentation,
    image: UInt8[Array, "h w c"],
    extent: Int[Array, "2"],
    *,
    size: int,
    corner: Int[Array, "2"] | None = None,
) -> UInt8[Array, "{size} {size} c"]:
    """The square of `varied` before it is stained."""
    seen = place(key, augmentation, extent, size=size)
    if not augmentation.whole:
        return resample.square(image, extent, *seen, size=size)
    if corner is None:
        free = extent - size
        shift = jnp.floor(jax.random.uniform(jax.random.fold_in(key, 1), (2,)) * (jnp.abs(free) + 1))
        corner = jnp.minimum(free, 0) + shift.astype(jnp.int32)
    return resample.window(image, extent, corner, seen.turns, size=size)


def stained(key: jax.Array, augmentation: Augmentation, patch: Float[Array, "s s c"]) -> Float[Array, "s s c"]:
    """A patch in [0, 1], stained, focused and exposed anew, in [0, 1]."""
    exposing, grain, dropping, disturbing = jax.random.split(key, 4)
    side, _, channels = patch.shape
    drawn = exposure(exposing, augmentation, side=side, channels=channels)
    planes = exposed(grain, augmentation, drawn, patch)
    if augmentation.channel_dropout and channels > 1:
        happening, choosing = jax.random.split(dropping)
        drops = jax.random.uniform(happening) < augmentation.channel_dropout
        planes = _without(planes, jax.random.randint(choosing, (), 0, channels - 1), drops)
    planes = _disturbed(disturbing, augmentation, planes)
    return planes * (patch > 0).any(-1, keepdims=True) if augmentation.keep_black else planes


class Exposure(NamedTuple):
    """How each channel is stained, focused and exposed."""

    gamma: Float[Array, " c"]
    gain: Float[Array, " c"]
    offset: Float[Array, " c"]  # of full scale
    blur: Float[Array, " c"]  # pixels
    noise: Float[Array, " c"]  # of full scale
    haze: Float[Array, " c"]  # of the channel's light
    reach: Float[Array, " c"]  # pixels that haze spreads over


def exposure(key: jax.Array, augmentation: Augmentation, *, side: int, channels: int) -> Exposure:
    """An exposure as `augment` draws it, of squares of `side` pixels."""
    either = jax.random.uniform(key, (5, channels), minval=-1, maxval=1)
    one = jax.random.uniform(jax.random.fold_in(key, 1), (2, channels))
    return Exposure(
        gamma=augmentation.gamma ** either[0],
        gain=augmentation.gain ** either[1],
        offset=augmentation.offset * either[2],
        blur=augmentation.blur * jnp.maximum(either[3], 0),
        noise=augmentation.noise * one[0] ** 2,
        haze=augmentation.haze * jnp.maximum(either[4], 0),
        reach=side * (0.04 + (resample.FARTHEST - 0.04) * one[1]),
    )


def exposed(
    key: jax.Array, augmentation: Augmentation, drawn: Exposure, planes: Float[Array, "s s c"]
) -> Float[Array, "s s c"]:
    """Planes in [0, 1] under a drawn exposure, in [0, 1] again; the key is that of the noise."""
    if augmentation.gamma != 1:
        planes = planes**drawn.gamma
    if augmentation.haze:
        planes = planes + drawn.haze * resample.spread(planes, drawn.reach)
    if augmentation.blur:
        planes = resample.blurred(planes, drawn.blur, largest=augmentation.blur)
    if augmentation.gain != 1:
        planes = drawn.gain * planes
    if augmentation.offset:
        planes = planes + drawn.offset
    if augmentation.noise:
        planes = planes + drawn.noise * jax.random.normal(key, planes.shape)
    return jnp.clip(planes, 0, 1)


def _disturbed(key: jax.Array, augmentation: Augmentation, planes: Float[Array, "s s c"]) -> Float[Array, "s s c"]:
    """Planes with light in the wrong channel, without a marker, and with a hole."""
    side, _, channels = planes.shape
    bleeding, missing, cutting = jax.random.split(key, 3)
    if augmentation.bleed:
        happening, sharing = jax.random.split(bleeding)
        shares = jax.random.uniform(sharing, (channels, channels), maxval=augmentation.bleed)
        shares = jnp.where(jax.random.bernoulli(happening), shares, 0)
        mixing = jnp.where(np.eye(channels, dtype=bool), 1, shares)
        planes = jnp.minimum(jnp.matmul(planes, mixing, precision=jax.lax.Precision.HIGHEST), 1)
    if augmentation.missing and channels == len(atlas.CHANNELS):
        happening, choosing = jax.random.split(missing)
        er, microtubules = (atlas.CHANNELS.index(name) for name in ("er", "microtubules"))
        blank = jnp.where(jax.random.uniform(choosing) < 2 / 3, er, microtubules)
        planes = _without(planes, blank, jax.random.uniform(happening) < augmentation.missing)
    if augmentation.cutout:
        happening, holing = jax.random.split(cutting)
        cut = hole(holing, side) & (jax.random.uniform(happening) < augmentation.cutout)
        planes = jnp.where(cut[..., None], 0, planes)
    return planes


def _without(planes: Float[Array, "s s c"], channel: Int[Array, ""], lost: Bool[Array, ""]) -> Float[Array, "s s c"]:
    """Planes whose `channel` is blank where it is `lost`."""
    return jnp.where(lost & (jnp.arange(planes.shape[-1]) == channel), 0, planes)


def hole(key: jax.Array, side: int) -> Bool[Array, "{side} {side}"]:
    """A rectangle in a square, an eighth to a third of its side high and wide."""
    extending, placing = jax.random.split(key)
    extent = jax.random.randint(extending, (2,), max(1, side // 8), max(2, side // 3))
    first = jax.random.randint(placing, (2,), 0, side - extent + 1)
    inside = [
        (np.arange(side) >= start) & (np.arange(side) < start + long) for start, long in zip(first, extent, strict=True)
    ]
    return inside[0][:, None] & inside[1]
