"""Images as networks see them, the same in training and in prediction: channels, full scale, µm per pixel.

An image is (h, w, channels) of unsigned integers that span their type: its highest value is full scale, whatever the
camera's bits were (`hpax.formats.fields` sees to it). Lengths are in µm, so that one scene is seen alike at 1728, 2048
or 3072 pixels, and nothing is squashed to a square.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt, UInt8
from PIL import Image

from hpax import atlas

LOW, HIGH = 0.01, 0.995  # shares of a channel's pixels that are background at most, and bright at least
FAINTEST = 0.01  # of full scale; a channel of less contrast is not stretched beyond this


def channels(image: UInt[np.ndarray, "h w 4"], names: Sequence[str]) -> UInt[np.ndarray, "h w c"]:
    """The channels of a field by their names in `atlas.CHANNELS`, in this order.

    Raises:
        ValueError: a name is unknown.
    """
    if unknown := [name for name in names if name not in atlas.CHANNELS]:
        raise ValueError(f"channels must be among {', '.join(atlas.CHANNELS)}, got {', '.join(unknown)}; rename them")
    if tuple(names) == atlas.CHANNELS:
        return image
    return image[..., [atlas.CHANNELS.index(name) for name in names]]


def as_float(image: UInt[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Unsigned integers to float32 in [0, 1]: the full scale of the dtype is 1."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def as_bytes(image: UInt[np.ndarray, "*b"]) -> UInt8[np.ndarray, "*b"]:
    """The full scale of the image's dtype becomes 255."""
    full = np.iinfo(image.dtype).max
    return image if full == 255 else np.rint(image * (255 / full)).astype(np.uint8)


def percentile_normalise(
    channel: UInt[np.ndarray, "h w"], *, low: float = LOW, high: float = HIGH, faintest: float = FAINTEST
) -> Float32[np.ndarray, "h w"]:
    """A channel from its `low` to its `high` quantile as 0 to 1; what lies beyond is cut off, a flat channel is 0.

    A few bright or dead pixels change nothing, and adding a constant changes nothing. Multiplying by one changes
    nothing either, but for a channel whose quantiles differ by less than `faintest` of full scale: it stays dim.
    """
    counts = np.bincount(channel.ravel())
    shares = np.cumsum(counts) / max(channel.size, 1)
    bottom, top = np.searchsorted(shares, (low, high))
    extent = max(top - bottom, faintest * np.iinfo(channel.dtype).max)
    levels = np.clip((np.arange(len(counts)) - bottom) / extent, 0, 1)
    return levels.astype(np.float32)[channel]


def resize(image: UInt[np.ndarray, "h w c"], shape: tuple[int, int]) -> UInt[np.ndarray, "{shape[0]} {shape[1]} c"]:
    """An image at `shape` (h, w), each channel averaged (Pillow's antialiased bilinear), in its own dtype."""
    if image.shape[:2] == tuple(shape):
        return image
    resized = []
    for plane in np.moveaxis(image, -1, 0):
        picture = Image.fromarray(plane.astype(np.float32))
        resized.append(np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR)))
    return np.rint(np.stack(resized, axis=-1)).astype(image.dtype)


def nearest(mask: Shaped[np.ndarray, "h w"], shape: tuple[int, int]) -> Shaped[np.ndarray, "{shape[0]} {shape[1]}"]:
    """A mask at `shape` (h, w), each pixel that of the mask under its centre."""
    rows, columns = (
        ((2 * np.arange(new) + 1) * old // (2 * new)).astype(np.intp)
        for new, old in zip(shape, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def shape_at(shape: tuple[int, int], um_per_pixel: float, target: float) -> tuple[int, int]:
    """How many pixels (h, w) an image of `um_per_pixel` has at `target` µm per pixel, at least one along each side.

    Raises:
        ValueError: a pixel size is not positive.
    """
    if not (um_per_pixel > 0 and target > 0):
        told = f"{um_per_pixel} and {target}"
        raise ValueError(f"um_per_pixel must be positive, got {told}; HPA fields have 0.08 at 2048 pixels")
    height, width = (max(1, round(side * um_per_pixel / target)) for side in shape)
    return height, width


def to_um_per_pixel(image: UInt[np.ndarray, "h w c"], um_per_pixel: float, target: float) -> UInt8[np.ndarray, "y x c"]:
    """An image of `um_per_pixel` at `target` µm per pixel, as bytes: what every network is shown."""
    return as_bytes(resize(image, shape_at(image.shape[:2], um_per_pixel, target)))


def padded(image: Shaped[np.ndarray, "h w c"], multiple: int) -> Shaped[np.ndarray, "y x c"]:
    """An image whose sides are multiples of `multiple`: what is added at the bottom and right is the mirror image."""
    height, width = image.shape[:2]
    more = (0, -height % multiple), (0, -width % multiple), (0, 0)
    return np.pad(image, more, mode="symmetric") if more[0][1] or more[1][1] else image


def resized_map(
    plane: Float[np.ndarray, "h w"], shape: tuple[int, int], *, part: tuple[float, float] = (1.0, 1.0)
) -> Float32[np.ndarray, "{shape[0]} {shape[1]}"]:
    """A map at `shape` (h, w), bilinear; of its height and width only the first `part` where that is less than 1."""
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    box = (0, 0, plane.shape[1] * part[1], plane.shape[0] * part[0])
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR, box))
