"""Paired cell inpainting by one vector: what the source cell says of its protein is a few hundred numbers, no map.

The network of Lu et al. (2019) paints from the source's last map of features, which knows where things were in the
source. Here that map's maxima over space are all that is told, so that they must say what holds of the protein in any
cell; where things are, the target's markers say. The painter is a U-Net on these, told the vector at each level as
Perez et al. (2018, FiLM) tell a network of images a question. The source encoder is the published one.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn import pool
from hpax.nn.conv import Conv3x3, halve
from hpax.nn.inpainter import SOURCE_WIDTHS, Encoder, Inpainter, scaled
from hpax.nn.network import Mode
from hpax.nn.norm import BatchNorm
from hpax.nn.unet import fold, unfold
from hpax.types import Array

PAINTER_WIDTHS = (128, 256, 512)
STRIDE = 2 ** len(PAINTER_WIDTHS)


class Painter(nn.Module):
    """A U-Net that paints a protein on structural markers as a vector tells it to.

    No work is done at full resolution: the stem folds every 2×2 pixels into channels, and the end unfolds them.
    """

    widths: tuple[int, ...] = PAINTER_WIDTHS  # channels of each level, the first at half the image's resolution
    channels: int = 1
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self,
        markers: Float[Array, "b h w m"],
        code: Float[Array, "b k"],
        *,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w {self.channels}"]:
        """The painted image, linear at its end."""
        mode, levels, x = Mode(self.axis_name, self.momentum, mask, train), list[Array](), fold(markers)
        for level, width in enumerate(self.widths):
            x = self._told(Conv3x3(width, name=f"down{level}")(halve(x) if level else x), code, f"down{level}", mode)
            levels.append(x)
        for level, width in reversed([*enumerate(self.widths)][:-1]):
            doubled = Conv3x3(width, doubled=True, name=f"up{level}")(x)
            met = doubled + Conv3x3(width, name=f"across{level}")(levels[level])
            x = self._told(met, code, f"up{level}", mode)
        black = nn.initializers.zeros  # to begin with, as most of a cell is
        return unfold(nn.Dense(4 * self.channels, kernel_init=black, dtype=x.dtype, name="paint")(x))

    def _told(self, x: Float[Array, "b h w c"], code: Float[Array, "b k"], name: str, mode: Mode) -> Array:
        """`x` normalised, then scaled and shifted by the vector, then its positive part."""
        gain, shift = jnp.split(nn.Dense(2 * x.shape[-1], dtype=x.dtype, name=f"{name}_told")(code), 2, axis=-1)
        normalised = mode.norm(x, f"{name}_norm")
        return nn.relu(normalised * (1 + gain[:, None, None]) + shift[:, None, None])


class VectorInpainter(Inpainter):
    """Paints a target cell's protein from its structural markers and a vector of another cell with every channel.

    It is called as `Inpainter` is, whose source encoder and features it has; `decoder_width` is of the painter.
    """

    stride = STRIDE

    def setup(self) -> None:
        """The parts; `source` is the encoder that is kept after training.

        What cells' vectors have in common outweighs by far what tells them apart, before anything is learnt: without
        `norm`, a painter is slow to learn.
        """
        painter_width = self.width if self.decoder_width is None else self.decoder_width
        painters = scaled(PAINTER_WIDTHS, painter_width)
        self.source = Encoder(scaled(SOURCE_WIDTHS, self.width), self.axis_name, self.momentum)
        self.norm = BatchNorm(self.axis_name, self.momentum)
        self.painter = Painter(painters, self.protein_channels, self.axis_name, self.momentum)

    def _tell(self, source: Float[Array, "b h w c"], **options: Any) -> Float[Array, "b k"]:
        """The maxima over space of the encoder's last map, normalised."""
        last, _ = self.source(source, **options)
        return self.norm(pool.strongest(last), **options)

    def _paint(
        self, told: Float[Array, "b k"], markers: Float[Array, "b h w m"], **options: Any
    ) -> Float[Array, "b h w p"]:
        return self.painter(markers, told, **options)

    def _summary(self, told: Float[Array, "b k"]) -> Float[Array, "b k"]:
        return told
