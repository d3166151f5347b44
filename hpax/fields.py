"""A field of view, wherever it comes from: a folder of pictures, a shard, the simulator.

    field = hpax.Field(id="a1", image=image, um_per_pixel=0.08)
    field = dataclasses.replace(field, masks=segmenter.predict(field))

Cells are numbered by the indices of their mask; what has a row for each cell (`cell_labels`, probabilities) lists
them by ascending index, `Masks.indices`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, UInt, UInt8

from hpax import images

TEXT = ("group_id", "field", "protein", "antibody", "cell_line")
"""What `Field.origin` may say of a field; absent or "" where it is not known."""


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """The cells of a field and their nuclei: index masks in which a cell and its nucleus share an index.

    0 is background; uint16, or uint32 beyond 65,535 cells. What `segment.masks.compact` makes is numbered 1..n from the
    top, and its nuclei lie inside their cells. Masks whose numbers do not agree are brought together by `matched`.
    """

    cells: UInt[np.ndarray, "h w"]
    nuclei: UInt[np.ndarray, "h w"]

    @functools.cached_property
    def indices(self) -> Int64[np.ndarray, " k"]:
        """The ascending indices of the cells."""
        there = np.bincount(self.cells.ravel(), minlength=1) > 0
        there[0] = False
        return np.flatnonzero(there)

    def __len__(self) -> int:
        return len(self.indices)

    def resized(self, shape: tuple[int, int]) -> "Masks":
        """Both masks at `shape` (h, w) by nearest neighbour; indices stay, though one that is too small may vanish."""
        return Masks(images.nearest(self.cells, shape), images.nearest(self.nuclei, shape))


def matched(
    cells: Integer[np.ndarray, "h w"], nuclei: Integer[np.ndarray, "h w"]
) -> tuple[Masks, Int64[np.ndarray, " n"]]:
    """Masks numbered each for themselves → masks in which each nucleus has the index of the cell that it lies in.

    A nucleus belongs to the cell that covers most of it (the lower index on a tie), and is cut off where it leaves that
    cell. Second comes the ascending list of nuclei that no cell covers, which are left out.

    Raises:
        ValueError: the two differ in shape, or an index is negative.
    """
    if cells.shape != nuclei.shape:
        raise ValueError(
            f"cells and nuclei must have one shape, got {cells.shape}, {nuclei.shape}; resize one (images.nearest)"
        )
    if min(int(cells.min(initial=0)), int(nuclei.min(initial=0))) < 0:
        raise ValueError("indices must not be negative, some are; a mask may have been stored with too few bits")
    inside = nuclei > 0
    pairs, shared = np.unique(np.stack([nuclei[inside], cells[inside]]).astype(np.int64), axis=1, return_counts=True)
    nucleus, cell = pairs
    order = np.lexsort((cell, -np.where(cell > 0, shared, -1), nucleus))
    found, first = np.unique(nucleus[order], return_index=True)
    owner = cell[order][first]
    owner_of = np.zeros(int(nuclei.max(initial=0)) + 1, np.int64)
    owner_of[found] = owner
    highest = int(cells.max(initial=0))
    dtype = np.uint16 if highest < 2**16 else np.uint32
    belongs = owner_of[nuclei]
    kept = np.where((belongs == cells) & (belongs > 0), belongs, 0)
    return Masks(cells.astype(dtype), kept.astype(dtype)), found[owner == 0]


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """A field of view: its pixels and their size, and what is known of it."""

    id: str
    image: UInt[np.ndarray, "h w 4"]  # atlas.CHANNELS; its dtype's highest value is full scale
    um_per_pixel: float  # µm
    labels: UInt8[np.ndarray, " n"] | None = None  # multi-hot, of the whole field; None: not known
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of TEXT
    masks: Masks | None = None  # None: not found yet
    cell_labels: UInt8[np.ndarray, "k n"] | None = None  # what each cell of `truth` truly shows; None: not known
    truth: Masks | None = None  # the true cells, where they are known

    def __post_init__(self) -> None:
        if not self.um_per_pixel > 0:
            told = f"field {self.id} has {self.um_per_pixel}"
            raise ValueError(f"um_per_pixel must be positive, {told}; HPA fields have 0.08 at 2048 pixels")
        if self.image.ndim != 3 or not self.image.size:
            raise ValueError(f"the image of field {self.id} must be (h, w, channels), it is {self.image.shape}")
        for masks in (self.masks, self.truth):
            if masks is not None and not self.image.shape[:2] == masks.cells.shape == masks.nuclei.shape:
                shapes = f"{self.image.shape[:2]}, {masks.cells.shape} and {masks.nuclei.shape}"
                raise ValueError(f"image, cells and nuclei must have one shape, got {shapes}; use Masks.resized")

    @property
    def found(self) -> Masks:
        """The masks.

        Raises:
            ValueError: there are none yet.
        """
        if self.masks is None:
            raise ValueError(f"field {self.id} has no masks yet; find its cells first, as hpax.Segmenter does")
        return self.masks


def from_example(example: Mapping[str, Any]) -> Field:
    """A field of a built data set; labels without a class count as not known, masks that it brings are the truth."""
    labels = example.get("labels")
    known = {name: str(example[name]) for name in TEXT if example.get(name)}
    truth = Masks(example["cells"], example["nuclei"]) if "cells" in example else None
    return Field(
        id=example["id"],
        image=example["image"],
        um_per_pixel=float(example["um_per_pixel"]),
        labels=labels if labels is not None and np.any(labels) else None,
        origin=known,
        cell_labels=example.get("cell_labels"),
        truth=truth,
    )
