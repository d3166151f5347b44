"""Arrays that a command keeps for its next run, in an .npz with the key of what they were made of."""

import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpax import files


def write(path: Path, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps arrays, none of which is called "key"; the file appears when it is whole."""
    named: dict[str, Any] = {"key": np.array(key), **arrays}
    with files.replacing(path) as draft:
        np.savez(draft, **named)


def read(path: str | os.PathLike[str], key: str, names: Collection[str] | None = None) -> dict[str, np.ndarray] | None:
    """The arrays of a file whose array "key" is `key`, or those of some names.

    None if the file or one of these arrays is not there, it is damaged, or made of something else.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            return {name: kept[name] for name in (kept.files if names is None else names) if name != "key"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
