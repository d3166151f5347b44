"""Fields of the Human Protein Atlas, as Kaggle ships or proteinatlas.org serves them."""

import dataclasses
import functools
import itertools
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt

from hpax import images
from hpax.data import builder, failures, folders
from hpax.data.shards import Failure, attempted
from hpax.files import digest
from hpax.formats import fields, proteinatlas

CITATION = """@article{thul2017subcellular,
  title={A subcellular map of the human proteome}, author={Thul, Peter J and others},
  journal={Science}, volume={356}, number={6340}, pages={eaal3321}, year={2017}}"""
HOMEPAGE = "https://www.proteinatlas.org"
LICENSE = "CC BY-SA, the Human Protein Atlas (proteinatlas.org)"
LAYOUT = """fields of view: give their folder as source. Each field is four pictures {id}_{red,green,blue,yellow} (.png,
    .jpg or .tif), anywhere in it; a table (.csv or .tsv) at its top, with columns id and label, holds the labels, or
    one beside it, as train.csv beside train.
    A zip archive of such a folder does too, as Kaggle's; hpax.data.archive says what is unpacked of it.
    `python -m hpax.data.fetch LIST.csv FOLDER` makes such a folder from proteinatlas.org."""

STORED = 0.32  # µm per pixel; what the networks that hpax ships see, and finer than what others learn from

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False, kw_only=True)
class Reading(builder.Config):
    """How to read fields."""

    annotations: str = ""  # the table's name in the folder, or its whole path; "": the only one there, if any
    bits: int = 8  # 16 for fields with 16-bit channels; 8-bit ones then span 16 bits
    camera_bits: int = 0  # of 16-bit channels, such as 12; 0: the fewest that hold all pixels of the folder
    um_per_pixel: float = 0.0  # µm; 0: as the files state, else by the width, see atlas.um_per_pixel
    max_pixels: int = fields.MAX_PIXELS  # a larger picture is an error
    estimates: tuple[tuple[int, float], ...] = ()  # longer side in pixels, µm per pixel, of fields that state none
    planes: fields.Planes = "clear"  # "own": of pictures in colour that of the name, though others hold much
    LATER: ClassVar[frozenset[str]] = frozenset({"estimates", "planes"})

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16, got {self.bits}")
        if self.camera_bits:
            fields.FullScale.of_bits(self.camera_bits)
        if pathlib.Path(self.annotations).is_absolute():
            self.fingerprint = f"{self.fingerprint}+{digest(pathlib.Path(self.annotations))}"
        super().__post_init__()

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Of the stored pixels."""
        return np.uint8 if self.bits == 8 else np.uint16


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(Reading):
    """How to read fields, and how finely to store them."""

    stored_um_per_pixel: float = STORED  # µm; finer fields are stored so, coarser ones as they are; 0: all as they are

    def __post_init__(self) -> None:
        if self.stored_um_per_pixel < 0:
            raise ValueError(f"stored_um_per_pixel must not be negative, got {self.stored_um_per_pixel}; 0 stores all")
        super().__post_init__()


Annotated = tuple[fields.FieldFiles, fields.Annotation]


def pictures(
    config: Reading, folder: pathlib.Path, found: Sequence[fields.FieldFiles] | None = None, *, sizes: bool = True
) -> list[builder.FieldGroup]:
    """One picture per plate and well, or per field where the name does not tell; of `found`, or of all in the folder.

    A field without annotation gets no label; where the protein is unknown, the image stands for it, so that the
    splits keep images together. Pixels are read only to find the full scale of 16-bit channels. Pixel sizes that are
    guessed or contradicted are logged if `sizes` says so.
    """
    found = _whole(folder) if found is None else found
    found = [dataclasses.replace(files, estimates=config.estimates, planes=config.planes) for files in found]
    known = folders.annotated(folder, found, config.annotations)
    for remark in (*known.remarks(), *(folders.size_remarks(folder, found, config.um_per_pixel) if sizes else ())):
        _tell(remark)
    full_scale = _full_scale(config, folder, found)
    annotated = []
    for files in found:
        files = dataclasses.replace(files, full_scale=full_scale)
        annotated.append((files, known.annotations.get(files.id, folders.NOTHING)))
    return [_picture(image, list(members)) for image, members in itertools.groupby(annotated, lambda m: image_of(m[0]))]


def _whole(folder: pathlib.Path) -> Sequence[fields.FieldFiles]:
    """The fields that have all their channels; if none has, what is wrong with the first ones."""
    found = fields.survey(folder)
    if not found.fields:
        raise ValueError(f"{folder} holds no whole field: {failures.summary(_reasons(found))}")
    return found.fields


def faults(folder: pathlib.Path) -> dict[str, str]:
    """Id → what is wrong with a field that lacks a channel, or whose files cannot be told apart."""
    return _reasons(fields.survey(folder))


def _reasons(found: fields.Survey) -> dict[str, str]:
    return {id: str(fault) for id, fault in found.faults.items()}


def _full_scale(config: Reading, folder: pathlib.Path, found: Sequence[fields.FieldFiles]) -> fields.FullScale | None:
    if config.bits == 8:
        return None
    full_scale = fields.full_scale(found, bits=config.camera_bits)
    if full_scale.remark:
        _tell(f"{folder}: {full_scale.remark}")
    return full_scale


@functools.cache
def _tell(remark: str) -> None:
    """Logs a remark on a folder, once in a process, though fields and then cells are built of it."""
    log.warning("%s", remark)


def _picture(image: str, members: list[Annotated]) -> builder.FieldGroup:
    proteins = {annotation.protein for _, annotation in members if annotation.protein}
    if len(proteins) > 1:
        raise ValueError(f"the fields of image {image} must show one protein, got {', '.join(sorted(proteins))}")
    return builder.FieldGroup(next(iter(proteins), image), (image, members))


def image_of(files: fields.FieldFiles) -> str:
    """The image in Lu's sense: plate and well of a proteinatlas name, else the id itself."""
    return proteinatlas.image_of(files.id) or files.id


