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

from hpax import images
from hpax.data import augment
from hpax.data.balance import FieldBatches
from hpax.data.field_source import Fields
from hpax.data.image_batches import varied
from hpax.data.pipeline import ProcessShard

TRIES = 100
"""How many places are tried for a cell, as in the published code."""


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


class CopyPasteBatches(FieldBatches):
    """Endless batches of windows of fields or lone cells, with cells of other fields in their empty places.

    A batch holds this process's rows of `image` (b, s, s, c) float32 in [0, 1], `labels` (b, n) float32, the maximum of
    those of all fields in the patch, `index` (b,) int32, the number of the first of them in the source, and `mask`
    (b,) float32. All is drawn by (seed, epoch, place); cells to paste come from the fields that follow in the epoch.
    Fields have the scale of `ImageBatches`; a field smaller than a patch has nothing around it. An epoch takes a
    patch of every field, or more of those of greater `weights` (`balance.draw`). Its last batch is padded: mask 0,
    everything else 0, index -1.

    Raises:
        ValueError: `alone` is no share, or see `balance.FieldBatches`.
    """

    def __init__(
        self,
        source: Fields,
        batch_size: int,
        *,
        um_per_pixel: float,  # as the network sees fields
        size: int = 256,  # pixels of a patch
        alone: float = 0.5,  # share of the patches that begin with one cell in the dark
        pasted: int = 4,  # cells of other fields in a patch, at most
        augmentation: augment.Augmentation = augment.LIGHT,
        weights: Float[np.ndarray, " f"] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        share: ProcessShard | None = None,  # None: that of this process
        cached: int = 512,  # fields in memory, resized
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        self.size, self.um_per_pixel = size, um_per_pixel
        if not 0 <= alone <= 1:
            raise ValueError(f"alone must be a share between 0 and 1, got {alone}")
        self._augmentation, self._alone, self._pasted = augmentation, alone, pasted
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

    def _read(self, field: int) -> Cells:
        own = self.source[field]
        image = images.to_um_per_pixel(own.image, own.um_per_pixel, self.um_per_pixel)
        cells = images.nearest(own.found.cells, image.shape[:2])
        more = [(0, max(0, self.size - side)) for side in cells.shape]
        image, cells = np.pad(image, (*more, (0, 0))), np.pad(cells, more)
        boxes = [(index, box) for index, box in enumerate(ndimage.find_objects(cells), 1) if box]
        return Cells(image, cells, boxes, self.source.labels[field].astype(np.float32))

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        patch = self._base(rng, self.field(int(plan[place])))
        for step in range(1, 1 + int(rng.integers(self._pasted + 1))):
            other = int(plan[(place + step) % self.n])
            cell = cut_out(rng, self.field(other)) if other != plan[place] else None
            patch = paste(rng, patch, self._turned(rng, cell)) if cell else patch
        image = varied(rng, self._augmentation, patch.image, self.size)
        return {"image": image, "labels": patch.labels}

    def _base(self, rng: np.random.Generator, field: Cells) -> Patch:
        """A cell of the field alone, or a window of it where it has none that fits."""
        if rng.random() < self._alone and (cell := cut_out(rng, field)):
            patch = paste(rng, blank(field, self.size), self._turned(rng, cell))
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


def blank(field: Cells, size: int) -> Patch:
    """A square of `size` pixels without anything, in the manner of a field."""
    image = np.zeros((size, size, field.image.shape[-1]), field.image.dtype)
    return Patch(image, np.zeros((size, size), bool), np.zeros_like(field.labels))


def cut_out(rng: np.random.Generator, field: Cells) -> Patch | None:
    """Any cell of a field in its box, 0 around it, with the labels of the field; None if there is no cell."""
    if not field.boxes:
        return None
    index, box = field.boxes[rng.integers(len(field.boxes))]
    own = field.cells[box] == index
    return Patch(field.image[box] * own[..., None], own, field.labels)


def paste(rng: np.random.Generator, patch: Patch, cell: Patch) -> Patch:
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
