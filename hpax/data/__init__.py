"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source
of cells, and `ResidentPairs` lets devices make the former; `ImageBatches`, `BagBatches` and `FairBatches` read one of
fields, the latter two with masks (`segmented`).
"""

import importlib.util

from hpax.data import preprocess
from hpax.data.pipeline import CellBatches, PairBatches, Share
from hpax.data.resident import ResidentPairs

if importlib.util.find_spec("tensorflow_datasets"):  # batches of cells in memory do without data sets on disk
    from hpax.data import augment, balance, segmented
    from hpax.data.bags import BagBatches
    from hpax.data.build import build
    from hpax.data.fair import FairBatches
    from hpax.data.images import ImageBatches
    from hpax.data.source import Part, Source

__all__ = [
    "BagBatches",
    "CellBatches",
    "FairBatches",
    "ImageBatches",
    "PairBatches",
    "Part",
    "ResidentPairs",
    "Share",
    "Source",
    "augment",
    "balance",
    "build",
    "preprocess",
    "segmented",
]