def read(config: Reading, files: fields.FieldFiles) -> tuple[UInt[np.ndarray, "h w 4"], float]:
    """The pixels of a field in the config's dtype, and its µm per pixel.

    Raises:
        ValueError: a channel cannot be read, or has 16 bits where the config says 8.
    """
    image = fields.read_field(files, max_pixels=config.max_pixels)
    if image.dtype == np.uint16 and config.bits == 8:
        raise ValueError(f"field {files.id} has 16 bits; build with bits=16")
    if image.dtype == np.uint8 and config.bits == 16:
        image = image.astype(np.uint16) * 257
    return image, fields.pixel_size(files, image.shape[:2], config.um_per_pixel).um_per_pixel


def stored(
    config: Config, image: UInt[np.ndarray, "h w 4"], um_per_pixel: float
) -> tuple[UInt[np.ndarray, "y x 4"], float]:
    """A field as it is stored: no finer than the config says, and never finer than it is."""
    if not config.stored_um_per_pixel > um_per_pixel:
        return image, um_per_pixel
    shape = images.shape_at(image.shape[:2], um_per_pixel, config.stored_um_per_pixel)
    return images.resize(image, shape), um_per_pixel * max(image.shape[:2]) / max(shape)


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

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release: Kaggle and proteinatlas layouts.",
        "2.0.0": "Stored at 0.32 µm per pixel by default; full scale of the whole folder, orientation tags, stated "
        "pixel sizes.",
        "3.0.0": "The column image_id is called group_id.",
    }
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
    def faults(config: Config, folder: pathlib.Path) -> dict[str, str]:
        """Fields that are not whole."""
        return faults(folder)

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example | Failure]:
        """The fields of one image."""
        for files, annotation in picture.content[1]:
            known = origin(picture, files, annotation)
            yield from attempted(files.id, functools.partial(_examples, config, files, annotation.labels, known))


def _examples(
    config: Config, files: fields.FieldFiles, labels: UInt[np.ndarray, " 19"], known: dict[str, Any]
) -> Iterator[builder.Example]:
    """The one example of a field."""
    image, um_per_pixel = stored(config, *read(config, files))
    yield files.id, {"id": files.id, "image": image, **known, "labels": labels, "um_per_pixel": um_per_pixel}
