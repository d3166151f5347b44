"""Crops of cells to probabilities, in full batches across fields."""

import itertools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jaxtyping import Float, UInt

from hpax import atlas, images
from hpax.predict.tta import PredictCells

BATCH, CPU_BATCH = 64, 8
"""Crops that are looked at together: processors are fastest with few, of which few are padding, too."""


def of_crops(
    predict: PredictCells, fields: Iterable[UInt[np.ndarray, "k s s c"]], *, batch: int | None = None
) -> Iterator[Float[np.ndarray, "k n"]]:
    """The probabilities of each field's crops (`segment.cells.cell_images`), field by field, in order.

    Batches are filled across fields, so that few rows are padding and one shape is compiled; it holds the fields that
    share a batch and no others.
    """
    batch = batch or (CPU_BATCH if jax.default_backend() == "cpu" else BATCH)
    owed: list[int] = []  # cells of each field that is still to come
    waiting: list[np.ndarray] = []  # crops
    done: list[np.ndarray] = []  # probabilities of each cell
    for own in itertools.chain(fields, [None]):
        if own is not None:
            owed.append(len(own))
            waiting.extend(own)
        while len(waiting) >= batch or (own is None and waiting):
            done.extend(_predicted(predict, waiting[:batch], batch))
            del waiting[:batch]
        while owed and owed[0] <= len(done):
            count = owed.pop(0)
            yield np.stack(done[:count]) if count else np.zeros((0, len(atlas.LOCATIONS)), np.float32)
            del done[:count]


def _predicted(predict: PredictCells, crops: list[np.ndarray], batch: int) -> Float[np.ndarray, "k n"]:
    seen = np.zeros((batch, *crops[0].shape), crops[0].dtype)
    seen[: len(crops)] = crops
    return np.asarray(predict(images.as_float(seen)))[: len(crops)]
