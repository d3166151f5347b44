"""The fields of a folder, what is known of them, and whether their files are what they were."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpax import files
from hpax.data.hpa_fields import hpa_fields
from hpax.fields import Field
from hpax.formats import fields

Load = Callable[[], Field]
"""Reads a field, once however often it is called."""


@dataclasses.dataclass(frozen=True)
class FolderField:
    """A field of a folder, not read yet."""

    files: fields.FieldFiles
    annotation: fields.Annotation
    origin: Mapping[str, str]  # group_id, field, protein, antibody, cell_line

    @property
    def id(self) -> str:
        """The name that its files share."""
        return self.files.id

    def loader(self, um_per_pixel: float) -> Load:
        """What reads the field, at `um_per_pixel` or, where that is 0, as its files state, else its width says.

        Its pixels are read once.

        Raises, when called:
            ValueError, OSError: a file is damaged or missing.
        """

        @functools.cache
        def load() -> Field:
            image = fields.read_field(self.files)
            size = fields.pixel_size(self.files, image.shape[:2], um_per_pixel).um_per_pixel
            labels = self.annotation.labels
            known = labels if np.any(labels) else None
            return Field(self.id, image, size, labels=known, origin=self.origin)

        return load


def survey(folder: Path, annotations: str = "", *, bits: int = 0) -> tuple[list[FolderField], dict[str, str]]:
    """The fields of a folder in the order of their images, and why some are none, by id.

    `bits` are those of the camera, for files of 16 bits; where they are 0, the fewest count that hold every pixel.

    Raises:
        FileNotFoundError: no folder, or no field in it.
        ValueError: the table of labels is wrong, or the fields have no full scale in common.
    """
    found = fields.survey(folder)
    options = hpa_fields.Config(annotations=annotations, bits=16, camera_bits=bits)
    pictures = hpa_fields.pictures(options, folder, found.fields)
    known = []
    for picture in pictures:
        for own, annotation in picture.content[1]:
            known.append(FolderField(own, annotation, hpa_fields.origin(picture, own, annotation)))
    return known, {id: str(fault) for id, fault in found.faults.items()}


def stamp(paths: Iterable[Path]) -> list[list[Any]]:
    """Names, sizes and times of files: while these are the same, so is what the files hold.

    Of a folder, those of everything in it.
    """
    told = []
    for path in sorted(paths):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for each in inside:
            state = os.stat(each)
            told.append([each.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns])
    return told


def content(field: FolderField, record: Mapping[str, Any]) -> str:
    """A digest of a field's pictures and of a full scale that is not their type's.

    That of its record if neither was touched since.
    """
    scale = field.files.full_scale or fields.FullScale()
    suffix = "" if scale == fields.FullScale() else f"-{scale.integers}-{scale.floats:g}"
    known = str(record.get("digest") or "")
    if known and known.partition("-")[2] == suffix[1:] and record.get("stamp") == stamp(field.files.paths):
        return known
    return files.digest(*field.files.paths) + suffix
