"""VGG16 (Simonyan & Zisserman 2015), as far as its last convolution: what transfer learning takes features from."""

import jax
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of each block; a block begins at half the resolution of the one before."""

LAYERS = tuple(
    f"block{block}_conv{layer}" for block, widths in enumerate(WIDTHS, start=1) for layer in range(1, len(widths) + 1)
)
"""The convolutions, by the names that Keras gave them."""


class Vgg16(nn.Module):
    """3×3 convolutions with ReLU, halved by maxima between blocks; no normalisation."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of the pictures that it learnt from
    stride = 2 ** (len(WIDTHS) - 1)

    @nn.compact
    def __call__(self, pictures: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b k"]]:
        """The maximum over space of each convolution after its ReLU, of pictures (red, green, blue) in [0, 1]."""
        x = pictures - jax.numpy.asarray(self.mean, pictures.dtype)
        strongest: dict[str, Array] = {}
        for block, widths in enumerate(WIDTHS, start=1):
            for layer, width in enumerate(widths, start=1):
                name = f"block{block}_conv{layer}"
                x = nn.relu(nn.Conv(width, (3, 3), name=name)(x))
                strongest[name] = x.max((1, 2))
            if block < len(WIDTHS):
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return strongest
