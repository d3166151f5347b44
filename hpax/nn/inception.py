"""Inception-v3 (Szegedy et al. 2016): chains of convolutions side by side, their outputs concatenated."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolved
from hpax.nn.network import Mode, Network
from hpax.nn.pool import maxima, means
from hpax.types import Array

LEAST = 75
"""The least side of an image, in pixels: one place is left of it."""


class Step(NamedTuple):
    """A convolution, BatchNorm and ReLU."""

    features: int
    size: tuple[int, int] = (1, 1)  # rows and columns of the kernel
    stride: int = 1
    padded: bool = True
    averaged: bool = False  # over 3×3 pixels, beforehand


class Fork(NamedTuple):
    """Two steps from the same image, 1×3 and 3×1."""

    features: int


class Halve(NamedTuple):
    """Maxima of 3×3 pixels, every second."""


Chain = tuple[Step | Fork | Halve, ...]


class Inception(Network):
    """Inception-v3, in full as Keras has it: 21,802,784 parameters and moving statistics for three channels.

    Its map has 2,048 channels. Convolutions are numbered in the order in which Keras makes them.

    Raises:
        ValueError: a side of the images has fewer than 75 pixels.
    """

    early: tuple[int, ...] = (32, 64, 64)  # for each block before the first halving, channels of its mean
    middle: tuple[int, ...] = (128, 160, 160, 192)  # for each before the second, channels between 7-tap kernels
    late: int = 2  # blocks after it
    thin: int = 1  # divides every number of channels; 2, 4, 8 or 16

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return 32

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        if min(images.shape[1:3]) < LEAST:
            raise ValueError(f"images must be {LEAST} pixels or more a side, got {images.shape[1:3]}; enlarge them")
        made = iter(range(1000))

        def took(x: Array, step: Step | Fork | Halve) -> Array:
            if isinstance(step, Halve):
                return maxima(x)
            if isinstance(step, Fork):
                parts = [took(x, Step(step.features, size)) for size in ((1, 3), (3, 1))]
                return jnp.concatenate(parts, axis=-1)
            thin = step._replace(features=step.features // self.thin)
            return mode.part(_Convolution, x, thin, name=f"conv{next(made)}")

        x = images
        for block in self._blocks():
            x = jnp.concatenate([functools.reduce(took, chain, x) for chain in block], axis=-1)
        return x

    def _blocks(self) -> list[tuple[Chain, ...]]:
        """Every block's chains, from the stem to the last."""
        late = [_LATE] * self.late
        return [_STEM, *map(_early, self.early), _REDUCE, *map(_middle, self.middle), _REDUCE_AGAIN, *late]


class _Convolution(Network):
    step: Step

    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        features, size, stride, padded, averaged = self.step
        x = convolved(self, "kernel", x, features, size, stride=stride, padded=padded)
        if averaged:  # a convolution by one pixel may go first, and leaves fewer channels
            x = means(x)
        return nn.relu(mode.norm(x, "norm", scaled=False))


def _early(pooled: int) -> tuple[Chain, ...]:
    wide = (Step(48), Step(64, (5, 5)))
    twice = (Step(64), Step(96, (3, 3)), Step(96, (3, 3)))
    return (Step(64),), wide, twice, (Step(pooled, averaged=True),)


def _middle(n: int) -> tuple[Chain, ...]:
    once = (Step(n), Step(n, (1, 7)), Step(192, (7, 1)))
    twice = (Step(n), Step(n, (7, 1)), Step(n, (1, 7)), Step(n, (7, 1)), Step(192, (1, 7)))
    return (Step(192),), once, twice, (Step(192, averaged=True),)


def _halving(features: int) -> Step:
    return Step(features, (3, 3), stride=2, padded=False)


_STEM = (
    (
        _halving(32),
        Step(32, (3, 3), padded=False),
        Step(64, (3, 3)),
        Halve(),
        Step(80),
        Step(192, (3, 3), padded=False),
        Halve(),
    ),
)
_REDUCE = ((_halving(384),), (Step(64), Step(96, (3, 3)), _halving(96)), (Halve(),))
_REDUCE_AGAIN = (
    (Step(192), _halving(320)),
    (Step(192), Step(192, (1, 7)), Step(192, (7, 1)), _halving(192)),
    (Halve(),),
)
_LATE = (
    (Step(320),),
    (Step(384), Fork(384)),
    (Step(448), Step(384, (3, 3)), Fork(384)),
    (Step(192, averaged=True),),
)
