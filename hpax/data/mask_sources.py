"""Where the cells of a field come from: its own truth, or files that hold masks found by whatever means."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

from hpax import files
from hpax.fields import Field, Masks
from hpax.formats import masks as mask_files

ASPECT = 0.02  # how much the shape of masks may differ from that of their field: what rounding explains

MaskSource = Callable[[Field], Masks]
"""Field → its masks."""


def ground_truth(field: Field) -> Masks:
    """The masks that a field itself brings, as simulated ones do.

    Raises:
        KeyError: it brings none.
    """
    if field.truth is None:
        raise KeyError(f"field {field.id} brings no masks of its own; find them, and use mask_sources.from_folder")
    return field.truth


@dataclasses.dataclass(frozen=True)
class MaskFolder:
    """The masks that `formats.masks` wrote to a folder, by the field's id; its errors are those of `masks.read`.

    Masks of another size than the field, as of a field that is stored smaller, are resized to it.
    """

    folder: pathlib.Path

    def __call__(self, field: Field) -> Masks:
        """The masks of a field."""
        if pathlib.PurePath(field.id).name != field.id:
            raise ValueError(f"the id of a field must be a plain file name, got {field.id!r}; rename the field")
        masks = Masks(*mask_files.read(self.folder, field.id))
        (height, width), (rows, columns) = field.image.shape[:2], masks.cells.shape
        if abs(height * columns - width * rows) > ASPECT * height * columns:
            told = f"field {field.id} is {width}x{height}, its masks in {self.folder} are {columns}x{rows}"
            raise ValueError(f"{told}; masks of another shape cannot be of this field, were rows and columns swapped?")
        return masks if (rows, columns) == (height, width) else masks.resized((height, width))

    @functools.cached_property
    def name(self) -> str:
        """A name for what the folder held when this was first asked for."""
        return files.content(self.folder)


def from_folder(folder: str | os.PathLike[str]) -> MaskFolder:
    """The masks in a folder, by the field's id."""
    return MaskFolder(pathlib.Path(folder))


def name(source: MaskSource | None) -> str:
    """A name for masks, for what is kept of them: of a folder its contents, else what makes them."""
    if isinstance(source, MaskFolder):
        return source.name
    return "" if source is None else getattr(source, "__qualname__", type(source).__qualname__)
