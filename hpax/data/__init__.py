"""Data sets on disk, and batches from them; the only home of TFDS and grain.

    cells = build("cell_crops", "data", source="yeast", organism="yeast")
    batches = PairBatches(cells, 64, prepare=preprocess.yeast)

`build` builds a data set once and opens it as a `Source`; `PairBatches` and `CellBatches` read a Source of cells, and
`ResidentPairs` lets devices make the former; `FieldSource` has the fields of one with their masks, which
`ImageBatches`, `BagBatches` and `CopyPasteBatches` read; `ResidentFields`, `ResidentBags` and `ResidentPatches` let
devices make, and augment, their batches. `labelled` says what a folder of fields and its table hold, before anything is
built; `read_folder` reads its fields as they are. What is not asked for is not imported: batches of cells in memory do
without data sets on disk.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpax.data.bags import BagBatches
    from hpax.data.building import build
    from hpax.data.copy_paste import CopyPasteBatches
    from hpax.data.field_source import Fields, FieldSource
    from hpax.data.folders import Labelled, labelled
    from hpax.data.image_batches import ImageBatches
    from hpax.data.pipeline import CellBatches, PairBatches, ProcessShard
    from hpax.data.reading import FieldFolder, read_folder
    from hpax.data.resident import ResidentPairs
    from hpax.data.resident_fields import ResidentBags, ResidentFields
    from hpax.data.resident_patches import ResidentPatches
    from hpax.data.source import Joined, Part, Source

_HOMES = {
    "BagBatches": "bags",
    "CellBatches": "pipeline",
    "CopyPasteBatches": "copy_paste",
    "FieldFolder": "reading",
    "FieldSource": "field_source",
    "Fields": "field_source",
    "ImageBatches": "image_batches",
    "Joined": "source",
    "Labelled": "folders",
    "PairBatches": "pipeline",
    "Part": "source",
    "ProcessShard": "pipeline",
    "ResidentBags": "resident_fields",
    "ResidentFields": "resident_fields",
    "ResidentPairs": "resident",
    "ResidentPatches": "resident_patches",
    "Source": "source",
    "build": "building",
    "labelled": "folders",
    "read_folder": "reading",
}
"""Name → the module that it comes from."""

__all__ = [
    "BagBatches",
    "CellBatches",
    "CopyPasteBatches",
    "FieldFolder",
    "FieldSource",
    "Fields",
    "ImageBatches",
    "Joined",
    "Labelled",
    "PairBatches",
    "Part",
    "ProcessShard",
    "ResidentBags",
    "ResidentFields",
    "ResidentPairs",
    "ResidentPatches",
    "Source",
    "build",
    "labelled",
    "read_folder",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for (PEP 562); submodules likewise."""
    if name in _HOMES:
        module = importlib.import_module(f"hpax.data.{_HOMES[name]}")
        value = getattr(module, name)
        globals()[name] = value
        return value
    try:
        return importlib.import_module(f"hpax.data.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"hpax.data.{name}":
            raise
        raise AttributeError(f"module 'hpax.data' has no attribute {name!r}") from error


def __dir__() -> list[str]:
    return sorted(__all__)
