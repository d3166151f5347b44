"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source
of cells; `ImageBatches`, `BagBatches` and `CopyPasteBatches` read one of fields, the latter two with masks
(`mask_sources`). `labelled` says what a folder of fields and its table hold, before anything is built.
"""

from hpax.data import augment, balance, mask_sources, preprocess
from hpax.data.bags import BagBatches
from hpax.data.build import build
from hpax.data.copy_paste import CopyPasteBatches
from hpax.data.field_source import Fields, FieldSource
from hpax.data.folders import Labelled, labelled
from hpax.data.image_batches import ImageBatches
from hpax.data.pipeline import CellBatches, PairBatches, ProcessShard
from hpax.data.source import Part, Source

__all__ = [
    "BagBatches",
    "CellBatches",
    "CopyPasteBatches",
    "FieldSource",
    "Fields",
    "ImageBatches",
    "Labelled",
    "PairBatches",
    "Part",
    "ProcessShard",
    "Source",
    "augment",
    "balance",
    "build",
    "labelled",
    "mask_sources",
    "preprocess",
]
