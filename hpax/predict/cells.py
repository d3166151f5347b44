"""Crops of cells to probabilities, in full batches across fields."""

from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jaxtyping import Float, UInt

from hpax import atlas, images
from hpax.batching import in_full_batches
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

    def look(crops: UInt[np.ndarray, "b s s c"]) -> dict[str, np.ndarray]:
        return {"prob": np.asarray(predict(images.as_float(crops)))}

    batch = batch or (CPU_BATCH if jax.default_backend() == "cpu" else BATCH)
    for _, rows in in_full_batches(look, ((None, own) for own in fields), batch):
        yield rows["prob"] if rows else np.zeros((0, len(atlas.LOCATIONS)), np.float32)
