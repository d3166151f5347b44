"""Patches as other microscopes, stains and cells would have shown them; randomness comes with the generator."""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage

from hpax import images


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

    def __post_init__(self) -> None:
        for name in ("zoom", "gamma", "gain"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a factor and must be at least 1, got {getattr(self, name)}")
        for name in ("offset", "blur", "noise", "haze", "channel_dropout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


STRONG = Augmentation()
"""Enough for networks that learn from other microscopes, or from a simulation, to see real fields."""

LIGHT = Augmentation(zoom=1.2, rotate=True, gamma=1.2, gain=1.2, offset=0, blur=0, noise=0, haze=0, channel_dropout=0)
"""Enough for networks that tell patterns apart, which faint or blurred stains would hide; what is 0 stays 0."""

NONE = Augmentation(zoom=1, turn=False, gamma=1, gain=1, offset=0, blur=0, noise=0, haze=0, channel_dropout=0)
"""Patches as they are, for validation."""


def zoom(rng: np.random.Generator, augmentation: Augmentation) -> float:
    """A factor of the pixel size; the logarithm's density falls linearly from that of 1."""
    return float(augmentation.zoom ** rng.triangular(-1, 0, 1))


def angle(rng: np.random.Generator, augmentation: Augmentation) -> float:
    """Radians within an eighth of a turn either way; `turn` adds the quarters."""
    return float(rng.uniform(-np.pi / 4, np.pi / 4)) if augmentation.rotate else 0.0


def turn(rng: np.random.Generator, augmentation: Augmentation, *images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Square images (s, s, ...), all turned and mirrored alike, in one of the eight ways."""
    quarters, mirrored = (int(rng.integers(4)), bool(rng.integers(2))) if augmentation.turn else (0, False)
    turned = (np.rot90(image, quarters) for image in images)
    return tuple(image[:, ::-1] if mirrored else image for image in turned)


def stain(
    rng: np.random.Generator,
    augmentation: Augmentation,
    patch: Float32[np.ndarray, "s s c"] | UInt8[np.ndarray, "s s c"],
) -> Float32[np.ndarray, "s s c"]:
    """A patch in [0, 1], or in bytes, stained, focused and exposed anew, in [0, 1]."""
    channels = patch.shape[-1]
    channel_dropout = (
        int(rng.integers(channels - 1)) if channels > 1 and rng.random() < augmentation.channel_dropout else None
    )
    painted = [_channel(rng, augmentation, patch[..., channel]) for channel in range(channels)]
    return np.stack(
        [plane if index != channel_dropout else np.zeros_like(plane) for index, plane in enumerate(painted)], axis=-1
    )


def _channel(rng: np.random.Generator, augmentation: Augmentation, plane: np.ndarray) -> Float32[np.ndarray, "s s"]:
    gamma, gain = (factor ** rng.uniform(-1, 1) for factor in (augmentation.gamma, augmentation.gain))
    offset = rng.uniform(-1, 1) * augmentation.offset
    blur, noise = max(0, rng.uniform(-1, 1)) * augmentation.blur, rng.random() ** 2 * augmentation.noise
    haze = max(0, rng.uniform(-1, 1)) * augmentation.haze if augmentation.haze else 0

    def exposed(plane: np.ndarray) -> np.ndarray:
        plane = plane**gamma if gamma != 1 else plane
        plane = plane + haze * _spread(plane, rng.uniform(0.04, 0.16) * len(plane)) if haze else plane
        plane = ndimage.gaussian_filter(plane, blur) if blur else plane
        plane = gain * plane + offset
        plane = plane + noise * rng.standard_normal(plane.shape, np.float32) if noise else plane
        return np.clip(plane, 0, 1, dtype=np.float32)

    if plane.dtype != np.uint8:
        return exposed(plane)
    by_level = not (haze or blur or noise)  # a pixel's own level decides
    return exposed(_LEVELS)[plane] if by_level else exposed(images.as_float(plane))


_LEVELS = images.as_float(np.arange(256, dtype=np.uint8))


def _spread(plane: Float32[np.ndarray, "s s"], reach: float) -> Float32[np.ndarray, "s s"]:
    """Light from far out of focus: a Gaussian of `reach` pixels, computed at an eighth of the size."""
    side = len(plane)
    coarse = Image.fromarray(plane).resize((max(1, side // 8),) * 2, Image.Resampling.BOX)
    blurred = ndimage.gaussian_filter(np.asarray(coarse), reach / 8, mode="reflect")
    return np.asarray(Image.fromarray(blurred).resize((side, side), Image.Resampling.BILINEAR))
