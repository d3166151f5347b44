"""Patches that mix fields and lone cells, made by devices that hold the fields and where their cells are."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16

from hpax.data import device_augment
from hpax.data.augment import Augmentation
from hpax.data.copy_paste import CopyPasteBatches, Layout, Piece
from hpax.data.pipeline import HostBatch
from hpax.data.resident_fields import ResidentBatches, over
from hpax.ops import resample
from hpax.types import Array, Batch, Take

MOST = np.iinfo(np.uint16).max
"""Cells of a field that devices tell apart."""


class ResidentPatches(ResidentBatches):
    """The batches of a `CopyPasteBatches`, made by devices that hold every field and its cells' masks.

    For `train.Run(batches=ResidentPatches(batches), …)`. What lies where in a patch, and its labels, are those of
    `batches`, drawn by the host from masks alone, which it keeps in bits; devices lay the pixels, and augment the patch
    by (seed, epoch, place), alike in distribution (`device_augment`). Without augmentation the batch is that of
    `batches`, to the bit on CPUs. A field takes the room of the largest one, six bytes a pixel.

    Raises:
        ValueError: later, a field has more than 65,535 cells.
    """

    def __init__(self, batches: CopyPasteBatches):
        super().__init__(batches)
        self._batches = batches
        self.materialise = PatchesOfDevice(batches.augmentation, batches.size)

    @property
    def n(self) -> int:
        """The number of fields."""
        return len(self._batches.source)

    def draw(self, step: int) -> HostBatch:
        """The batch of `step` before any pixel is seen, and `random` (b, 3) uint32.

        Of each piece of a patch, in the order in which they are laid, `field` and `cell` (b, m) int32, its field's
        number and its cell's index or 0 for all pixels; `box` (b, m, 4) int32, top, left, height and width in the
        field; `turn` (b, m, 3) bool; and `corner` (b, m, 2) int32 in the patch. Where there is none, `field` is -1.
        """
        return self._batches.drawn(step, self._pieces)

    def _pieces(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> Mapping[str, Any]:
        pieces = self._batches.pieces(rng, plan, place, self._layouts.__getitem__)
        return {"labels": self._batches.labels(pieces), **listed(pieces, 1 + self._batches.pasted)}

    @functools.cached_property
    def _layouts(self) -> list[Layout]:
        """Where the cells of every field are; reads them all."""
        return over(self._layout, np.arange(self.n))

    def _layout(self, field: int) -> Layout:
        layout = self._batches.field(field).layout
        if layout.cells and layout.cells[-1].number > MOST:
            name = self._batches.source[field].id
            raise ValueError(
                f"a field must have at most {MOST:,} cells, {name} has an index of {layout.cells[-1].number:,}; number "
                'them anew, or take resident "no"'
            )
        return layout

    def _examples(self, numbers: Int[np.ndarray, " k"]) -> HostBatch:
        height, width = np.max([layout.shape for layout in self._layouts], axis=0)
        fields = over(self._batches.field, numbers)
        image = np.zeros((len(fields), height, width, fields[0].image.shape[-1]), np.uint8)
        cells = np.zeros((len(fields), height, width), np.uint16)
        for row, own in enumerate(fields):
            image[row, : own.image.shape[0], : own.image.shape[1]] = own.image
            cells[row, : own.mask.shape[0], : own.mask.shape[1]] = own.mask
        return {"image": image, "cells": cells}

    def _numbers(self, draw: Batch) -> Int[Array, " k"]:
        return draw["field"].reshape(-1)


def listed(pieces: Sequence[Piece], most: int) -> dict[str, np.ndarray]:
    """What devices are told of the pieces of a patch, `most` of them: see `ResidentPatches.draw`."""
    told = {
        "field": np.full(most, -1),
        "cell": np.zeros(most, int),
        "box": np.zeros((most, 4), int),
        "turn": np.zeros((most, 3), bool),
        "corner": np.zeros((most, 2), int),
    }
    for number, piece in enumerate(pieces):
        rows, columns = piece.box
        told["field"][number], told["cell"][number] = piece.field, piece.cell
        told["box"][number] = rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        told["turn"][number] = piece.turn
        told["corner"][number] = [side.start for side in piece.there]
    return told


@dataclasses.dataclass(frozen=True)
class PatchesOfDevice:
    """Makes the batch of a draw: `make(take, draw)`. Equal ones are compiled once."""

    augmentation: Augmentation
    size: int  # pixels of a patch

    def __call__(self, take: Take, draw: Batch) -> dict[str, Array]:
        """The batch of `ResidentPatches`."""
        batch = dict(draw)
        keys = device_augment.keys(batch.pop("random"))
        pieces = [jnp.swapaxes(batch.pop(name), 0, 1) for name in ("field", "cell", "box", "turn", "corner")]

        def lay(patches: Array | None, piece: Sequence[Array]) -> tuple[Array, None]:
            held = take(jnp.maximum(piece[0], 0))  # of this piece alone, as whole fields are large
            image = held["image"]
            if patches is None:
                patches = jnp.zeros((len(image), self.size, self.size, image.shape[-1]), jnp.uint8)
            return jax.vmap(laid)(patches, image, held["cells"], *piece), None

        first, _ = lay(None, [each[0] for each in pieces])
        patches, _ = jax.lax.scan(lay, first, [each[1:] for each in pieces])
        extents = np.full((len(patches), 2), self.size, np.int32)
        seen = device_augment.varied(keys, self.augmentation, patches, extents, size=self.size)
        return batch | {"image": jnp.where(draw["mask"][:, None, None, None] > 0, seen, 0)}


def laid(
    patch: UInt8[Array, "s s c"],
    image: UInt8[Array, "h w c"],
    cells: UInt16[Array, "h w"],
    field: Int[Array, ""],
    cell: Int[Array, ""],
    box: Int[Array, "4"],
    turn: Bool[Array, "3"],
    corner: Int[Array, "2"],
) -> UInt8[Array, "s s c"]:
    """A patch with a piece of a field in it, as `copy_paste.Piece.lay` lays it; as it was where `field` is -1."""
    top, left, height, width = box
    high, wide = jnp.where(turn[0], width, height), jnp.where(turn[0], height, width)  # transposed, or as it was
    down, right = jnp.indices(patch.shape[:2], jnp.int32) - corner[:, None, None]
    inside = (down >= 0) & (down < high) & (right >= 0) & (right < wide) & (field >= 0)
    rows, columns = resample.before_turn(down, right, turn, extent=(high, wide))
    rows, columns = top + rows, left + columns
    own = resample.pixels(cells[..., None], rows, columns)[..., 0] == cell
    shown = inside & ((cell == 0) | own)
    return jnp.where(shown[..., None], resample.pixels(image, rows, columns), patch)
