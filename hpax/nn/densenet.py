"""DenseNet (Huang et al. 2017): every layer sees the maps of all layers before it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolved
from hpax.nn.network import Mode, Network
from hpax.nn.pool import halves, maxima
from hpax.types import Array


class DenseNet(Network):
    """DenseNet-121 by default, as Keras has it: 7,037,504 parameters and moving statistics for three channels.

    Its map has 1,024 channels.
    """

    stem: int = 64  # channels before the first block
    growth: int = 32  # channels that each layer appends
    depths: tuple[int, ...] = (6, 12, 24, 16)  # layers of each block; channels and sides are halved between blocks

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return 2 ** (len(self.depths) + 1)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        def activated(x: Array, name: str) -> Array:
            return nn.relu(mode.norm(x, name, epsilon=1.001e-5))

        x = activated(convolved(self, "stem", images, self.stem, (7, 7), stride=2), "stem_norm")
        x = maxima(x, pad=1)
        for block, depth in enumerate(self.depths):
            if block:
                seen = halves(activated(x, f"halve{block}_norm"))
                x = convolved(self, f"halve{block}", seen, x.shape[-1] // 2)
            for layer in range(depth):
                name = f"block{block}_{layer}"
                seen = convolved(self, f"{name}a", activated(x, f"{name}a_norm"), 4 * self.growth)
                seen = convolved(self, f"{name}b", activated(seen, f"{name}b_norm"), self.growth, (3, 3))
                x = jnp.concatenate([x, seen], axis=-1)
        return activated(x, "norm")
