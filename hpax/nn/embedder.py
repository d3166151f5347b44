"""The inpainter's source encoder under other heads, so that ways to learn features differ in nothing but the task."""

from flax import linen as nn
from jaxtyping import Float

from hpax.nn.inpainter import DECODER_WIDTHS, SOURCE_WIDTHS, STRIDE, Decoder, Encoder, pooled, scaled
from hpax.types import Array


class Autoencoder(nn.Module):
    """Paints a cell from its own code: the source encoder, and the inpainter's decoder with every channel."""

    channels: int
    width: float = 1.0  # scales the channels of the encoder
    decoder_width: float | None = None  # of the decoder; None: as the encoder
    axis_name: str | None = None
    momentum: float = 0.99
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
        code, _ = self.source(images, mask=mask, train=train)
        return self.decoder(code)

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """As `nn.inpainter.Inpainter.encode`."""
        return pooled(self.source, images)


class Projector(nn.Module):
    """A few numbers of each cell: the source encoder's code, its maximum over space, and a small perceptron."""

    outputs: int  # classes, or the dimensions that cells are compared in
    hidden: int = 0  # of the layer between; 0: none, the outputs are linear in the features
    width: float = 1.0
    axis_name: str | None = None
    momentum: float = 0.99
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
        code, _ = self.source(images, mask=mask, train=train)
        features = code.max((1, 2))
        return self.out(features if self.between is None else nn.relu(self.between(features)))

    def encode(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b k"]]:
        """As `nn.inpainter.Inpainter.encode`."""
        return pooled(self.source, images)
