"""The source encoder of paired cell inpainting as a backbone, for other tasks to learn from what its features know."""

import jax.numpy as jnp
from jaxtyping import Float

from hpax.nn.inpainter import SOURCE_WIDTHS, STRIDE, Encoder, scaled
from hpax.nn.network import Mode, Network
from hpax.ops import stretch
from hpax.types import Array


class SourceEncoder(Network):
    """The maxima over space of every layer, side by side, as a map of one place; cells are stretched as human ones are.

    Its encoder is `source`, as an inpainting network's is, so that one may be grafted there.
    """

    width: float = 1.0  # scales the channels of every layer
    stride = STRIDE

    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b 1 1 k"]:
        encoder = Encoder(scaled(SOURCE_WIDTHS, self.width), mode.axis_name, mode.momentum, name="source")
        _, layers = encoder(stretch.human(x), mask=mode.mask, train=mode.train)
        return jnp.concatenate([layer.max((1, 2), keepdims=True) for layer in layers.values()], -1)
