"""Batches of bags: some cells of each field, with the labels of the field and, if there are any, of each cell."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from hpax.data import augment
from hpax.data.balance import FieldBatches
from hpax.data.field_source import Fields
from hpax.data.image_batches import varied
from hpax.data.pipeline import ProcessShard
from hpax.segment import nuclei
from hpax.segment.cells import cell_images


class BagBatches(FieldBatches):
    """Endless batches of bags of cells of one field, the cells drawn and augmented by (seed, epoch, place).

    A batch holds this process's rows of `image` (b, m, s, s, c) float32 in [0, 1], `present` (b, m) float32, 1 for a
    cell and 0 for none, `cell` (b, m) int32, its index in the field's mask or -1, `labels` (b, n) float32 of the
    field, `index` (b,) int32, the field's number in the source, and `mask` (b,) float32. With `targets`, also
    `targets` (b, m, n) float32 of each cell; with `antibody`, `antibody` (b,) int32 of each field. A field with fewer
    than m cells shows all of them. An epoch takes a bag of every field, or more of those of greater `weights`
    (`balance.draw`). Its last batch is padded: mask 0, everything else 0, integers -1.

    With an augmentation that changes nothing, an image is what `segment.cells.cell_images` makes of the cell.

    Raises:
        ValueError: see `balance.FieldBatches`; later, `targets` of a field do not have one row for each of its cells.
    """

    def __init__(
        self,
        source: Fields,
        batch_size: int,
        *,
        cells: int = 8,  # in a bag, m
        crop_um: float = nuclei.CROP,  # µm of a crop's side
        size: int = 64,  # pixels
        masked: bool = True,  # without other cells and background
        targets: Mapping[str, Shaped[np.ndarray, "_ n"]] | None = None,  # id → by ascending index of the cell
        antibody: Int[np.ndarray, " f"] | None = None,  # its number, of each field
        augmentation: augment.Augmentation = augment.LIGHT,
        weights: Float[np.ndarray, " f"] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        share: ProcessShard | None = None,  # None: that of this process
        cached: int = 512,  # fields in memory, as the crops of all their cells
        threads: int = 0,  # that read ahead; 0: as many as the process has cores
    ):
        self.cells, self.size, self._targets, self._antibody = cells, size, targets, antibody
        self.augmentation = augmentation
        wide = size + 2 * math.ceil(size * (augmentation.zoom - 1) / 2)  # what is left around for zooming out
        self._cut: dict[str, Any] = {"crop_um": crop_um * wide / size, "size": wide, "masked": masked}
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

    def _read(self, field: int) -> tuple[Int[np.ndarray, " k"], UInt8[np.ndarray, "k s s c"], np.ndarray]:
        own = self.source[field]
        indices, images = cell_images(own.image, own.found, own.um_per_pixel, **self._cut)
        targets = np.zeros((len(indices), 0)) if self._targets is None else self._targets[own.id]
        if len(targets) != len(indices):
            what = f"field {own.id} has {len(indices)} cells and {len(targets)} rows of targets"
            raise ValueError(f"{what}; there must be one for each cell of the same masks, by ascending index")
        return indices, images, np.asarray(targets, np.float32)

    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> dict[str, np.ndarray]:
        field = int(plan[place])
        indices, images, targets = self.field(field)
        drawn, row = self.bag(rng, field, indices, targets)
        row["image"] = np.zeros((self.cells, self.size, self.size, images.shape[-1]), np.float32)
        for number, image in enumerate(images[drawn]):
            row["image"][number] = varied(rng, self.augmentation, image, self.size)
        return row

    def bag(
        self, rng: np.random.Generator, field: int, indices: Int[np.ndarray, " k"], targets: Float[np.ndarray, "k n"]
    ) -> tuple[Int[np.ndarray, " drawn"], dict[str, np.ndarray]]:
        """Which of a field's cells a bag shows, and what a batch says of it besides their images and the labels."""
        drawn = rng.permutation(len(indices))[: self.cells]
        row = {
            "present": (np.arange(self.cells) < len(drawn)).astype(np.float32),
            "cell": np.full(self.cells, -1),
        }
        row["cell"][: len(drawn)] = indices[drawn]
        if self._targets is not None:
            row["targets"] = np.zeros((self.cells, targets.shape[1]), np.float32)
            row["targets"][: len(drawn)] = targets[drawn]
        if self._antibody is not None:
            row["antibody"] = np.asarray(self._antibody[field])
        return drawn, row
