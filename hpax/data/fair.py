"""Patches of the Fair Cell Activation Network: whole fields and lone cells, so that no cell hides behind another.

The winners of the HPA competition trained their image-level networks on a mix of original crops and masked single
cells, with cells of other images pasted into empty places (Le et al. 2022, and the winners' code): a network that sees
only whole fields looks at the most telling cell and passes over the others.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Integer, UInt
from scipy import ndimage

from hpax.data import augment, segmented
from hpax.data.balance import FieldBatches
from hpax.data.images import varied
from hpax.data.pipeline import Share
from hpax.data.source import Fields
from hpax.segment import crops
from hpax.segment.masks import nearest

TRIES = 100
"""How many places are tried for a cell, as in the published code."""

_ALONE = Share()


@dataclasses.dataclass(frozen=True)
class Patch:
    """A picture, which of its pixels belong to a cell, and its labels."""

    image: UInt[np.ndarray, "h w c"]
    occupied: Bool[np.ndarray, "h w"]
    labels: Float32[np.ndarray, " n"]


class Cells(NamedTuple):
    """A field with the boxes of its cells, by their index."""

    image: UInt[np.ndarray, "h w c"]
    cells: Integer[np.ndarray, "h w"]
    boxes: list[tuple[int, tuple[slice, slice]]]
    labels: Float32[np.ndarray, " n"]


class FairBatches(FieldBatches):
    """Endless batches of windows of fields or lone cells, with cells of other fields in their empty places.

    A batch holds this process's rows of `image` (b, s, s, c) float32 in [0, 1], `labels` (b, n) float32, the maximum of
    those of all fields in the patch, `index` (b,) int32, the number of the first of them in the source, and `mask`
    (b,) float32. All is drawn by (seed, epoch, place); cells to paste come from the fields that follow in the epoch.
    Every field is resized to a square first, as in `ImageBatches`, so what both show has one scale. An epoch takes a
    patch of every field, or more of those of greater `weights` (`balance.draw`). Its last batch is padded: mask 0,
    everything else 0, index -1.

    Raises:
        ValueError: `alone` is no share, fields are smaller than patches, or see `balance.FieldBatches`.
    """

    def __init__(
        self,
        source: Fields,
        masks: segmented.MasksOf,
        batch_size: int,
        *,
        size: int = 256,
        field_size: int | None = None,  # pixels of a whole field's side; None: as many as of a patch's
        alone: float = 0.5,  # share of the patches that begin with one cell in the dark
        pasted: int = 4,  # cells of other fields in a patch, at most
        augmentation: augment.Augmentation = augment.GENTLE,
        weights: Float[np.ndarray, " f"] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        share: Share = _ALONE,
        cached: int = 512,  # fields in memory, resized
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        self.size, self.field_size = size, size if field_size is None else field_size
        if not 0 <= alone <= 1:
            raise ValueError(f"alone must be a share between 0 and 1, got {alone}")
        if self.field_size < size:
            raise ValueError(f"field_size must be at least size, got {field_size} and {size}; use smaller patches")
        self._masks, self._augmentation, self._alone, self._pasted = masks, augmentation, alone, pasted
        drawn = {"weights": weights, "seed": seed, "shuffle": shuffle}
        super().__init__(source, batch_size, **drawn, share=share, cached=cached, threads=threads)

    def _read(self, field: int) -> Cells:
        example = self._source[field]
        cells = nearest(self._masks(example).cells, (self.field_size, self.field_size))
        boxes = [(index, box) for index, box in enumerate(ndimage.find_objects(cells), 1) if box]
        labels = self._source.labels[field].astype(np.float32)
        return Cells(crops.as_bytes(crops.resize(example["image"], self.field_size)), cells, boxes, labels)

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        patch = self._base(rng, self._field(int(plan[place])))
        for step in range(1, 1 + int(rng.integers(self._pasted + 1))):
            other = int(plan[(place + step) % self.n])
            cell = lone(rng, self._field(other)) if other != plan[place] else None
            patch = put(rng, patch, self._turned(rng, cell)) if cell else patch
        image = varied(rng, self._augmentation, patch.image, self.size)
        return {"image": image, "labels": patch.labels}

    def _base(self, rng: np.random.Generator, field: Cells) -> Patch:
        """A cell of the field alone, or a window of it where it has none that fits."""
        if rng.random() < self._alone and (cell := lone(rng, field)):
            patch = put(rng, dark(field, self.size), self._turned(rng, cell))
            if patch.occupied.any():
                return patch
        return window(rng, field, self.size)

    def _turned(self, rng: np.random.Generator, cell: Patch) -> Patch:
        image, occupied = augment.turn(rng, self._augmentation, cell.image, cell.occupied)
        return Patch(image, occupied, cell.labels)


def window(rng: np.random.Generator, field: Cells, size: int) -> Patch:
    """A square of `size` pixels anywhere in a field."""
    top, left = (int(rng.integers(side - size + 1)) for side in field.cells.shape)
    there = (slice(top, top + size), slice(left, left + size))
    return Patch(field.image[there], field.cells[there] > 0, field.labels)


def dark(field: Cells, size: int) -> Patch:
    """A square of `size` pixels without anything, in the manner of a field."""
    image = np.zeros((size, size, field.image.shape[-1]), field.image.dtype)
    return Patch(image, np.zeros((size, size), bool), np.zeros_like(field.labels))


def lone(rng: np.random.Generator, field: Cells) -> Patch | None:
    """Any cell of a field in its box, 0 around it, with the labels of the field; None if there is no cell."""
    if not field.boxes:
        return None
    index, box = field.boxes[rng.integers(len(field.boxes))]
    own = field.cells[box] == index
    return Patch(field.image[box] * own[..., None], own, field.labels)


def put(rng: np.random.Generator, patch: Patch, cell: Patch) -> Patch:
    """The patch with a cell at the first of some random places where it covers no other, or as it was if none is found.

    The labels of the cell join those of the patch.
    """
    (height, width), room = cell.occupied.shape, np.subtract(patch.occupied.shape, cell.occupied.shape)
    if (room < 0).any():
        return patch
    for top, left in rng.integers(0, room + 1, (TRIES, 2)):
        there = (slice(top, top + height), slice(left, left + width))
        if not (patch.occupied[there] & cell.occupied).any():
            image, occupied = patch.image.copy(), patch.occupied.copy()
            image[there][cell.occupied] = cell.image[cell.occupied]
            occupied[there] |= cell.occupied
            return Patch(image, occupied, np.maximum(patch.labels, cell.labels))
    return patch
