"""How far a painted protein is from the actual one: an error of each pair of images (b, h, w, c)."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Float

from hpax.ops.correlation import pearson
from hpax.types import Array

PaintingError = Callable[[Float[Array, "b h w c"], Float[Array, "b h w c"]], Float[Array, " b"]]
"""Painted, wanted → an error of each."""


def squared(painted: Float[Array, "b h w c"], wanted: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean squared error (Lu et al. 2019). It grows with brightness, so bright proteins count most."""
    return jnp.square(painted - wanted).mean((1, 2, 3))


def absolute(painted: Float[Array, "b h w c"], wanted: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean absolute error, which forgives single pixels that are far off."""
    return jnp.abs(painted - wanted).mean((1, 2, 3))


def uncorrelated(painted: Float[Array, "b h w c"], wanted: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """1 − Pearson's correlation: where the protein is, whatever its brightness; 1 where one of the two is constant."""
    return 1 - pearson(painted, wanted)


ERRORS: Mapping[str, PaintingError] = {"squared": squared, "absolute": absolute, "correlation": uncorrelated}
