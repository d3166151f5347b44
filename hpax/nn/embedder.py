"""The inpainter's source encoder under other heads, so that ways to learn features differ in nothing but the task."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax import atlas
from hpax.nn import pool
from hpax.nn.inpainter import (
    DECODER_WIDTHS,
    SOURCE_WIDTHS,
    STRIDE,
    Decoder,
    Encoder,
    Inpainter,
    check_sides,
    pooled,
    scaled,
)
from hpax.nn.network import in_dtype
from hpax.nn.vector_inpainter import VectorInpainter
from hpax.types import Array


class Autoencoder(nn.Module):
    """Paints a cell from its own code: the source encoder, and the inpainter's decoder with every channel."""

    channels: int
    width: float = 1.0  # scales the channels of the encoder
    decoder_width: float | None = None  # of the decoder; None: as the encoder
    axis_name: str | None = None
    momentum: float = 0.99
    dtype: jax.typing.DTypeLike | None = None  # as that of `nn.inpainter.Inpainter`
    stride = STRIDE

    def setup(self) -> None:
        """The two parts."""
        decoder_width = self.width if self.decoder_width is None else self.decoder_width
        self.source = Encoder(scaled(SOURCE_WIDTHS, self.width), self.axis_name, self.momentum)
        self.decoder = Decoder(tuple(scaled(group, decoder_width) for group in DECODER_WIDTHS), self.channels)

    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The cells as painted."""
        return in_dtype(self.dtype, self._painted, images, mask, train)

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """As `nn.inpainter.Inpainter.encode`."""
        return pooled(self.source, images, self.dtype)

    def _painted(
        self, images: Float[Array, "b h w c"], mask: Float[Array, " b"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        code, _ = self.source(images, mask=mask, train=train)
        return self.decoder(code)


class Projector(nn.Module):
    """A few numbers of each cell: the source encoder's code, its maximum over space, and a small perceptron."""

    outputs: int  # classes, or the dimensions that cells are compared in
    hidden: int = 0  # of the layer between; 0: none, the outputs are linear in the features
    width: float = 1.0
    axis_name: str | None = None
    momentum: float = 0.99
    dtype: jax.typing.DTypeLike | None = None  # of the encoder, as that of `nn.inpainter.Inpainter`
    stride = STRIDE

    def setup(self) -> None:
        """The encoder and the perceptron."""
        self.source = Encoder(scaled(SOURCE_WIDTHS, self.width), self.axis_name, self.momentum)
        self.between = nn.Dense(self.hidden) if self.hidden else None
        self.out = nn.Dense(self.outputs)

    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b {self.outputs}"]:
        """The numbers of each cell."""
        features = in_dtype(self.dtype, self._summary, images, mask, train)
        return self.out(features if self.between is None else nn.relu(self.between(features)))

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """As `nn.inpainter.Inpainter.encode`."""
        return pooled(self.source, images, self.dtype)

    def _summary(
        self, images: Float[Array, "b h w c"], mask: Float[Array, " b"] | None, train: bool
    ) -> Float[Array, "b k"]:
        code, _ = self.source(images, mask=mask, train=train)
        return pool.strongest(code)


class ContrastedInpainter(Inpainter):
    """The inpainting network, whose source encoder has a second head while it learns: a few numbers of each cell."""

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

        Args:
            source: every channel of the source cells, in [0, 1].
            target: of the target cells, whose protein only the numbers know.
            mask: 1 for a pair, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.

        Raises:
            ValueError: the images' sides are not multiples of `stride`, or differ between source and target.
        """
        check_sides(source.shape, target.shape, self.stride)
        both, twice = self._cast(jnp.concatenate([source, target])), jnp.tile(mask, 2)
        told = self._tell(both, mask=twice, train=train)
        markers = self._cast(target[..., atlas.STRUCTURE])
        painted = self._paint(told[: len(source)], markers, mask=mask, train=train)
        numbers = self.out(nn.relu(self.between(self._summary(told))))
        return painted.astype(source.dtype), numbers.astype(source.dtype)


class ContrastedVectorInpainter(ContrastedInpainter, VectorInpainter):
    """The same head on the network that paints from one vector, which is what is compared."""
