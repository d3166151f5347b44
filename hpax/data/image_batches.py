"""Batches of whole fields with their labels, for networks that see an image at once."""

import math

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from hpax import images
from hpax.data import augment
from hpax.data.balance import FieldBatches
from hpax.data.field_source import Fields
from hpax.data.pipeline import ProcessShard


class ImageBatches(FieldBatches):
    """Endless batches of fields at one pixel size, a square window of each, augmented by (seed, epoch, place).

    A batch holds this process's rows of `image` (b, s, s, c) float32 in [0, 1] (of bytes, whatever the field's dtype),
    `labels` (b, n) float32, `index` (b,) int32, the field's number in the source, and `mask` (b,) float32. An epoch
    takes every field once, or those of greater `weights` more often (`balance.draw`). Its last batch is padded: mask 0,
    everything else 0, index -1.

    Raises:
        ValueError: see `balance.FieldBatches`.
    """

    def __init__(
        self,
        source: Fields,
        batch_size: int,
        *,
        um_per_pixel: float,  # as the network sees them
        size: int = 256,  # pixels of the window; beyond the edge of a smaller field lies its mirror image
        augmentation: augment.Augmentation = augment.LIGHT,
        weights: Float[np.ndarray, " f"] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        share: ProcessShard | None = None,  # None: that of this process
        cached: int = 512,  # fields in memory, resized
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        self.size, self.um_per_pixel, self.augmentation = size, um_per_pixel, augmentation
        super().__init__(
            source,
            batch_size,
            weights=weights,
            seed=seed,
            shuffle=shuffle,
            share=share,
            cached=cached,
            threads=threads,
        )

    def _read(self, field: int) -> UInt8[np.ndarray, "h w c"]:
        own = self.source[field]
        return images.to_um_per_pixel(own.image, own.um_per_pixel, self.um_per_pixel)

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        return {"image": varied(rng, self.augmentation, self.field(int(plan[place])), self.size)}


def varied(
    rng: np.random.Generator, augmentation: augment.Augmentation, image: UInt8[np.ndarray, "h w c"], size: int
) -> Float32[np.ndarray, "{size} {size} c"]:
    """A square of about `size` pixels anywhere in an image, zoomed, turned and stained anew, at `size` pixels."""
    middle, side = window(rng, augmentation, image.shape[:2], size)
    seen = square(image, middle, side, augment.angle(rng, augmentation), size)
    (turned,) = augment.turn(rng, augmentation, seen)
    return augment.stain(rng, augmentation, turned)


def window(
    rng: np.random.Generator, augmentation: augment.Augmentation, extent: tuple[int, int], size: int
) -> tuple[tuple[float, float], float]:
    """The middle (y, x) and the side of a square of about `size` pixels anywhere in an image of `extent` (h, w).

    On whole pixels where nothing else moves them, so that what is to be left as it is is not interpolated.
    """
    side = size * augment.zoom(rng, augmentation)
    middle = []
    for pixels in extent:
        low, high = sorted((side / 2, pixels - side / 2))
        middle.append(
            low + math.floor(rng.uniform(0, high - low + 1)) if augmentation.whole else rng.uniform(low, high)
        )
    return (middle[0], middle[1]), side


def square(
    image: UInt8[np.ndarray, "h w c"], middle: tuple[float, float], side: float, angle: float, size: int
) -> UInt8[np.ndarray, "{size} {size} c"]:
    """The square of `side` pixels around `middle` (y, x), turned by `angle` (radians), at `size` pixels.

    Interpolated, not averaged, so for a `side` near `size`. Beyond the edge lies the mirror image.
    """
    (h, w, channels), (y, x) = image.shape, middle
    cos, sin = side * math.cos(angle), side * math.sin(angle)
    reach = (abs(cos) + abs(sin)) / 2
    beyond = max(0, math.ceil(max(reach - y, reach - x, reach + y - h, reach + x - w)))
    padded = np.pad(image, ((beyond, beyond), (beyond, beyond), (0, 0)), "symmetric") if beyond else image
    across = (cos / size, -sin / size, x + beyond - (cos - sin) / 2)
    down = (sin / size, cos / size, y + beyond - (sin + cos) / 2)
    mode, lots = (_FOUR, [padded]) if channels == len(_FOUR) else ("L", np.split(padded, channels, axis=2))
    seen = []
    for lot in lots:
        picture = Image.frombytes(mode, lot.shape[1::-1], lot.tobytes())
        turned = picture.transform((size, size), Image.Transform.AFFINE, across + down, Image.Resampling.BILINEAR)
        seen.append(np.asarray(turned))
    return np.dstack(seen)


_FOUR = "CMYK"
"""Pillow's name of four channels that are alike; the last one of RGBA would weigh the others."""
