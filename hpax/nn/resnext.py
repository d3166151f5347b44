"""SE-ResNeXt (Xie et al. 2017; Hu et al. 2018): residual blocks of grouped convolutions that weigh their channels."""

import jax
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import convolve, glorot_uniform
from hpax.nn.norm import BatchNorm
from hpax.nn.pool import maxima
from hpax.types import Array

EPSILON = 1e-5
"""Of BatchNorm, as published."""


class ResNeXt(nn.Module):
    """SE-ResNeXt-50 32×4d by default: 27,559,896 parameters with a classifier of 1,000 classes, as published."""

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
    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps

    @property
    def stride(self) -> int:
        """The pixels between two places of the map; sides need not be multiples of it."""
        return 2 ** (len(self.widths) + 1)

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b _ _ k"]:
        """The features at each place, 2,048 channels in SE-ResNeXt-50.

        Args:
            images: in [0, 1].
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.

        Raises:
            ValueError: the widths do not divide by the groups, or each stage has not both a width and a depth.
        """
        self._check()
        kernel = self.param("stem", glorot_uniform, (7, 7, images.shape[-1], self.stem))
        norm = BatchNorm(self.axis_name, self.momentum, epsilon=EPSILON, name="stem_norm")
        x = nn.relu(norm(convolve(images, kernel.astype(images.dtype), 2), mask=mask, train=train))
        x = maxima(x, pad=1)
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), 1):
            for place in range(depth):
                stride = 2 if stage > 1 and not place else 1
                sizes = (width, self.groups, self.squeeze, stride, self.axis_name, self.momentum)
                x = Block(*sizes, name=f"stage{stage}_{place}")(x, mask=mask, train=train)
        return x

    def _check(self) -> None:
        if len(self.widths) != len(self.depths):
            entries = len(self.widths), len(self.depths)
            raise ValueError(f"widths and depths must have an entry for each stage, got {entries} entries")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"the widths, {self.widths}, must divide by {self.groups} groups; change groups")


class Block(nn.Module):
    """Convolutions 1×1, grouped 3×3 and 1×1, whose channels are weighed and added to the input."""

    width: int
    groups: int
    squeeze: int
    stride: int = 1
    axis_name: str | None = None
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b _ _ k"]:
        """The map after the block, of twice `width` channels."""
        features = 2 * self.width

        def normed(x: Array, name: str, features: int, size: int = 1, stride: int = 1, groups: int = 1) -> Array:
            kernel = self.param(name, glorot_uniform, (size, size, x.shape[-1] // groups, features))
            x = convolve(x, kernel.astype(x.dtype), stride, groups)
            norm = BatchNorm(self.axis_name, self.momentum, epsilon=EPSILON, name=f"{name}_norm")
            return norm(x, mask=mask, train=train)

        kept = x
        if self.stride > 1 or x.shape[-1] != features:
            kept = normed(x, "start", features, stride=self.stride)
        x = nn.relu(normed(x, "narrow", self.width))
        x = nn.relu(normed(x, "grouped", self.width, size=3, stride=self.stride, groups=self.groups))
        x = normed(x, "widen", features)
        weights = nn.relu(nn.Dense(features // self.squeeze, name="squeeze_channels")(x.mean((1, 2))))
        weights = jax.nn.sigmoid(nn.Dense(features, name="excite")(weights))
        return nn.relu(kept + x * weights[:, None, None])
