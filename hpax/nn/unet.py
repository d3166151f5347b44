"""U-Nets that find nuclei and cells: a light one for CPUs, and one with the encoder of HPACellSegmentator.

Both answer with logits (b, h, w, 2), [border, object]: where objects meet, and where there is one.
"""

from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import Conv3x3, glorot_uniform, halve
from hpax.nn.dpn import DualPathEncoder
from hpax.nn.network import Mode, Network
from hpax.types import Array

MAPS = ("border", "object")
"""The order of the maps in the last axis."""


class LightUNet(Network):
    """The U-Net of Ronneberger et al. (2015), made small, on an image whose 2×2 pixels are channels of one.

    No work is done at full resolution: the stem folds every 2×2 pixels into channels, and the head unfolds a logit for
    each of them. Levels halve the sides by maxima; on the way up, every pixel is doubled before it meets its level.

    Raises:
        ValueError: a side of the images is not a multiple of `stride`.
    """

    widths: tuple[int, ...] = (32, 64, 80, 112)  # channels of each level, the first at half the image's resolution

    @property
    def stride(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return 2 ** len(self.widths)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b h w 2"]:
        check_sides(images.shape, self.stride)
        x, levels = fold(images), []
        for level, width in enumerate(self.widths):
            x = halve(x) if level else x
            for place in ("a", "b"):
                name = f"down{level}{place}"
                x = nn.relu(mode.norm(Conv3x3(width, name=name)(x), f"{name}_norm"))
            levels.append(x)
        for level, width in reversed([*enumerate(self.widths)][:-1]):
            doubled = Conv3x3(width, doubled=True, name=f"up{level}")(x)
            met = doubled + Conv3x3(width, name=f"across{level}")(levels[level])
            x = nn.relu(mode.norm(met, f"up{level}_norm"))
        return unfold(nn.Dense(4 * len(MAPS), kernel_init=glorot_uniform, dtype=x.dtype, name="head")(x))


class DualPathUNet(Network):
    """The U-Net with a dual path encoder that won the 2018 Data Science Bowl, and that HPACellSegmentator is.

    DPN-92 by default, and a decoder as wide as the encoder's levels. The decoder has no BatchNorm: each pixel is
    doubled, convolved, and convolved again together with the encoder's level. Meant for accelerators.

    Raises:
        ValueError: a side of the images is not a multiple of `stride`; and see DualPathEncoder.
    """

    stem: int = 64  # for these, see DualPathEncoder
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    growth: tuple[int, ...] = (16, 32, 24, 128)
    depths: tuple[int, ...] = (3, 4, 20, 3)
    bottleneck: int = 96
    groups: int = 32

    @property
    def stride(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return 2 ** (len(self.widths) + 1)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b h w 2"]:
        check_sides(images.shape, self.stride)
        sizes = (self.stem, self.widths, self.growth, self.depths, self.bottleneck, self.groups)
        *levels, x = mode.part(DualPathEncoder, images, *sizes, name="encoder")
        for level, beside in reversed([*enumerate(levels)]):
            width = beside.shape[-1]
            x = nn.relu(Conv3x3(width, doubled=True, name=f"up{level}")(x))
            met = Conv3x3(width, name=f"join{level}")(x) + Conv3x3(width, name=f"across{level}")(beside)
            x = nn.relu(met)
        x = nn.relu(Conv3x3(self.stem, doubled=True, name="full")(x))
        return Conv3x3(len(MAPS), name="head")(x)


def fold(images: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """Every 2×2 pixels as the channels of one pixel, row by row. Sides are even."""
    b, h, w, c = images.shape
    return images.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def unfold(images: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c//4"]:
    """The inverse of `fold`."""
    b, h, w, c = images.shape
    return images.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


def check_sides(shape: tuple[int, ...], stride: int) -> None:
    """Refuses images whose sides do not halve as often as a network needs.

    Raises:
        ValueError: a side is not a positive multiple of `stride`.
    """
    if any(side % stride or not side for side in shape[1:3]):
        fit = tuple(max(1, -(-side // stride)) * stride for side in shape[1:3])
        raise ValueError(f"image sides must be multiples of {stride}, got {shape[1:3]}; pad to {fit}")
