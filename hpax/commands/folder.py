"""The fields of a folder, what is known of them, and whether their files are what they were."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpax import atlas, files
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
        """What reads the field, at `um_per_pixel` or, where that is 0, what its width says; its pixels are read once.

        Raises, when called:
            ValueError, OSError: a file is damaged or missing.
        """

        @functools.cache
        def load() -> Field:
            image = fields.read_field(self.files)
            size = um_per_pixel or atlas.um_per_pixel(image.shape[1])
            labels = self.annotation.labels
            known = labels if np.any(labels) else None
            return Field(self.id, image, size, labels=known, origin=self.origin)

        return load


def survey(folder: Path, annotations: str = "") -> tuple[list[FolderField], dict[str, str]]:
    """The fields of a folder in the order of their images, and why some are none, by id.

    Raises:
        FileNotFoundError: no folder, or no field in it.
        ValueError: the table of labels is wrong.
    """
    found = fields.survey(folder)
    pictures = hpa_fields.pictures(hpa_fields.Config(annotations=annotations), folder, found.fields)
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
    """A digest of a field's pictures; that of its record if they were not touched since."""
    if record.get("digest") and record.get("stamp") == stamp(field.files.paths):
        return str(record["digest"])
    return files.digest(*field.files.paths)
