"""Arrays of HDF5 files as Keras writes them (`model.save("x.h5")`), read without Keras; no link is followed."""

import pathlib
from collections.abc import Collection
from typing import Any

import h5py
import numpy as np

MAX_NUMBERS = 50_000_000  # of a dataset


def load(path: pathlib.Path, layers: Collection[str] | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Layer → kind of weight → array; layers without weights are left out, and all but `layers` where they are given.

    Raises:
        ValueError: no HDF5 file of a Keras model, a link, or what is no float or too large.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file, or a damaged one: {error}") from error
    with file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise ValueError(
                f"{path.name} must have the layer_names of a Keras model's .h5, it has {', '.join(root) or 'nothing'}; "
                'save the whole model: model.save("x.h5")'
            )
        found = {}
        for layer in root if layers is None else sorted(set(layers) & set(root)):
            weights: dict[str, np.ndarray] = {}
            _datasets(root, layer, weights)
            if weights:
                found[layer] = weights
        return found


def _datasets(group: Any, name: str, into: dict[str, np.ndarray]) -> None:
    """The arrays below a group by the last part of their names, "kernel:0" as "kernel"; no link is followed."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} must lie in the file itself, it is a link; save the model into one file")
    item = group[name]
    if isinstance(item, h5py.Group):
        for inner in item:
            _datasets(item, inner, into)
        return
    if item.size is None or item.size > MAX_NUMBERS or item.external or item.dtype.kind != "f":
        raise ValueError(f"{item.name} must hold at most {MAX_NUMBERS} floats of its own, it does not")
    kind = name.partition(":")[0]
    if kind in into:
        raise ValueError(f"{item.name} must be the only {kind} of its layer, there are two")
    into[kind] = np.asarray(item[()], np.float32)
