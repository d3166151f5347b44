"""Cells cut out of fields of the Human Protein Atlas, at each field's own scale: by index masks, or by Otsu nuclei."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt

from hpax import atlas
from hpax.data import builder, cells, pixel_sizes
from hpax.data.building import fingerprint
from hpax.data.hpa_fields import hpa_fields
from hpax.data.shards import Failure, attempted
from hpax.fields import Masks
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.segment import classical, nuclei

RECIPES = (*nuclei.RECIPES, "classical", "masks")

STATISTICS = {
    "index": np.int32,
    "area_um2": np.float32,
    "nucleus_area_um2": np.float32,
    "touches_border": np.bool_,
    "missing": np.float32,
    "nucleus_cut": np.bool_,
    "relative_size": np.float32,
}
"""What `hpax.segment.borders.cell_properties` says of each cell."""

_NUCLEUS = atlas.CHANNELS.index("nucleus")

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(cells.Cutting, hpa_fields.Reading):
    """How to read fields, and how to cut them."""

    recipe: str = "code"  # Otsu nuclei as in the published "code" or "paper", "classical" masks, or `masks`
    masks: str = ""  # folder of index masks (see hpax.formats.masks); fields without are left out
    centre: Literal["nucleus", "cell"] = "nucleus"  # what a crop is centred on
    neighbours: bool = True  # keep what lies around the cell; else it is 0 outside of the cell's mask

    def __post_init__(self) -> None:
        folder, self.masks = self.masks, ""  # of the folder its contents are an option, and not where it lies
        if folder:
            self.recipe, self.fingerprint = "masks", f"{self.fingerprint}+{fingerprint(folder)}"
        if self.recipe not in RECIPES or (self.recipe == "masks" and not folder):
            raise ValueError(f"recipe must be one of {', '.join(RECIPES[:-1])}, or masks a folder, got {self.recipe!r}")
        if self.recipe in nuclei.RECIPES and (self.centre != "nucleus" or not self.neighbours):
            raise ValueError(f"recipe {self.recipe!r} knows nuclei, but no cells; use 'classical', or give masks")
        super().__post_init__()
        self.masks = folder


class HpaCells(builder.Builder):
    """Single cells of the Human Protein Atlas, four channels, with the labels of their image.

    Those cut by masks come with their own mask and that of their nucleus, and with what their field's border took.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release: Otsu nuclei after Lu et al. 2019.",
        "1.1.0": "Cells by masks: their own masks, areas and borders; um_per_pixel of the field for all.",
        "1.2.0": "Full scale of the whole folder, orientation tags, stated pixel sizes, masks matched by overlap.",
        "2.0.0": "The column image_id is called group_id.",
    }
    BUILDER_CONFIGS: ClassVar = [Config()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"hpa_cells reads {hpa_fields.LAYOUT}"

    def _info(self) -> tfds.core.DatasetInfo:
        config, channels = self.builder_config, len(atlas.CHANNELS)
        features = dict(builder.cell_features(config.crop_size, channels, config.dtype, labels=True))
        features["um_per_pixel"] = tfds.features.Scalar(np.float32)  # µm, of the field that x and y speak of
        if config.recipe not in nuclei.RECIPES:
            shape = (config.crop_size, config.crop_size)
            features |= {name: builder.pixels(shape, np.uint8) for name in cells.MASKS}
            features |= {name: tfds.features.Scalar(dtype) for name, dtype in STATISTICS.items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage=hpa_fields.HOMEPAGE,
            license=hpa_fields.LICENSE,
            citation=hpa_fields.CITATION,
        )

    @staticmethod
    def pictures(config: Config, folder: pathlib.Path) -> list[builder.FieldGroup]:
        """As those of hpa_fields; of the fields that have masks, if a folder of masks is given."""
        if not config.masks:
            return hpa_fields.pictures(config, folder)
        found = fields.survey(folder).fields
        segmented = [files for files in found if mask_files.present(config.masks, files.id)]
        if not segmented:
            raise FileNotFoundError(f"{config.masks} holds masks of none of the {len(found)} fields in {folder}")
        if len(segmented) < len(found):
            log.warning("%d of %d fields in %s have no masks", len(found) - len(segmented), len(found), folder)
        told = (pathlib.Path(config.masks).parent / pixel_sizes.FILE).is_file()  # by `hpax segment`
        return hpa_fields.pictures(config, folder, segmented, sizes=not told)

    @staticmethod
    def faults(config: Config, folder: pathlib.Path) -> dict[str, str]:
        """Fields that are not whole; of those with masks, if a folder of masks is given."""
        found = hpa_fields.faults(folder)
        if not config.masks:
            return found
        return {id: reason for id, reason in found.items() if mask_files.present(config.masks, id)}

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example | Failure]:
        """The cells of one image."""
        found: list[dict[str, Any]] = []
        for files, annotation in picture.content[1]:
            known = hpa_fields.origin(picture, files, annotation)
            for made in attempted(files.id, functools.partial(_examples, config, files, annotation.labels, known)):
                if isinstance(made, Failure):
                    yield made
                else:
                    found.append(made[1])
        yield from cells.of_large_images(found, config.min_cells)


Image = UInt[np.ndarray, "h w 4"]
Labels = UInt[np.ndarray, " 19"]


def _examples(
    config: Config, files: fields.FieldFiles, labels: Labels, known: dict[str, Any]
) -> Iterator[builder.Example]:
    """The cells of one field, however few."""
    image, um_per_pixel = hpa_fields.read(config, files)
    by = _by_nuclei if config.recipe in nuclei.RECIPES else _by_masks
    for cell in by(config, files, image, um_per_pixel, labels, known | {"um_per_pixel": um_per_pixel}):
        yield cell["id"], cell


def _by_nuclei(
    config: Config, files: fields.FieldFiles, image: Image, um_per_pixel: float, labels: Labels, known: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    points = nuclei.find_nuclei(image[..., _NUCLEUS], um_per_pixel, nuclei.RECIPES[config.recipe])
    centres = {index: (float(y), float(x)) for index, (y, x) in enumerate(points, start=1)}
    return cells.cut(config, image, um_per_pixel, centres, dict.fromkeys(centres, labels), known)


def _by_masks(
    config: Config, files: fields.FieldFiles, image: Image, um_per_pixel: float, labels: Labels, known: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    masks = classical.segment(image, um_per_pixel) if config.recipe == "classical" else _read(config, files, image)
    return cells.cut_by_masks(
        config, image, um_per_pixel, masks, labels, known, centre=config.centre, neighbours=config.neighbours
    )


def _read(config: Config, files: fields.FieldFiles, image: Image) -> Masks:
    found, nucleus = mask_files.read(config.masks, files.id)
    mask_files.check_placed(nucleus, image[..., _NUCLEUS], f"the masks of field {files.id} in {config.masks}")
    if found.shape != image.shape[:2]:
        size, own = (f"{w}x{h}" for h, w in (image.shape[:2], found.shape))
        raise ValueError(f"field {files.id} is {size} pixels, its masks in {config.masks} are {own}; segment it again")
    return Masks(found, np.where(nucleus == found, found, 0))  # others' nuclei may leave their cell
