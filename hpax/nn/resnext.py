"""SE-ResNeXt (Xie et al. 2017; Hu et al. 2018): residual blocks of grouped convolutions that weigh their channels."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolved
from hpax.nn.network import Mode, Network
from hpax.nn.pool import maxima
from hpax.types import Array

EPSILON = 1e-5
"""Of BatchNorm, as published."""


class ResNeXt(Network):
    """SE-ResNeXt-50 32×4d by default: 27,559,896 parameters with a classifier of 1,000 classes, as published.

    Its map has 2,048 channels.

    Raises:
        ValueError: the widths do not divide by the groups, or each stage has not both a width and a depth.
    """

    stem: int = 64  # channels before the first stage
    widths: tuple[int, ...] = (
        128,
        256,
        512,
        1024,
    )  # of each stage's grouped convolutions; its blocks return twice that
    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage
    groups: int = 32
    squeeze: int = 16  # channels for one that the weights of channels are decided from

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return 2 ** (len(self.widths) + 1)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        self._check()
        x: Array = nn.relu(_normed(self, mode, "stem", images, self.stem, (7, 7), stride=2))
        x = maxima(x, pad=1)
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), 1):
            for place in range(depth):
                stride = 2 if stage > 1 and not place else 1
                sizes = (width, self.groups, self.squeeze, stride)
                x = mode.part(Block, x, *sizes, name=f"stage{stage}_{place}")
        return x

    def _check(self) -> None:
        if len(self.widths) != len(self.depths):
            entries = len(self.widths), len(self.depths)
            raise ValueError(f"widths and depths must have an entry for each stage, got {entries} entries")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"the widths, {self.widths}, must divide by {self.groups} groups; change groups")


class Block(Network):
    """Convolutions 1×1, grouped 3×3 and 1×1, whose channels, twice `width`, are weighed and added to the input."""

    width: int
    groups: int
    squeeze: int
    stride: int = 1

    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        features, normed = 2 * self.width, partial(_normed, self, mode)
        kept = x
        if self.stride > 1 or x.shape[-1] != features:
            kept = normed("start", x, features, stride=self.stride)
        x = nn.relu(normed("narrow", x, self.width))
        x = nn.relu(normed("grouped", x, self.width, (3, 3), stride=self.stride, groups=self.groups))
        x = normed("widen", x, features)
        weights = nn.relu(
            nn.Dense(features // self.squeeze, name="squeeze_channels")(x.mean((1, 2), dtype=jnp.float32))
        )
        weights = jax.nn.sigmoid(nn.Dense(features, name="excite")(weights))
        return nn.relu(kept + (x * weights[:, None, None]).astype(x.dtype))


def _normed(module: nn.Module, mode: Mode, name: str, *args: Any, **options: Any) -> Array:
    return mode.norm(convolved(module, name, *args, **options), f"{name}_norm", epsilon=EPSILON)
