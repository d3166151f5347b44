"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source
of cells; `ImageBatches` and `BagBatches` read one of fields, the latter with their masks (`segmented`).
"""

from hpax.data import augment, balance, preprocess, segmented
from hpax.data.bags import BagBatches
from hpax.data.build import build
from hpax.data.images import ImageBatches
from hpax.data.pipeline import CellBatches, PairBatches, Share
from hpax.data.source import Source

__all__ = [
    "BagBatches",
    "CellBatches",
    "ImageBatches",
    "PairBatches",
    "Share",
    "Source",
    "augment",
    "balance",
    "build",
    "preprocess",
    "segmented",
]
