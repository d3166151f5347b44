"""Dual path networks (Chen et al. 2017): a residual path that is added to beside a dense path that grows."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolve, glorot_uniform
from hpax.nn.norm import BatchNorm
from hpax.types import Array


class DualPathEncoder(nn.Module):
    """The encoder of DPN-92, whose 34,979,392 parameters for three channels are those of the published network."""

    stem: int = 64  # channels at half resolution
    widths: tuple[int, ...] = (256, 512, 1024, 2048)  # of each stage's residual path
    growth: tuple[int, ...] = (16, 32, 24, 128)  # channels that a block of each stage adds to the dense path
    depths: tuple[int, ...] = (3, 4, 20, 3)  # blocks
    bottleneck: int = 96  # channels between the 1×1 convolutions of the first stage; as the widths in the others
    groups: int = 32
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> list[Float[Array, "b _ _ _"]]:
        """What the stem says at half the resolution, and each stage at half that of the one before.

        Raises:
            ValueError: the options describe stages of different number, or groups that do not divide.
        """
        self._check()
        norm = partial(BatchNorm, self.axis_name, self.momentum)
        x = nn.Conv(self.stem, (7, 7), 2, 3, use_bias=False, kernel_init=glorot_uniform, name="stem")(images)
        levels = [nn.relu(norm(name="stem_norm")(x, mask=mask, train=train))]
        x = nn.max_pool(levels[0], (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (width, growth, depth) in enumerate(zip(self.widths, self.growth, self.depths, strict=True), 1):
            between = self.bottleneck * width // self.widths[0]
            for place in range(1, depth + 1):
                stride = (1 if stage == 1 else 2) if place == 1 else None
                options = (width, growth, between, self.groups, stride, self.axis_name, self.momentum)
                x = DualPathBlock(*options, name=f"stage{stage}_{place}")(x, mask=mask, train=train)
            levels.append(x)
        levels[-1] = nn.relu(norm(name="last_norm")(x, mask=mask, train=train))
        return levels

    def _check(self) -> None:
        stages = len(self.widths), len(self.growth), len(self.depths)
        if len(set(stages)) > 1:
            raise ValueError(f"widths, growth and depths must have an entry for each stage, got {stages} entries")
        between = [self.bottleneck * width // self.widths[0] for width in self.widths]
        if any(channels % self.groups or not channels for channels in between):
            raise ValueError(f"the stages' bottlenecks, {between}, must divide by {self.groups} groups; change groups")


class DualPathBlock(nn.Module):
    """BatchNorm, ReLU and convolution three times (1×1, grouped 3×3, 1×1): `width` channels are added, others appended.

    The first `width` channels are the residual path, the rest the dense one. With a `stride`, both start anew from a
    1×1 convolution; without, the input goes on as it is.
    """

    width: int
    growth: int
    bottleneck: int
    groups: int
    stride: int | None = None
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b _ _ k"]:
        """The two paths after the block, side by side."""

        def normed(x: Array, name: str) -> Array:
            return nn.relu(BatchNorm(self.axis_name, self.momentum, name=f"{name}_norm")(x, mask=mask, train=train))

        def convolved(x: Array, name: str, features: int, size: int = 1, stride: int = 1, groups: int = 1) -> Array:
            shape = (size, size, x.shape[-1] // groups, features)
            kernel = self.param(name, glorot_uniform, shape)
            return convolve(normed(x, name), kernel, stride, groups)

        strided = self.stride or 1
        kept = x
        if self.stride:
            kept = convolved(x, "start", self.width + 2 * self.growth, stride=strided)
        x = convolved(x, "narrow", self.bottleneck)
        x = convolved(x, "grouped", self.bottleneck, size=3, stride=strided, groups=self.groups)
        x = convolved(x, "widen", self.width + self.growth)
        added = kept[..., : self.width] + x[..., : self.width]
        return jnp.concatenate([added, kept[..., self.width :], x[..., self.width :]], axis=-1)
