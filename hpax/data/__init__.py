"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source.
"""

from hpax.data import preprocess
from hpax.data.build import build
from hpax.data.pipeline import CellBatches, PairBatches, Share
from hpax.data.source import Source

__all__ = ["CellBatches", "PairBatches", "Share", "Source", "build", "preprocess"]
