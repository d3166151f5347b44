"""The paired cell inpainting network of Lu et al. (2019, Methods; layer sizes as in their published code)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn import pool
from hpax.nn.conv import Conv1x1, Conv3x3, halve
from hpax.nn.norm import BatchNorm
from hpax.types import Array

SOURCE_WIDTHS = (96, 256, 384, 384, 256)
MARKER_WIDTHS = (16, 32, 32)
DECODER_WIDTHS = ((256, 384, 384), (256,), (96,))  # the resolution doubles between groups
POOLED = (1, 2)  # the layers of an encoder whose output is halved
STRIDE = 2 ** len(POOLED)
LAYERS = tuple(f"conv{layer}" for layer in range(1, len(SOURCE_WIDTHS) + 1))
"""What `Inpainter.encode` names."""


class Encoder(nn.Module):
    """A stack of 3×3 convolution → ReLU → BatchNorm, halved after the first two layers."""

    widths: tuple[int, ...] = SOURCE_WIDTHS
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b h4 w4 k"], dict[str, Array]]:
        """The code of each image, and what each layer `conv1`, `conv2`, … says after its ReLU, before its BatchNorm."""
        x, taps = images, dict[str, Array]()
        for layer, width in enumerate(self.widths, start=1):
            x = nn.relu(Conv3x3(width, name=f"conv{layer}")(x))
            taps[f"conv{layer}"] = x
            x = BatchNorm(self.axis_name, self.momentum, name=f"norm{layer}")(x, mask=mask, train=train)
            if layer in POOLED:
                x = halve(x)
        return x, taps


class Decoder(nn.Module):
    """Paints an image from a code: 3×3 convolutions with ReLU, nearest upsampling, a linear 1×1 end; no BatchNorm."""

    widths: tuple[tuple[int, ...], ...] = DECODER_WIDTHS
    channels: int = 1

    @nn.compact
    def __call__(self, code: Float[Array, "b h4 w4 k"]) -> Float[Array, "b h w c"]:
        """The painted image, at twice the code's resolution for each group of layers after the first."""
        x, layer = code, 0
        for group, widths in enumerate(self.widths):
            for place, width in enumerate(widths):
                layer += 1
                doubled = group > 0 and place == 0
                x = nn.relu(Conv3x3(width, doubled, name=f"conv{layer}")(x))
        return Conv1x1(self.channels, name="paint")(x)


class Inpainter(nn.Module):
    """Paints a target cell's protein from its structural markers and another cell with every channel.

    At width 1 it has 7,324,529 parameters for human cells (three channels) and 7,323,521 for yeast (two), moving
    statistics included. Number and kind of channels follow from the first input.
    """

    width: float = 1.0  # scales the channels of every layer
    decoder_width: float | None = None  # scales those of the decoder, which is thrown away; None: as the others
    protein_channels: int = 1
    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps
    dtype: jax.typing.DTypeLike | None = None  # what is computed in, such as bfloat16; None: that of the images
    stride = STRIDE

    def setup(self) -> None:
        """The three parts; `source` is the encoder that is kept after training."""
        decoder_width = self.width if self.decoder_width is None else self.decoder_width
        self.source = Encoder(scaled(SOURCE_WIDTHS, self.width), self.axis_name, self.momentum)
        self.markers = Encoder(scaled(MARKER_WIDTHS, self.width), self.axis_name, self.momentum)
        self.decoder = Decoder(tuple(scaled(group, decoder_width) for group in DECODER_WIDTHS), self.protein_channels)

    def __call__(
        self,
        source: Float[Array, "b h w c"],
        markers: Float[Array, "b h w m"],
        *,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w p"]:
        """The protein of the cells whose structure is `markers`, given `source`, cells of the same protein.

        Parameters, BatchNorm's statistics and the answer have the images' dtype, float32, whatever `dtype` is.

        Args:
            source: every channel of the source cells, in [0, 1].
            markers: the structural channels of the target cells, in [0, 1].
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.

        Raises:
            ValueError: the images' sides are not multiples of `stride`, or differ between source and markers.
        """
        check_sides(source.shape, markers.shape, self.stride)
        told = self._tell(self._cast(source), mask=mask, train=train)
        return self._paint(told, self._cast(markers), mask=mask, train=train).astype(source.dtype)

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """The features of cells: the maximum over space of each source layer `conv1` … `conv5` after its ReLU."""
        return pooled(self.source, images, self.dtype)

    def _tell(self, source: Float[Array, "b h w c"], **options: Any) -> Float[Array, "b *space k"]:
        """What painting knows of the source cells: the last map of their encoder."""
        told, _ = self.source(source, **options)
        return told

    def _paint(
        self, told: Float[Array, "b *space k"], markers: Float[Array, "b h w m"], **options: Any
    ) -> Float[Array, "b h w p"]:
        seen, _ = self.markers(markers, **options)
        return self.decoder(jnp.concatenate([told, seen], axis=-1))

    def _summary(self, told: Float[Array, "b *space k"]) -> Float[Array, "b k"]:
        """What cells are compared by, of what is told of them."""
        return pool.strongest(told)

    def _cast(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return images if self.dtype is None else images.astype(self.dtype)


def pooled(
    encoder: Encoder, images: Float[Array, "b h w c"], dtype: jax.typing.DTypeLike | None = None
) -> dict[str, Float[Array, "b k"]]:
    """Layer → the maximum over space of its channels, after its ReLU: computed in `dtype`, told in the images'."""
    _, taps = encoder(images if dtype is None else images.astype(dtype))
    return {layer: tap.max((1, 2)).astype(images.dtype) for layer, tap in taps.items()}


def scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Widths times a factor, rounded, at least 1."""
    return tuple(max(1, round(factor * width)) for width in widths)


def check_sides(source: tuple[int, ...], markers: tuple[int, ...], stride: int) -> None:
    """Refuses images whose sides are not multiples of `stride`, or differ between source and markers."""
    if source[1:3] != markers[1:3]:
        raise ValueError(f"source and markers must be equally large, got {source[1:3]} and {markers[1:3]}; resize one")
    if any(side % stride for side in source[1:3]):
        fit = tuple(max(stride, side // stride * stride) for side in source[1:3])
        raise ValueError(f"image sides must be multiples of {stride}, got {source[1:3]}; use {fit}")
