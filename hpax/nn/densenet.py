"""DenseNet (Huang et al. 2017): every layer sees the maps of all layers before it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolve, glorot_uniform
from hpax.nn.norm import BatchNorm
from hpax.nn.pool import halves, maxima
from hpax.types import Array


class DenseNet(nn.Module):
    """DenseNet-121 by default, as Keras has it: 7,037,504 parameters and moving statistics for three channels."""

    stem: int = 64  # channels before the first block
    growth: int = 32  # channels that each layer appends
    depths: tuple[int, ...] = (6, 12, 24, 16)  # layers of each block; channels and sides are halved between blocks
    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return 2 ** (len(self.depths) + 1)

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b _ _ k"]:
        """The features at each place, 1,024 channels in DenseNet-121.

        Args:
            images: in [0, 1].
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.
        """

        def convolved(x: Array, name: str, features: int, size: int = 1, stride: int = 1) -> Array:
            kernel = self.param(name, glorot_uniform, (size, size, x.shape[-1], features))
            return convolve(x, kernel.astype(x.dtype), stride)

        def activated(x: Array, name: str) -> Array:
            norm = BatchNorm(self.axis_name, self.momentum, epsilon=1.001e-5, name=name)
            return nn.relu(norm(x, mask=mask, train=train))

        x = activated(convolved(images, "stem", self.stem, size=7, stride=2), "stem_norm")
        x = maxima(x, pad=1)
        for block, depth in enumerate(self.depths):
            if block:
                seen = halves(activated(x, f"halve{block}_norm"))
                x = convolved(seen, f"halve{block}", x.shape[-1] // 2)
            for layer in range(depth):
                name = f"block{block}_{layer}"
                seen = convolved(activated(x, f"{name}a_norm"), f"{name}a", 4 * self.growth)
                seen = convolved(activated(seen, f"{name}b_norm"), f"{name}b", self.growth, size=3)
                x = jnp.concatenate([x, seen], axis=-1)
        return activated(x, "norm")
