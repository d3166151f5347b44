"""Dual path networks (Chen et al. 2017): a residual path that is added to beside a dense path that grows."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolved, glorot_uniform
from hpax.nn.network import Mode, Network
from hpax.types import Array


class DualPathEncoder(Network):
    """The encoder of DPN-92, whose 34,979,392 parameters for three channels are those of the published network.

    It answers with what the stem says at half the resolution, and each stage at half that of the one before.

    Raises:
        ValueError: the options describe stages of different number, or groups that do not divide.
    """

    stem: int = 64  # channels at half resolution
    widths: tuple[int, ...] = (256, 512, 1024, 2048)  # of each stage's residual path
    growth: tuple[int, ...] = (16, 32, 24, 128)  # channels that a block of each stage adds to the dense path
    depths: tuple[int, ...] = (3, 4, 20, 3)  # blocks
    bottleneck: int = 96  # channels between the 1×1 convolutions of the first stage; as the widths in the others
    groups: int = 32

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> list[Float[Array, "b _ _ _"]]:
        self._check()
        x = nn.Conv(
            self.stem, (7, 7), 2, 3, use_bias=False, kernel_init=glorot_uniform, dtype=images.dtype, name="stem"
        )(images)
        levels: list[Array] = [nn.relu(mode.norm(x, "stem_norm"))]
        x = nn.max_pool(levels[0], (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (width, growth, depth) in enumerate(zip(self.widths, self.growth, self.depths, strict=True), 1):
            between = self.bottleneck * width // self.widths[0]
            for place in range(1, depth + 1):
                stride = (1 if stage == 1 else 2) if place == 1 else None
                sizes = (width, growth, between, self.groups, stride)
                x = mode.part(DualPathBlock, x, *sizes, name=f"stage{stage}_{place}")
            levels.append(x)
        levels[-1] = nn.relu(mode.norm(x, "last_norm"))
        return levels

    def _check(self) -> None:
        stages = len(self.widths), len(self.growth), len(self.depths)
        if len(set(stages)) > 1:
            raise ValueError(f"widths, growth and depths must have an entry for each stage, got {stages} entries")
        between = [self.bottleneck * width // self.widths[0] for width in self.widths]
        if any(channels % self.groups or not channels for channels in between):
            raise ValueError(f"the stages' bottlenecks, {between}, must divide by {self.groups} groups; change groups")


class DualPathBlock(Network):
    """BatchNorm, ReLU and convolution three times (1×1, grouped 3×3, 1×1): `width` channels are added, others appended.

    The first `width` channels are the residual path, the rest the dense one. With a `stride`, both start anew from a
    1×1 convolution; without, the input goes on as it is.
    """

    width: int
    growth: int
    bottleneck: int
    groups: int
    stride: int | None = None

    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        def layer(name: str, x: Array, *args: Any, **options: Any) -> Array:
            return convolved(self, name, nn.relu(mode.norm(x, f"{name}_norm")), *args, **options)

        strided = self.stride or 1
        kept = x
        if self.stride:
            kept = layer("start", x, self.width + 2 * self.growth, stride=strided)
        x = layer("narrow", x, self.bottleneck)
        x = layer("grouped", x, self.bottleneck, (3, 3), stride=strided, groups=self.groups)
        x = layer("widen", x, self.width + self.growth)
        added = kept[..., : self.width] + x[..., : self.width]
        return jnp.concatenate([added, kept[..., self.width :], x[..., self.width :]], axis=-1)
