"""hpax: protein localisation in single cells from fluorescence microscopy.

    import hpax

    model = hpax.load("models")  # a folder or file that a training left, or a name of the catalogue
    for field in hpax.read_folder("FIELDS"):
        field = dataclasses.replace(field, masks=hpax.Segmenter().predict(field))
        probabilities = model.predict(field).cells  # (cells, 19)

Namespaces (`hpax.models`, `hpax.recipes`, ...) and names are imported when they are first asked for (PEP 562), so that
importing hpax is quick and starts no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpax.data.reading import read_folder
    from hpax.fields import Field, Masks
    from hpax.models import CellClassifier, Encoder, Ensemble, FieldClassifier, Segmenter, load
    from hpax.recipes.datasets import Data, open_fields, open_folder

__version__ = "0.1.0"

NAMESPACES = (
    "analysis",
    "atlas",
    "data",
    "explore",
    "features",
    "fields",
    "files",
    "formats",
    "images",
    "launch",
    "metrics",
    "models",
    "nn",
    "ops",
    "predict",
    "recipes",
    "report",
    "segment",
    "simulate",
    "task",
    "tasks",
    "train",
    "types",
)

_HOMES = {
    "CellClassifier": "models",
    "Data": "recipes.datasets",
    "Encoder": "models",
    "Ensemble": "models",
    "Field": "fields",
    "FieldClassifier": "models",
    "Masks": "fields",
    "Segmenter": "models",
    "load": "models",
    "open_fields": "recipes.datasets",
    "open_folder": "recipes.datasets",
    "read_folder": "data.reading",
}
"""Name → the module that it comes from."""

__all__ = [
    "CellClassifier",
    "Data",
    "Encoder",
    "Ensemble",
    "Field",
    "FieldClassifier",
    "Masks",
    "Segmenter",
    "load",
    "open_fields",
    "open_folder",
    "read_folder",
]


def __getattr__(name: str) -> Any:
    """A public name or a namespace, imported when it is first asked for."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"hpax.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in NAMESPACES:
        return importlib.import_module(f"hpax.{name}")
    raise AttributeError(f"module 'hpax' has no attribute {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    return sorted([*__all__, *NAMESPACES, "__version__"])
