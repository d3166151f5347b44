"""Swin transformers (Liu et al. 2021): attention inside of windows that shift from block to block."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float, Int, Shaped

from hpax.nn.network import Mode, Network
from hpax.types import Array

EPSILON = 1e-5
"""Of LayerNorm, as published."""


class Swin(Network):
    """Swin-T by default: 28,288,354 parameters for three channels with a classifier of 1,000 classes, as published.

    Its map has 768 channels. Sides that patches or windows do not divide are padded, and nothing attends to padding.
    LayerNorm knows one place alone: `axis_name`, `momentum` and `mask` are without use.

    Raises:
        ValueError: each stage has not both a depth and heads, or heads do not divide their channels.
    """

    width: int = 96  # channels of the first stage, doubled by each further one
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each stage
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7  # places on each side of a window
    patch: int = 4  # pixels on each side of a place of the first stage
    drop: float = 0.2  # stochastic depth: how often training leaves out a block's half, rising to this from 0

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return self.patch * 2 ** (len(self.depths) - 1)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        self._check()
        x = nn.LayerNorm(EPSILON, name="patches_norm")(nn.Dense(self.width, name="patches")(folded(images, self.patch)))
        done = 0
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True), 1):
            if stage > 1:
                x = nn.LayerNorm(EPSILON, name=f"merge{stage}_norm")(folded(x, 2))
                x = nn.Dense(x.shape[-1] // 2, use_bias=False, name=f"merge{stage}")(x)
            for place in range(depth):
                drop = self.drop * done / max(1, sum(self.depths) - 1)
                shift = self.window // 2 * (place % 2)
                x = Block(heads, self.window, shift, drop, name=f"stage{stage}_{place}")(x, train=mode.train)
                done += 1
        return nn.LayerNorm(EPSILON, name="norm")(x)

    def _check(self) -> None:
        if len(self.depths) != len(self.heads):
            entries = len(self.depths), len(self.heads)
            raise ValueError(f"depths and heads must have an entry for each stage, got {entries} entries")
        widths = [self.width * 2**stage for stage in range(len(self.heads))]
        if any(width % heads for width, heads in zip(widths, self.heads, strict=True)):
            raise ValueError(f"the stages' channels, {widths}, must divide by their heads, {self.heads}; change heads")


class Block(nn.Module):
    """Attention inside of windows and a perceptron of each place, both added to what was there."""

    heads: int
    window: int
    shift: int = 0  # places by which windows are moved
    drop: float = 0.0
    expansion: int = 4  # hidden channels of the perceptron for each channel

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The map after the block."""

        def kept(x: Array) -> Array:
            return nn.Dropout(self.drop, broadcast_dims=(1, 2, 3))(x, deterministic=not train)

        c = x.shape[-1]
        seen = nn.LayerNorm(EPSILON, name="attention_norm")(x)
        x = x + kept(Attention(self.heads, self.window, self.shift, name="attention")(seen))
        hidden = nn.Dense(self.expansion * c, name="widen")(nn.LayerNorm(EPSILON, name="perceptron_norm")(x))
        return x + kept(nn.Dense(c, name="narrow")(nn.gelu(hidden, approximate=False)))


class Attention(nn.Module):
    """Attention of every place to those of its window, with a learned bias for each head and offset.

    Windows are moved by `shift` places and wrap around the map, but places from opposite borders do not see each other.
    A side that one window spans is not shifted.
    """

    heads: int
    window: int
    shift: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """What each place gathers."""
        h, w, c = x.shape[1:]
        size = min(self.window, h), min(self.window, w)
        shift = tuple(self.shift * (side > extent) for side, extent in zip((h, w), size, strict=True))
        x = jnp.pad(x, ((0, 0), (0, -h % size[0]), (0, -w % size[1]), (0, 0)))
        padded = x.shape[1:3]
        x = windows(jnp.roll(x, [-each for each in shift], (1, 2)), size)
        q, k, v = jnp.moveaxis(nn.Dense(3 * c, name="qkv")(x).reshape(*x.shape[:-1], 3, self.heads, -1), -3, 0)
        biases = self.param(
            "biases", nn.initializers.truncated_normal(0.02), (2 * self.window - 1,) * 2 + (self.heads,)
        )
        logits = jnp.einsum("bnqad,bnkad->bnaqk", q, k) * q.shape[-1] ** -0.5
        logits += jnp.moveaxis(biases[tuple(offsets(size) + self.window - 1)], -1, 0)
        logits = jnp.where(together((h, w), size, shift)[:, None], logits, -jnp.inf)
        gathered = jnp.einsum("bnaqk,bnkad->bnqad", nn.softmax(logits), v)
        x = nn.Dense(c, name="out")(gathered.reshape(x.shape))
        return jnp.roll(unwindowed(x, padded, size), shift, (1, 2))[:, :h, :w]


def folded(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b _ _ k"]:
    """Every `size` × `size` pixels as the channels of one, row by row; sides are padded with zeros."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % size), (0, -w % size), (0, 0)))
    x = windows(x, (size, size))
    return x.reshape(b, -(-h // size), -(-w // size), size * size * c)


def windows(x: Shaped[Array, "b h w c"], size: tuple[int, int]) -> Shaped[Array, "b n p c"]:
    """The n windows of a map row by row, and row by row the p places of each; sides are multiples of `size`."""
    b, h, w, c = x.shape
    parts = x.reshape(b, h // size[0], size[0], w // size[1], size[1], c)
    return parts.swapaxes(2, 3).reshape(b, -1, size[0] * size[1], c)


def unwindowed(x: Float[Array, "b n p c"], sides: tuple[int, ...], size: tuple[int, int]) -> Float[Array, "b h w c"]:
    """The map of `sides` of which `windows` made `x`."""
    b, _, _, c = x.shape
    parts = x.reshape(b, sides[0] // size[0], sides[1] // size[1], *size, c)
    return parts.swapaxes(2, 3).reshape(b, *sides, c)


def offsets(size: tuple[int, int]) -> Int[np.ndarray, "2 p p"]:
    """Rows and columns from the second place to the first, for every two places of a window."""
    places = np.indices(size).reshape(2, -1)
    return places[:, :, None] - places[:, None]


def together(sides: tuple[int, int], size: tuple[int, int], shift: tuple[int, ...]) -> Bool[np.ndarray, "n p p"]:
    """Which places of each window see which, after the map was padded and rolled back by `shift`.

    They do where no border of the map lies between them. Padding sees padding, for the sake of a finite answer.
    """
    regions = []
    for side, extent, moved in zip(sides, size, shift, strict=True):
        place = np.arange(side + -side % extent)
        regions.append(np.roll((place < moved) + 2 * (place >= side), -moved))
    region = np.asarray(windows((regions[0][:, None] * 3 + regions[1])[None, ..., None], size)[0, ..., 0])
    return region[:, :, None] == region[:, None]
