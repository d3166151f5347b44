"""The fields of a folder as they are: read one at a time, nothing built.

for field in read_folder("FIELDS"):
    field.image, field.um_per_pixel, field.labels
"""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator

import numpy as np

from hpax.atlas import UmPerPixel
from hpax.data import folders, pixel_sizes
from hpax.fields import Field
from hpax.formats import fields, proteinatlas

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class FieldFolder:
    """Fields of a folder by id, at random access; each is read when it is asked for."""

    known: folders.Labelled
    um_per_pixel: float = 0.0  # µm; 0: as the files say, else by the width

    def __len__(self) -> int:
        return len(self.known.fields)

    def __iter__(self) -> Iterator[Field]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Field:
        files = self.known.fields[place]
        image = fields.read_field(files)
        size = fields.pixel_size(files, image.shape[:2], self.um_per_pixel).um_per_pixel
        annotation = self.known.annotations.get(files.id, folders.NOTHING)
        origin = {
            "group_id": proteinatlas.image_of(files.id) or files.id,
            "field": files.id,
            "protein": annotation.protein,
            "antibody": annotation.antibody,
            "cell_line": annotation.cell_line,
        }
        labels = annotation.labels if np.any(annotation.labels) else None
        return Field(files.id, image, size, labels=labels, origin=origin)

    @property
    def ids(self) -> list[str]:
        """The id of every field, in order."""
        return [files.id for files in self.known.fields]


def read_folder(
    folder: str | pathlib.Path, *, um_per_pixel: UmPerPixel = 0.0, camera_bits: int = 0, annotations: str = ""
) -> FieldFolder:
    """The fields of a folder, with the labels of its table where it has one.

    The highest value of every image means full scale: of channels with more than 8 bits it is found over all fields of
    the folder. What cannot be a field, and labels of no field, are logged.

    Args:
        folder: of pictures {id}_{red,green,blue,yellow}.png, .jpg or .tif, anywhere in it.
        um_per_pixel: µm; 0: as the files state, or by the width (`hpax.atlas.um_per_pixel`: 0.08 at 1728, 2048 and
            3072 pixels, else as a field of 164 µm); auto: as the files state, or by the
            nuclei, which are looked for in some fields.
        camera_bits: of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels.
        annotations: the name of the table of labels; "": the only one there, if any.

    Raises:
        FileNotFoundError: the folder is missing or holds no field, or the table is not there.
        ValueError: the table is wrong, or the fields may come from several cameras.
    """
    folder = pathlib.Path(folder)
    survey = fields.survey(folder)
    scale = fields.full_scale(survey.fields, bits=camera_bits)
    size = pixel_sizes.number(um_per_pixel)
    scaled = [dataclasses.replace(files, full_scale=scale) for files in survey.fields]
    estimates = pixel_sizes.estimates(scaled, um_per_pixel)
    scaled = [dataclasses.replace(files, estimates=estimates) for files in scaled]
    known = dataclasses.replace(folders.annotated(folder, scaled, annotations), faults=survey.faults)
    for remark in (*known.remarks(), scale.remark, *folders.size_remarks(folder, scaled, size)):
        if remark:
            log.warning("%s", remark)
    return FieldFolder(known, size)
