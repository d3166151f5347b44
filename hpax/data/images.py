"""Batches of whole fields with their labels, for networks that see an image at once."""

import numpy as np
from jaxtyping import Float, Float32, Int, UInt

from hpax.data import augment, preprocess
from hpax.data.balance import FieldBatches
from hpax.data.patches import resampled
from hpax.data.pipeline import Share
from hpax.data.source import Fields
from hpax.segment import crops

_ALONE = Share()


class ImageBatches(FieldBatches):
    """Endless batches of whole fields, resized to squares whatever their aspect, augmented by (seed, epoch, place).

    A batch holds this process's rows of `image` (b, s, s, c) float32 in [0, 1] (`preprocess.as_float`), `labels`
    (b, n) float32, `index` (b,) int32, the field's number in the source, and `mask` (b,) float32. An epoch takes every
    field once, or those of greater `weights` more often (`balance.draw`). Its last batch is padded: mask 0, everything
    else 0, index -1.

    Raises:
        ValueError: see `balance.FieldBatches`.
    """

    def __init__(
        self,
        source: Fields,
        batch_size: int,
        *,
        size: int = 256,
        augmentation: augment.Augmentation = augment.GENTLE,
        weights: Float[np.ndarray, " f"] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        share: Share = _ALONE,
        cached: int = 512,  # fields in memory, resized
        threads: int = 1,
    ):
        self.size, self._augmentation = size, augmentation
        drawn = {"weights": weights, "seed": seed, "shuffle": shuffle}
        super().__init__(source, batch_size, **drawn, share=share, cached=cached, threads=threads)

    def _read(self, field: int) -> UInt[np.ndarray, "s s c"]:
        return crops.resize(self._source[field]["image"], self.size)

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        image = preprocess.as_float(self._field(int(plan[place])))
        return {"image": varied(rng, self._augmentation, image, self.size)}


def varied(
    rng: np.random.Generator, augmentation: augment.Augmentation, image: Float32[np.ndarray, "h h c"], size: int
) -> Float32[np.ndarray, "{size} {size} c"]:
    """A square of about `size` pixels anywhere in a square image, zoomed, turned and stained anew, at `size` pixels."""
    side = size * augment.zoom(rng, augmentation)
    corner = tuple(rng.uniform(*sorted((0.0, len(image) - side))) for _ in range(2))
    (turned,) = augment.turn(rng, augmentation, resampled(image, corner, side, size))
    return augment.stain(rng, augmentation, turned)
