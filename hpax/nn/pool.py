"""Pooling by shifted slices, which XLA fuses into one loop.

Its own windows are slow on CPUs, and the gradient of their maximum more so.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hpax.types import Array


def maxima(x: Float[Array, "b h w c"], *, size: int = 3, stride: int = 2, pad: int = 0) -> Float[Array, "b _ _ c"]:
    """The maximum of every window inside the image padded by `pad`; equal maxima share the gradient."""
    if pad:
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=-jnp.inf)
    for axis in (1, 2):
        x = _combined(jnp.maximum, x, axis, size, stride)
    return x


def strongest(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The maximum over space of each channel; of equal ones the first takes the gradient.

    That of `x.max` asks where `x` equals it, which is nowhere if a compiler computes `x` twice and rounds differently.
    """
    pixels = x.reshape(len(x), -1, x.shape[-1])
    place = jax.lax.stop_gradient(pixels).argmax(1, keepdims=True)
    return jnp.take_along_axis(pixels, place, 1)[:, 0]


def halves(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """The mean of every 2×2 pixels; an odd side loses its last pixel."""
    for axis in (1, 2):
        x = _combined(jnp.add, x, axis, 2, 2)
    return x / 4


def means(x: Float[Array, "b h w c"], *, size: int = 3) -> Float[Array, "b h w c"]:
    """The mean of the window of odd `size` around each pixel, of those of its pixels that the image holds."""
    for axis in (1, 2):
        pad = [(size // 2,) * 2 if each == axis else (0, 0) for each in range(4)]
        held = np.convolve(np.ones(x.shape[axis]), np.ones(size))[size // 2 :][: x.shape[axis]]
        shape = [-1 if each == axis else 1 for each in range(4)]
        x = _combined(jnp.add, jnp.pad(x, pad), axis, size, 1) * (1 / held).astype(x.dtype).reshape(shape)
    return x


def _combined(combine: Callable[[Array, Array], Array], x: Array, axis: int, size: int, stride: int) -> Array:
    places = (x.shape[axis] - size) // stride + 1
    slices: list[Array] = [jax.lax.slice_in_dim(x, i, i + (places - 1) * stride + 1, stride, axis) for i in range(size)]
    return functools.reduce(combine, slices)
