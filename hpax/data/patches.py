"""Batches of patches for training segmentation networks: fields with index masks in, images and maps out."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int, Integer
from PIL import Image

from hpax import atlas
from hpax.data import augment, targets
from hpax.data.pipeline import Epochs, HostBatch, ProcessShard
from hpax.data.source import Source
from hpax.images import percentile_normalise

UM_PER_PIXEL = 0.32
"""At which the networks work; a quarter of the HPA's resolution, as HPACellSegmentator does."""

NUCLEUS = (atlas.CHANNELS.index("nucleus"),)
CELL = tuple(atlas.CHANNELS.index(name) for name in ("microtubules", "er", "nucleus"))
"""What the network of the nuclei and that of the cells see, in their order."""


@dataclasses.dataclass(frozen=True)
class View:
    """A source of fields as a network sees it: `image` (h, w, c), an index mask and `um_per_pixel` in each example."""

    source: Source
    mask: str  # the example's index mask: "nuclei" or "cells"
    channels: tuple[int, ...]  # of the image
    weight: float = 1.0  # of its fields among those of all views

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be positive, got {self.weight}; leave the view out instead")


Field = tuple[Float32[np.ndarray, "h w c"], Integer[np.ndarray, "h w"], float]


class PatchBatches(Epochs):
    """Endless batches of patches of fields, whichever part of a field and however augmented by (seed, epoch, place).

    A batch holds this process's rows of `image` (b, s, s, c) float32 in [0, 1], each channel stretched over its field
    (`segment.normalise`), `maps` (b, s, s, 2) float32 as in `data.targets`, `valid` (b, s, s) float32, `index` (b,)
    int32, the field's number through all views, and `mask` (b,) float32. Where a field is smaller than a patch, its
    mirror image surrounds it and `valid` is 0. The last batch of an epoch is padded: mask 0, everything else 0, index
    -1. With one view, an epoch of the default length takes one patch of each field.

    Raises:
        ValueError: no view, views of different channel counts, or `batch_size` does not divide (`ProcessShard.rows`).
    """

    def __init__(
        self,
        views: Sequence[View],
        batch_size: int,
        *,
        size: int = 256,
        um_per_pixel: float = UM_PER_PIXEL,
        augmentation: augment.Augmentation = augment.STRONG,
        patches: int | None = None,  # in an epoch; None: as many as fields
        seed: int = 0,
        shuffle: bool = True,
        share: ProcessShard | None = None,  # None: that of this process
        cached: int = 128,  # fields in memory
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        if not views or len({len(view.channels) for view in views}) > 1:
            raise ValueError(f"views must show one number of channels, got {[view.channels for view in views]}")
        self._views, self._augmentation, self._seed, self._shuffle = tuple(views), augmentation, seed, shuffle
        self._first = np.cumsum([0, *(len(view.source) for view in views)])
        self.size, self.um_per_pixel = size, um_per_pixel
        super().__init__(int(self._first[-1]) if patches is None else patches, batch_size, share=share, threads=threads)
        self._plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self._field = functools.lru_cache(maxsize=cached)(self._read)

    def _fill(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch:
        fields = self._plan(epoch)[places]
        shape = (len(places), self.size, self.size)
        images = np.zeros((*shape, len(self._views[0].channels)), np.float32)
        maps, valid = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
        for row, (place, field) in enumerate(zip(places, fields, strict=True)):
            rng = np.random.default_rng((self._seed, epoch, place))
            images[row], maps[row], valid[row] = self._patch(rng, int(field))
        return {"image": images, "maps": maps, "valid": valid, "index": fields}

    def _make_plan(self, epoch: int) -> Int[np.ndarray, " n"]:
        """The field behind each patch of an epoch, numbered through all views."""
        rng = np.random.default_rng((self._seed, epoch))
        weights = np.cumsum([0.0, *(view.weight for view in self._views)])
        counts = np.diff(np.rint(self.n * weights / weights[-1]).astype(int))
        sizes = np.diff(self._first).tolist()
        drawn = [first + self._cycle(rng, *n) for first, *n in zip(self._first, sizes, counts.tolist(), strict=False)]
        fields = np.concatenate(drawn)
        return rng.permutation(fields) if self._shuffle else fields

    def _cycle(self, rng: np.random.Generator, size: int, count: int) -> Int[np.ndarray, " {count}"]:
        """`count` of `size` fields, none again before all others came."""
        rounds = range(-(-count // size))
        whole = [rng.permutation(size) if self._shuffle else np.arange(size) for _ in rounds]
        return np.concatenate([*whole, np.zeros(0, int)])[:count]

    def _read(self, field: int) -> Field:
        number = int(np.searchsorted(self._first, field, side="right")) - 1
        view = self._views[number]
        example = view.source[field - int(self._first[number])]
        image = np.stack([percentile_normalise(example["image"][..., channel]) for channel in view.channels], axis=-1)
        return image, example[view.mask], float(example["um_per_pixel"])

    def _patch(self, rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image, mask, um_per_pixel = self._field(number)
        side = self.size * self.um_per_pixel * augment.zoom(rng, self._augmentation) / um_per_pixel
        corner = tuple(rng.uniform(*sorted((0.0, extent - side))) for extent in mask.shape)
        patch, objects, valid = window_of(image, mask, corner, side, self.size)
        patch, objects, valid = augment.turn(rng, self._augmentation, patch, objects, valid)
        return augment.stain(rng, self._augmentation, patch), targets.maps(objects, self.um_per_pixel), valid


def window_of(
    image: Float32[np.ndarray, "h w c"],
    mask: Integer[np.ndarray, "h w"],
    corner: tuple[float, float],
    side: float,
    size: int,
) -> tuple[Float32[np.ndarray, "s s c"], Integer[np.ndarray, "s s"], Float32[np.ndarray, "s s"]]:
    """The square of `side` pixels from `corner` (y, x) at `size` pixels: image (averaged), mask (nearest), validity.

    Corner and side may be fractions. Beyond the edge lies the field's mirror image, and validity is 0 instead of 1.
    """
    y, x = (np.floor(first + (np.arange(size) + 0.5) * side / size).astype(int) for first in corner)
    valid = ((y >= 0) & (y < mask.shape[0]))[:, None] & ((x >= 0) & (x < mask.shape[1]))
    objects = mask[np.ix_(_mirrored(y, mask.shape[0]), _mirrored(x, mask.shape[1]))]
    return resampled(image, corner, side, size), objects, valid.astype(np.float32)


def resampled(
    image: Float32[np.ndarray, "h w c"], corner: tuple[float, float], side: float, size: int
) -> Float32[np.ndarray, "s s c"]:
    """The square of `side` pixels from `corner` (y, x) at `size` pixels, averaged; beyond the edge lies its mirror."""
    start = [int(np.floor(first)) for first in corner]
    stop = [int(np.ceil(first + side)) for first in corner]
    rows, columns = (_mirrored(np.arange(*ends), n) for *ends, n in zip(start, stop, image.shape[:2], strict=True))
    region, offset = image[np.ix_(rows, columns)], [first - floor for first, floor in zip(corner, start, strict=True)]
    box = (offset[1], offset[0], min(offset[1] + side, len(columns)), min(offset[0] + side, len(rows)))
    planes = (Image.fromarray(np.ascontiguousarray(region[..., c])) for c in range(image.shape[-1]))
    resized = [np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR, box=box)) for plane in planes]
    return np.stack(resized, axis=-1)


def _mirrored(index: Int[np.ndarray, " n"], extent: int) -> Int[np.ndarray, " n"]:
    """Where an index beyond 0..extent-1 is found in an image repeated by mirrors."""
    place = index % (2 * extent)
    return np.minimum(place, 2 * extent - 1 - place)
