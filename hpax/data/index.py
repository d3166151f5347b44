"""The index of a split: everything but the pixels in one small file, so that nobody decodes images to group cells.

A `.npz` without pickle. Text that repeats is stored as codes and names, `id` as UTF-8 bytes.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt

ID = "id"
LABELS = "labels"


def write(path: pathlib.Path, examples: Iterable[Mapping[str, Any]]) -> None:
    """Streams examples without pixels (text as bytes, numbers, `labels`) into an index at `path`."""
    codes: dict[str, dict[bytes, int]] = {}
    columns: dict[str, list[Any]] = {}
    for example in examples:
        for name, value in example.items():
            if isinstance(value, bytes) and name != ID:
                names = codes.setdefault(name, {})
                value = names.setdefault(value, len(names))
            columns.setdefault(name, []).append(value)
    texts = {f"{name}:names": np.array(list(values), dtype=bytes) for name, values in codes.items()}
    arrays = {name: np.array(values, np.int32 if name in codes else None) for name, values in columns.items()}
    stored: dict[str, Any] = {**arrays, **texts}
    np.savez_compressed(path, **stored)


def read(paths: Sequence[pathlib.Path]) -> tuple[pd.DataFrame, UInt[np.ndarray, "n 19"] | None]:
    """The tables of several splits one after the other, with `id` as index, and their labels if they have any."""
    parts = []
    for path in paths:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    labels = np.concatenate([part.pop(LABELS) for part in parts]) if LABELS in parts[0] else None
    ids = [id.decode() for part in parts for id in part.pop(ID).tolist()]
    columns = {name: _column(parts, name) for name in parts[0] if not name.endswith(":names")}
    return pd.DataFrame(columns, index=pd.Index(ids, name=ID)), labels


def _column(parts: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray | pd.Categorical:
    if f"{name}:names" not in parts[0]:
        return np.concatenate([part[name] for part in parts])
    names = [[value.decode() for value in part[f"{name}:names"].tolist()] for part in parts]
    categoricals = [pd.Categorical.from_codes(part[name], n) for part, n in zip(parts, names, strict=True)]
    return pd.api.types.union_categoricals(categoricals, sort_categories=True)
