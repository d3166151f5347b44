"""A small residual network that trains fast on two CPU cores."""

from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import Conv3x3, halve
from hpax.nn.network import Mode, Network
from hpax.nn.unet import check_sides, fold
from hpax.types import Array


class Plain(Network):
    """3×3 convolutions alone, two at each level, the second of them residual.

    No work is done at full resolution: the stem folds every 2×2 pixels into channels. Each further level halves the
    sides by maxima.

    Raises:
        ValueError: a side of the images is not a multiple of `stride`.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)  # channels of each level, the first at half the image's resolution

    @property
    def stride(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return 2 ** len(self.widths)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        check_sides(images.shape, self.stride)

        def convolved(x: Array, width: int, name: str) -> Array:
            return mode.norm(Conv3x3(width, name=name)(x), f"{name}_norm")

        x = fold(images)
        for level, width in enumerate(self.widths):
            x = nn.relu(convolved(halve(x) if level else x, width, f"level{level}a"))
            x = nn.relu(x + convolved(x, width, f"level{level}b"))
        return x
