"""Patches as other microscopes, stains and cells would have shown them; randomness comes with the generator."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image
from scipy import ndimage

from hpax import atlas, images


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far a patch may stray from its field; 1 for a factor, or 0 for the others, leaves it as it is.

    A factor f is drawn between 1/f and f by its logarithm. All but `zoom` are drawn for each channel by itself.
    """

    zoom: float = 2.0  # factor of the apparent pixel size, most often near 1
    turn: bool = True  # by quarters, and mirrored
    rotate: bool = False  # by any angle besides; batches of whole fields and of cells alone know it
    gamma: float = 1.8  # factor of the exponent
    gain: float = 1.6  # factor
    offset: float = 0.1  # of full scale, added
    blur: float = 2.0  # pixels, standard deviation at most; half of the channels stay sharp
    noise: float = 0.1  # of full scale, standard deviation at most
    haze: float = 0.6  # of a channel's light, at most, spread widely around it; half of the channels have none
    channel_dropout: float = 0.15  # how often one channel is blank; never the last one, the nuclei
    missing: float = 0.0  # how often a marker of fields (atlas.CHANNELS) is blank: the ER, or the microtubules
    bleed: float = 0.0  # of each channel's light, at most, in each other one; half of the patches have none
    cutout: float = 0.0  # how often a rectangle is blank in all channels; it covers up to a ninth of the patch
    keep_black: bool = False  # what is 0 in all channels stays 0, such as what a mask cuts away

    def __post_init__(self) -> None:
        for name in ("zoom", "gamma", "gain"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a factor and must be at least 1, got {getattr(self, name)}")
        for name in ("offset", "blur", "noise", "haze", "channel_dropout", "missing", "bleed", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def whole(self) -> bool:
        """Whether a window of a field lies on whole pixels: it is neither zoomed nor rotated."""
        return self.zoom == 1 and not self.rotate


STRONG = Augmentation()
"""Enough for networks that learn from other microscopes, or from a simulation, to see real fields."""

LIGHT = Augmentation(zoom=1.2, rotate=True, gamma=1.2, gain=1.2, offset=0, blur=0, noise=0, haze=0, channel_dropout=0)
"""Enough for networks that tell patterns apart, which faint or blurred stains would hide; what is 0 stays 0."""

VARIED = Augmentation(
    zoom=1.4,
    rotate=True,
    gamma=1.8,
    gain=1.6,
    offset=0,
    blur=1,
    noise=0.04,
    haze=0.4,
    channel_dropout=0,
    missing=0.12,
    bleed=0.1,
    cutout=0.25,
    keep_black=True,
)
"""Enough for networks that tell patterns apart in simulated fields or cells to know them in real ones."""

NONE = Augmentation(zoom=1, turn=False, gamma=1, gain=1, offset=0, blur=0, noise=0, haze=0, channel_dropout=0)
"""Patches as they are, for validation."""


def zoom(rng: np.random.Generator, augmentation: Augmentation) -> float:
    """A factor of the pixel size; the logarithm's density falls linearly from that of 1."""
    return float(augmentation.zoom ** rng.triangular(-1, 0, 1))


def angle(rng: np.random.Generator, augmentation: Augmentation) -> float:
    """Radians within an eighth of a turn either way; `turn` adds the quarters."""
    return float(rng.uniform(-np.pi / 4, np.pi / 4)) if augmentation.rotate else 0.0


class Turn(NamedTuple):
    """One of the eight ways to turn and mirror an image: transposed, then upside down, then mirrored.

    As `hpax.ops.mix.turned` does on devices.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def __call__(self, image: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h2 w2 *c"]:
        """An image that way."""
        turned = image.swapaxes(0, 1) if self.transposed else image
        return turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


def turning(rng: np.random.Generator, augmentation: Augmentation) -> Turn:
    """Quarter turns and a mirror, at random."""
    quarters, mirrored = (int(rng.integers(4)), bool(rng.integers(2))) if augmentation.turn else (0, False)
    return Turn(quarters in (1, 3), quarters in (1, 2), (quarters in (2, 3)) != mirrored)


def turn(rng: np.random.Generator, augmentation: Augmentation, *images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Square images (s, s, ...), all turned and mirrored alike, in one of the eight ways."""
    way = turning(rng, augmentation)
    return tuple(way(image) for image in images)


def stain(
    rng: np.random.Generator,
    augmentation: Augmentation,
    patch: Float32[np.ndarray, "s s c"] | UInt8[np.ndarray, "s s c"],
) -> Float32[np.ndarray, "s s c"]:
    """A patch in [0, 1], or in bytes, stained, focused and exposed anew, in [0, 1]."""
    channels = patch.shape[-1]
    blank = int(rng.integers(channels - 1)) if channels > 1 and rng.random() < augmentation.channel_dropout else None
    painted = [_channel(rng, augmentation, patch[..., channel]) for channel in range(channels)]
    if blank is not None:
        painted[blank] = np.zeros_like(painted[blank])
    return _disturbed(rng, augmentation, np.stack(painted, axis=-1), patch)


def _disturbed(
    rng: np.random.Generator, augmentation: Augmentation, patch: Float32[np.ndarray, "s s c"], before: np.ndarray
) -> Float32[np.ndarray, "s s c"]:
    """The patch with light in the wrong channel, without a marker, and with a hole; `before` says what was black."""
    channels = patch.shape[-1]
    if augmentation.bleed and rng.random() < 0.5:
        shares = rng.uniform(0, augmentation.bleed, (channels, channels)).astype(np.float32)
        np.fill_diagonal(shares, 1)
        patch = np.minimum(patch @ shares, 1)
    if augmentation.missing and rng.random() < augmentation.missing and channels == len(atlas.CHANNELS):
        blank = "er" if rng.random() < 2 / 3 else "microtubules"
        patch[..., atlas.CHANNELS.index(blank)] = 0
    if augmentation.cutout and rng.random() < augmentation.cutout:
        patch[_hole(rng, len(patch))] = 0
    return patch * before.any(-1, keepdims=True) if augmentation.keep_black else patch


def _hole(rng: np.random.Generator, side: int) -> tuple[slice, slice]:
    """A rectangle in a square, an eighth to a third of its side high and wide."""
    height, width = rng.integers(max(1, side // 8), max(2, side // 3), 2)
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    return slice(top, top + int(height)), slice(left, left + int(width))


def _channel(rng: np.random.Generator, augmentation: Augmentation, plane: np.ndarray) -> Float32[np.ndarray, "s s"]:
    gamma, gain = (factor ** rng.uniform(-1, 1) for factor in (augmentation.gamma, augmentation.gain))
    offset = rng.uniform(-1, 1) * augmentation.offset
    blur, noise = max(0, rng.uniform(-1, 1)) * augmentation.blur, rng.random() ** 2 * augmentation.noise
    haze = max(0, rng.uniform(-1, 1)) * augmentation.haze if augmentation.haze else 0
    exposure = _Exposure(gamma, gain, offset, blur, noise, haze)
    if plane.dtype != np.uint8:
        return exposure(rng, plane)
    by_level = not (haze or blur or noise)  # a pixel's own level decides
    return exposure(rng, _LEVELS)[plane] if by_level else exposure(rng, images.as_float(plane))


@dataclasses.dataclass(frozen=True)
class _Exposure:
    """How a channel is stained, focused and exposed anew."""

    gamma: float
    gain: float
    offset: float
    blur: float  # pixels
    noise: float
    haze: float

    def __call__(self, rng: np.random.Generator, plane: np.ndarray) -> np.ndarray:
        """The channel, in [0, 1]."""
        plane = plane**self.gamma if self.gamma != 1 else plane
        plane = plane + self.haze * _spread(plane, rng.uniform(0.04, 0.16) * len(plane)) if self.haze else plane
        plane = ndimage.gaussian_filter(plane, self.blur) if self.blur else plane
        plane = self.gain * plane + self.offset
        plane = plane + self.noise * rng.standard_normal(plane.shape, np.float32) if self.noise else plane
        return np.clip(plane, 0, 1, dtype=np.float32)


_LEVELS = images.as_float(np.arange(256, dtype=np.uint8))


def _spread(plane: Float32[np.ndarray, "s s"], reach: float) -> Float32[np.ndarray, "s s"]:
    """Light from far out of focus: a Gaussian of `reach` pixels, computed at an eighth of the size."""
    side = len(plane)
    coarse = Image.fromarray(plane).resize((max(1, side // 8),) * 2, Image.Resampling.BOX)
    blurred = ndimage.gaussian_filter(np.asarray(coarse), reach / 8, mode="reflect")
    return np.asarray(Image.fromarray(blurred).resize((side, side), Image.Resampling.BILINEAR))
