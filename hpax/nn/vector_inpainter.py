"""Paired cell inpainting by one vector: what the source cell says of its protein is a few hundred numbers, no map.

The network of Lu et al. (2019) paints from the source's map of features, which knows where things were in the source.
Here the source is averaged over space, so that what it says is what holds of its protein in any cell; where things are,
the target's markers say. The painter is a U-Net on these, told the vector at each level as Perez et al. (2018, FiLM)
tell a network of images a question. The vector is what features are.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax import atlas
from hpax.nn.conv import Conv3x3, halve
from hpax.nn.inpainter import scaled
from hpax.nn.network import Mode
from hpax.nn.norm import BatchNorm
from hpax.nn.plain import Plain
from hpax.nn.unet import check_sides, fold, unfold
from hpax.types import Array

SOURCE_WIDTHS = (64, 128, 256, 512, 512)
PAINTER_WIDTHS = (128, 256, 512, 512)
STRIDE = 2 ** len(SOURCE_WIDTHS)
LAYERS = ("code",)
"""What `VectorInpainter.encode` names."""


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


class VectorInpainter(nn.Module):
    """Paints a target cell's protein from its structural markers and a vector of another cell with every channel.

    At width 0.5 the source encoder is the backbone plain-small. Number and kind of channels follow from the input.
    """

    width: float = 1.0  # scales the channels of every layer
    decoder_width: float | None = None  # scales those of the painter, which is thrown away; None: as the encoder
    protein_channels: int = 1
    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps
    dtype: jax.typing.DTypeLike | None = None  # what is computed in, such as bfloat16; None: that of the images
    stride = STRIDE

    def setup(self) -> None:
        """The parts; `source` is the encoder that is kept after training.

        What cells' vectors have in common outweighs by far what tells them apart, before anything is learnt: without
        `norm`, neither a painter nor a contrast begins to learn.
        """
        painter_width = self.width if self.decoder_width is None else self.decoder_width
        common = {"axis_name": self.axis_name, "momentum": self.momentum}
        self.source = Plain(widths=scaled(SOURCE_WIDTHS, self.width), **common)
        self.norm = BatchNorm(**common)
        self.painter = Painter(scaled(PAINTER_WIDTHS, painter_width), self.protein_channels, **common)

    def __call__(
        self,
        source: Float[Array, "b h w c"],
        markers: Float[Array, "b h w m"],
        *,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w p"]:
        """The protein of the cells whose structure is `markers`, given `source`, cells of the same protein.

        Args:
            source: every channel of the source cells, in [0, 1].
            markers: the structural channels of the target cells, in [0, 1].
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.

        Raises:
            ValueError: the images' sides are not multiples of 32.
        """
        check_sides(markers.shape, STRIDE)
        code = self.norm(self._code(source, mask=mask, train=train), mask=mask, train=train)
        return self.painter(self._cast(markers), code, mask=mask, train=train).astype(source.dtype)

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """The vector of each cell, as `code`: the mean over space of the encoder's last map, which is not negative."""
        return {"code": self._code(images).astype(images.dtype)}

    def _code(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b k"]:
        return self.source(self._cast(images), mask=mask, train=train).mean((1, 2))

    def _cast(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return images if self.dtype is None else images.astype(self.dtype)


class ContrastedVectorInpainter(VectorInpainter):
    """The same network, whose source encoder has a second head while it learns: a few numbers of each cell."""

    outputs: int = 64  # dimensions that cells are compared in
    hidden: int = 128  # of the layer before these

    def setup(self) -> None:
        """The inpainter's parts and the perceptron."""
        super().setup()
        self.between = nn.Dense(self.hidden)
        self.out = nn.Dense(self.outputs)

    def compare(
        self,
        source: Float[Array, "b h w c"],
        target: Float[Array, "b h w c"],
        *,
        mask: Float[Array, " b"],
        train: bool = False,
    ) -> tuple[Float[Array, "b h w p"], Float[Array, "two_b {self.outputs}"]]:
        """The protein of the targets as painted, and the numbers of sources and targets, one after another.

        As `nn.embedder.ContrastedInpainter.compare`.
        """
        both, twice = jnp.concatenate([source, target]), jnp.tile(mask, 2)
        code = self.norm(self._code(both, mask=twice, train=train), mask=twice, train=train)
        markers = self._cast(target[..., atlas.STRUCTURE])
        painted = self.painter(markers, code[: len(source)], mask=mask, train=train)
        numbers = self.out(nn.relu(self.between(code)))
        return painted.astype(source.dtype), numbers.astype(source.dtype)
