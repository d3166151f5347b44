"""Fields of the Human Protein Atlas, as Kaggle ships or proteinatlas.org serves them."""

import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt

from hpax import atlas
from hpax.data import builder
from hpax.formats import fields, proteinatlas

CITATION = """@article{thul2017subcellular,
  title={A subcellular map of the human proteome}, author={Thul, Peter J and others},
  journal={Science}, volume={356}, number={6340}, pages={eaal3321}, year={2017}}"""
HOMEPAGE = "https://www.proteinatlas.org"
LICENSE = "CC BY-SA, the Human Protein Atlas (proteinatlas.org)"
LAYOUT = """fields of view: give their folder as source. Each field is four pictures {id}_{red,green,blue,yellow} (.png,
    .jpg or .tif), anywhere in it; a table (.csv or .tsv) at its top, with columns id and label, holds the labels.
    A zip archive of such a folder does too, as Kaggle's; hpax.data.archive says what is unpacked of it.
    `python -m hpax.data.fetch LIST.csv FOLDER` makes such a folder from proteinatlas.org."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(builder.Config):
    """How to read fields."""

    annotations: str = ""  # the table's name in the folder; "": the only one there, if any
    bits: int = 8  # 16 for fields with 16-bit channels; 8-bit ones then span 16 bits
    um_per_pixel: float = 0.0  # µm; 0: by the width, see atlas.um_per_pixel
    max_pixels: int = fields.MAX_PIXELS  # a larger picture is an error

    def __post_init__(self):
        if self.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16, got {self.bits}")
        super().__post_init__()

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Of the stored pixels."""
        return np.uint8 if self.bits == 8 else np.uint16


Annotated = tuple[fields.FieldFiles, fields.Annotation]


def pictures(
    config: Config, folder: pathlib.Path, found: Sequence[fields.FieldFiles] | None = None
) -> list[builder.FieldGroup]:
    """One picture per plate and well, or per field where the name does not tell; of `found`, or of all in the folder.

    A field without annotation gets no label; where the protein is unknown, the image stands for it, so that the
    splits keep images together.
    """
    found, annotations = fields.find_fields(folder) if found is None else found, _annotations(config, folder)
    if unknown := sum(files.id not in annotations for files in found):
        log.warning("%d of %d fields in %s have no annotation, and so no label", unknown, len(found), folder)
    nothing = fields.Annotation(atlas.multi_hot([]))
    annotated = [(files, annotations.get(files.id, nothing)) for files in found]
    return [_picture(image, list(members)) for image, members in itertools.groupby(annotated, lambda m: image_of(m[0]))]


def _annotations(config: Config, folder: pathlib.Path) -> dict[str, fields.Annotation]:
    if config.annotations:
        return fields.read_annotations(folder / config.annotations)
    found = (path for path in folder.iterdir() if path.suffix in (".csv", ".tsv"))
    tables = sorted(path for path in found if path.name != proteinatlas.FAILURES)
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise ValueError(f"{folder} holds several tables ({names}); name the one with the labels as annotations")
    return fields.read_annotations(tables[0]) if tables else {}


def _picture(image: str, members: list[Annotated]) -> builder.FieldGroup:
    proteins = {annotation.protein for _, annotation in members if annotation.protein}
    if len(proteins) > 1:
        raise ValueError(f"the fields of image {image} must show one protein, got {', '.join(sorted(proteins))}")
    return builder.FieldGroup(next(iter(proteins), image), (image, members))


def image_of(files: fields.FieldFiles) -> str:
    """The image in Lu's sense: plate and well of a proteinatlas name, else the id itself."""
    return proteinatlas.image_of(files.id) or files.id


def read(config: Config, files: fields.FieldFiles) -> tuple[UInt[np.ndarray, "h w 4"], float]:
    """The pixels of a field in the config's dtype, and its µm per pixel.

    Raises:
        ValueError: a channel cannot be read, or has 16 bits where the config says 8.
    """
    image = fields.read_field(files, max_pixels=config.max_pixels)
    if image.dtype == np.uint16 and config.bits == 8:
        raise ValueError(f"field {files.id} has 16 bits; build with bits=16")
    if image.dtype == np.uint8 and config.bits == 16:
        image = image.astype(np.uint16) * 257
    return image, config.um_per_pixel or atlas.um_per_pixel(image.shape[1])


def origin(picture: builder.FieldGroup, files: fields.FieldFiles, annotation: fields.Annotation) -> dict[str, Any]:
    """Where a field comes from."""
    return {
        "group_id": picture.content[0],
        "field": files.id,
        "protein": picture.protein,
        "antibody": annotation.antibody,
        "cell_line": annotation.cell_line,
    }


class HpaFields(builder.Builder):
    """Whole fields of view of the Human Protein Atlas: four channels in `atlas.CHANNELS` order, and image labels."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release: Kaggle and proteinatlas layouts."}
    BUILDER_CONFIGS: ClassVar = [Config()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"hpa_fields reads {LAYOUT}"
    PICTURES_PER_SHARD = 32
    pictures = staticmethod(pictures)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=builder.field_features(self.builder_config.dtype, masks=False),
            homepage=HOMEPAGE,
            license=LICENSE,
            citation=CITATION,
        )

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example]:
        """The fields of one image."""
        for files, annotation in picture.content[1]:
            image, um_per_pixel = read(config, files)
            known = origin(picture, files, annotation)
            yield (
                files.id,
                {
                    "id": files.id,
                    "image": image,
                    **known,
                    "labels": annotation.labels,
                    "um_per_pixel": um_per_pixel,
                },
            )
