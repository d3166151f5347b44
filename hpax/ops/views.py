"""Random views of single cells: what a feature of a protein's place should not depend on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hpax.types import Array

SHIFT = 4  # pixels at most
GAIN = 0.4  # of the logarithm of each channel's brightness, its standard deviation
NOISE = 0.03  # of full scale, at most


class View(NamedTuple):
    """Cells as one view shows them, and what it made of them."""

    seen: Float[Array, "b s s c"]
    placed: Float[Array, "b s s c"]  # turned, mirrored and shifted alone
    gain: Float[Array, "b c"]  # what each channel's brightness was multiplied by


def view(key: jax.Array, images: Float[Array, "b s s c"]) -> View:
    """Each cell turned, mirrored, shifted, of other brightness in each channel, with noise; still in [0, 1]."""
    keys = jax.random.split(key, len(images))
    return View(*jax.vmap(_view)(keys, images))


def _view(
    key: jax.Array, image: Float[Array, "s s c"]
) -> tuple[Float[Array, "s s c"], Float[Array, "s s c"], Float[Array, " c"]]:
    turn, flip, shift, gain, noise, level = jax.random.split(key, 6)
    turned = jnp.stack([jnp.rot90(image, times) for times in range(4)])[jax.random.randint(turn, (), 0, 4)]
    mirrored = jnp.where(jax.random.bernoulli(flip), turned[:, ::-1], turned)
    padded = jnp.pad(mirrored, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    start = jax.random.randint(shift, (2,), 0, 2 * SHIFT + 1)
    placed = jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)
    gains = jnp.exp(GAIN * jax.random.normal(gain, (image.shape[-1],)))
    grain = NOISE * jax.random.uniform(level) * jax.random.normal(noise, image.shape)
    return jnp.clip(placed * gains + grain, 0, 1), placed, gains
