"""A small residual network that trains fast on two CPU cores."""

from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import Conv3x3, halve
from hpax.nn.norm import BatchNorm
from hpax.nn.unet import check_sides, fold
from hpax.types import Array


class Plain(nn.Module):
    """3×3 convolutions alone, two at each level, the second of them residual.

    No work is done at full resolution: the stem folds every 2×2 pixels into channels. Each further level halves the
    sides by maxima.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)  # channels of each level, the first at half the image's resolution
    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps

    @property
    def stride(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return 2 ** len(self.widths)

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b _ _ k"]:
        """The features at each place, `stride` pixels apart.

        Args:
            images: in [0, 1].
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages.

        Raises:
            ValueError: a side is not a multiple of `stride`.
        """
        check_sides(images.shape, self.stride)

        def convolved(x: Array, width: int, name: str) -> Array:
            norm = BatchNorm(self.axis_name, self.momentum, name=f"{name}_norm")
            return norm(Conv3x3(width, name=name)(x), mask=mask, train=train)

        x = fold(images)
        for level, width in enumerate(self.widths):
            x = nn.relu(convolved(halve(x) if level else x, width, f"level{level}a"))
            x = nn.relu(x + convolved(x, width, f"level{level}b"))
        return x
