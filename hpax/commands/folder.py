"""The fields of a folder, what is known of them, and whether their files are what they were."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hpax
from hpax import files
from hpax.atlas import UmPerPixel
from hpax.data import pixel_sizes
from hpax.data.hpa_fields import hpa_fields
from hpax.data.pixel_sizes import Guess
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

    def pixel_size(self, shape: tuple[int, int], asked: float) -> fields.PixelSize:
        """The size of its pixels: what is asked for, or where that is 0, what its files state or its shape suggests."""
        return fields.pixel_size(self.files, shape, asked)

    def digest(self) -> str:
        """A name for its pixels: for what its files hold, and what the highest value in them means."""
        scale = self.files.full_scale or fields.FullScale()
        return files.digest(*self.files.paths, f"{scale.integers} {scale.floats}", *self._planes())

    def _planes(self) -> tuple[str, ...]:
        return () if self.files.planes == "clear" else (self.files.planes,)

    def loader(self, um_per_pixel: float) -> Load:
        """What reads the field, with pixels of `um_per_pixel` (0: see above); its pixels are read once.

        Raises, when called:
            ValueError, OSError: a file is damaged or missing.
        """

        @functools.cache
        def load() -> Field:
            image = fields.read_field(self.files)
            size = self.pixel_size(image.shape[:2], um_per_pixel).um_per_pixel
            labels = self.annotation.labels
            known = labels if np.any(labels) else None
            return Field(self.id, image, size, labels=known, origin=self.origin)

        return load


def survey(
    folder: Path, annotations: str = "", *, planes: fields.Planes = "clear"
) -> tuple[list[FolderField], dict[str, str]]:
    """The fields of a folder in the order of their images, and why some are none, by id.

    Raises:
        FileNotFoundError: no folder, or no field in it.
        ValueError: the table of labels is wrong.
    """
    found = fields.survey(folder)
    config = hpa_fields.Config(annotations=annotations, planes=planes)
    pictures = hpa_fields.pictures(config, folder, found.fields, sizes=False)
    known = []
    for picture in pictures:
        for own, annotation in picture.content[1]:
            known.append(FolderField(own, annotation, hpa_fields.origin(picture, own, annotation)))
    return known, {id: str(fault) for id, fault in found.faults.items()}


def er_remarks(known: Sequence[FolderField]) -> list[str]:
    """What pages say first where no field has ER."""
    return [fields.WITHOUT_ER] if known and not known[0].files.has_er else []


def content(field: FolderField, record: Mapping[str, Any]) -> str:
    """The digest of a field; that of its record if its files were not touched since, and mean what they meant."""
    if record.get("digest") and record.get("stamp") == state(field):
        return str(record["digest"])
    return field.digest()


def state(field: FolderField) -> list[list[Any]]:
    """The stamp of a field's files, and what the highest value in them means."""
    return fields.state(field.files)


def scaled(known: Sequence[FolderField], camera_bits: int, cache: Path) -> list[FolderField]:
    """The fields, with what the highest value of their channels means, found over all that can be read.

    It is kept in the file `cache`, as channels of more than 8 bits must be read to find it.

    Raises:
        ValueError: it cannot be told, as the fields may come from several cameras; `camera_bits` would say it.
    """
    key = files.digest(json.dumps([hpax.__version__, camera_bits, [files.stamp(field.files.paths) for field in known]]))
    kept = files.read_json(cache)
    if kept.get("key") != key:
        found = fields.full_scale([field.files for field in known], bits=camera_bits)
        kept = {"key": key, "integers": found.integers, "floats": found.floats, "remark": found.remark}
        files.write_json(cache, kept)
    if kept["remark"]:
        print(f"note: {kept['remark']}", file=sys.stderr)
    scale = fields.FullScale(kept["integers"], kept["floats"], kept["remark"])
    return [dataclasses.replace(field, files=dataclasses.replace(field.files, full_scale=scale)) for field in known]


def sized(known: Sequence[FolderField], asked: UmPerPixel, cache: Path) -> tuple[list[FolderField], list[Guess]]:
    """The fields, knowing what nuclei say if `asked` is auto; and what is guessed, by size, of those that state none.

    Nothing is guessed where a number was asked for. What the nuclei say is kept in the file `cache`.
    """
    if pixel_sizes.number(asked):
        return list(known), []
    guesses = pixel_sizes.guesses([field.files for field in known], cache)
    for guess in guesses:
        print(f"note: {guess.remark(asked)}", file=sys.stderr)
    if asked != "auto":
        return list(known), guesses
    estimates = pixel_sizes.by_nuclei(guesses)
    return [dataclasses.replace(f, files=dataclasses.replace(f.files, estimates=estimates)) for f in known], guesses
