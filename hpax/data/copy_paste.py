"""Patches of the Fair Cell Activation Network: whole fields and lone cells, so that no cell hides behind another.

The winners of the HPA competition trained their image-level networks on a mix of original crops and masked single
cells, with cells of other images pasted into empty places (Le et al. 2022, and the winners' code): a network that sees
only whole fields looks at the most telling cell and passes over the others.

What lies where in a patch is drawn from the masks of fields alone; whoever has the pixels lays them there.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8
from scipy import ndimage

from hpax import images
from hpax.data import augment
from hpax.data.balance import FieldBatches
from hpax.data.field_source import Fields
from hpax.data.image_batches import varied
from hpax.data.pipeline import ProcessShard

TRIES = 100
"""How many places are tried for a cell, as in the published code."""

PROBES = 48
"""Pixels of a cell that are looked at in all places before all of them are in one."""

Box = tuple[slice, slice]


class Cell(NamedTuple):
    """A cell of a field."""

    number: int  # its index in the mask
    box: Box
    bits: UInt8[np.ndarray, "h w8"]  # which pixels of the box are its own

    @property
    def own(self) -> Bool[np.ndarray, "h w"]:
        """Which pixels of the box are its own."""
        columns = self.box[1]
        return np.unpackbits(self.bits, axis=1, count=columns.stop - columns.start).astype(bool)


class Layout(NamedTuple):
    """Where the cells of a field are, in few bytes: whoever draws patches of all fields keeps all of them."""

    shape: tuple[int, int]
    bits: UInt8[np.ndarray, "h w8"]  # which pixels belong to a cell
    cells: list[Cell]

    @classmethod
    def of(cls, mask: Integer[np.ndarray, "h w"]) -> "Layout":
        """That of an index mask."""
        cells = []
        for index, box in enumerate(ndimage.find_objects(mask), 1):
            if box:
                cells.append(Cell(index, box, np.packbits(mask[box] == index, axis=1)))
        return cls(mask.shape, np.packbits(mask > 0, axis=1), cells)

    def occupied(self, box: Box) -> Bool[np.ndarray, "h w"]:
        """Which pixels of a box belong to a cell."""
        rows, columns = box
        return np.unpackbits(self.bits[rows], axis=1, count=columns.stop)[:, columns].astype(bool)


class Masked(NamedTuple):
    """A field and its cells."""

    image: UInt8[np.ndarray, "h w c"]
    mask: Integer[np.ndarray, "h w"]
    layout: Layout


class Piece(NamedTuple):
    """A part of a field as it lies in a patch: one of its cells, or all that a box shows."""

    field: int  # its number in the source
    cell: int  # its index; 0 for all
    box: Box  # in the field
    turn: augment.Turn
    there: Box  # in the patch
    occupied: Bool[np.ndarray, "h w"]  # which pixels of `there` belong to a cell

    def lay(self, patch: UInt8[np.ndarray, "s s c"], image: UInt8[np.ndarray, "h w c"]) -> None:
        """Puts its pixels of the field's `image` into a patch."""
        shown = self.turn(image[self.box])
        patch[self.there] = np.where(self.occupied[..., None], shown, patch[self.there]) if self.cell else shown


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
        self.size, self.um_per_pixel, self.augmentation, self.pasted = size, um_per_pixel, augmentation, pasted
        if not 0 <= alone <= 1:
            raise ValueError(f"alone must be a share between 0 and 1, got {alone}")
        self._alone = alone
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

    def _read(self, field: int) -> Masked:
        own = self.source[field]
        image = images.to_um_per_pixel(own.image, own.um_per_pixel, self.um_per_pixel)
        mask = images.nearest(own.found.cells, image.shape[:2])
        more = [(0, max(0, self.size - side)) for side in mask.shape]
        image, mask = np.pad(image, (*more, (0, 0))), np.pad(mask, more)
        return Masked(image, mask, Layout.of(mask))

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        pieces = self.pieces(rng, plan, place, lambda field: self.field(field).layout)
        channels = self.field(pieces[0].field).image.shape[-1]
        patch = np.zeros((self.size, self.size, channels), np.uint8)
        for piece in pieces:
            piece.lay(patch, self.field(piece.field).image)
        return {"image": varied(rng, self.augmentation, patch, self.size), "labels": self.labels(pieces)}

    def pieces(
        self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int, layout: Callable[[int], Layout]
    ) -> list[Piece]:
        """What lies in the patch at a place of an epoch's plan, `1 + pasted` pieces at most; the first of its field."""
        own = int(plan[place])
        occupied = np.zeros((self.size, self.size), bool)
        base = lone(rng, self.augmentation, own, layout(own), occupied) if rng.random() < self._alone else None
        if base is None:
            base = window(rng, own, layout(own), self.size)
        found = [base]
        occupied[base.there] |= base.occupied
        for step in range(1, 1 + int(rng.integers(self.pasted + 1))):
            other = int(plan[(place + step) % self.n])
            pasted = lone(rng, self.augmentation, other, layout(other), occupied) if other != own else None
            if pasted is not None:
                found.append(pasted)
                occupied[pasted.there] |= pasted.occupied
        return found

    def labels(self, pieces: list[Piece]) -> Float[np.ndarray, " n"]:
        """The maximum of the labels of the fields in a patch."""
        return self.source.labels[[piece.field for piece in pieces]].max(0).astype(np.float32)


def window(rng: np.random.Generator, field: int, layout: Layout, size: int) -> Piece:
    """A square of `size` pixels anywhere in a field, as a whole patch."""
    top, left = (int(rng.integers(side - size + 1)) for side in layout.shape)
    box = (slice(top, top + size), slice(left, left + size))
    return Piece(field, 0, box, augment.Turn(), (slice(0, size), slice(0, size)), layout.occupied(box))


def lone(
    rng: np.random.Generator,
    augmentation: augment.Augmentation,
    field: int,
    layout: Layout,
    occupied: Bool[np.ndarray, "s s"],
) -> Piece | None:
    """Any cell of a field, turned, at the first of some random places in a patch where it covers nothing occupied.

    None: the field has no cell, or there is no such place.
    """
    if not layout.cells:
        return None
    cell = layout.cells[rng.integers(len(layout.cells))]
    turn = augment.turning(rng, augmentation)
    own = turn(cell.own)
    (height, width), room = own.shape, np.subtract(occupied.shape, own.shape)
    if (room < 0).any():
        return None
    place = first_free(occupied, own, rng.integers(0, room + 1, (TRIES, 2)))
    if place is None:
        return None
    there = (slice(place[0], place[0] + height), slice(place[1], place[1] + width))
    return Piece(field, cell.number, cell.box, turn, there, own)


def first_free(
    occupied: Bool[np.ndarray, "s s"], own: Bool[np.ndarray, "h w"], places: Int[np.ndarray, "n 2"]
) -> tuple[int, int] | None:
    """The first of some places, (top, left), where a cell covers nothing occupied; None if there is none.

    Most places in a full patch are told to be taken by a few pixels of the cell, in all places at once.
    """
    rows, columns = (axis[:: max(1, len(axis) // PROBES)] for axis in np.nonzero(own))
    taken = occupied[places[:, :1] + rows, places[:, 1:] + columns].any(1)
    height, width = own.shape
    for top, left in places[~taken].tolist():
        if not (occupied[top : top + height, left : left + width] & own).any():
            return top, left
    return None
