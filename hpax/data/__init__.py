"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source
of cells; `ImageBatches`, `BagBatches` and `CopyPasteBatches` read one of fields, the latter two with masks
(`segmented`).
"""

from hpax.data import augment, balance, segmented
from hpax.data.bags import BagBatches
from hpax.data.build import build
from hpax.data.copy_paste import CopyPasteBatches
from hpax.data.image_batches import ImageBatches
from hpax.data.pipeline import CellBatches, PairBatches, ProcessShard
from hpax.data.source import Part, Source
from hpax.ops import preprocess

__all__ = [
    "BagBatches",
    "CellBatches",
    "CopyPasteBatches",
    "ImageBatches",
    "PairBatches",
    "Part",
    "ProcessShard",
    "Source",
    "augment",
    "balance",
    "build",
    "preprocess",
    "segmented",
]
