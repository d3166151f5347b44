"""Where the cells of a field come from: its own truth, or files that hold masks found by whatever means."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from hpax.fields import Masks
from hpax.formats import masks as files

MaskSource = Callable[[Mapping[str, Any]], Masks]
"""The masks of a field, an example of a Source."""


def ground_truth(example: Mapping[str, Any]) -> Masks:
    """The masks that a field itself brings, as simulated ones do.

    Raises:
        KeyError: it brings none.
    """
    if "cells" not in example:
        raise KeyError(
            f"field {example['id']} brings no masks of its own; find them, and use segmented.from_folder(folder)"
        )
    return Masks(example["cells"], example["nuclei"])


def from_folder(folder: str | os.PathLike[str]) -> MaskSource:
    """The masks that `formats.masks` wrote to a folder, by the field's id; its errors are those of `masks.read`."""

    def read(example: Mapping[str, Any]) -> Masks:
        if pathlib.PurePath(example["id"]).name != example["id"]:
            raise ValueError(f"the id of a field must be a plain file name, got {example['id']!r}; rename the field")
        return Masks(*files.read(folder, example["id"]))

    return read
