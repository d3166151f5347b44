"""Fluorescence images with hand-drawn nuclei, of the Data Science Bowl 2018."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Integer

from hpax.data import builder
from hpax.data.shards import Failure, attempted
from hpax.formats import fields, label_images, pictures

CITATION = """@article{caicedo2019nucleus,
  title={Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl},
  author={Caicedo, Juan C and Goodman, Allen and Karhohs, Kyle W and others},
  journal={Nature Methods}, volume={16}, pages={1247--1253}, year={2019}}"""

NUCLEUS_AREA = 174.0
"""µm², of the median nucleus of a field of human cells.

Half of 77 fields of the Human Protein Atlas (1,008 nuclei, `segment.nuclei.CODE`, pieces under 40 µm² left out) have a
smaller median nucleus; a quarter have one under 121 µm², a quarter one over 209 µm².
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(builder.Config):
    """How to read the images."""

    nucleus_area: float = NUCLEUS_AREA  # µm², what the median nucleus of each image is taken to cover

    def __post_init__(self) -> None:
        if not self.nucleus_area > 0:
            raise ValueError(f"nucleus_area must be positive, got {self.nucleus_area}")
        super().__post_init__()


class Dsb2018Nuclei(builder.Builder):
    """Nuclei under many fluorescence microscopes, each drawn by hand: an index mask beside every grey image.

    Nobody recorded the size of a pixel. `um_per_pixel` is what makes the median nucleus of an image as large as that
    of human cells in fields of the Human Protein Atlas. It is read off the drawn truth, so it is knowledge that an
    image alone does not give: whoever is told it must be compared with others that are told it too. The splits hold
    their fractions of the images of each width, which goes with the microscope.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release: fluorescence images of the first training stage.",
        "2.0.0": "The column image_id is called group_id.",
    }
    BUILDER_CONFIGS: ClassVar = [Config()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """dsb2018_nuclei reads a folder of images/{id}.png, grey, and masks/{id}.png, in
    which pixels of nucleus i have the value i and the background has 0: give it as source."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": builder.pixels((None, None, 1), np.uint8),
                    "nuclei": builder.pixels((None, None), np.uint16),
                    "id": tfds.features.Text(),
                    "um_per_pixel": tfds.features.Scalar(np.float32),
                }
            ),
            homepage="https://bbbc.broadinstitute.org/BBBC038",
            license="CC0 1.0",
            citation=CITATION,
        )

    @staticmethod
    def pictures(config: Config, folder: pathlib.Path) -> list[builder.FieldGroup]:
        """Every image that has a mask, by id; the id stands for a protein, so that an image is all in one split."""
        images, masks = _pngs(folder / "images"), _pngs(folder / "masks")
        if not images:
            raise FileNotFoundError(f"{folder} holds no images/*.png; give the folder of images and masks")
        if not images.keys() & masks.keys():
            raise FileNotFoundError(f"{folder} must hold an image and a mask of each id, {next(iter(images))} has one")
        both = sorted(images.keys() & masks.keys())
        return [builder.FieldGroup(id, (images[id], masks[id]), stratum=_width(images[id])) for id in both]

    @staticmethod
    def faults(config: Config, folder: pathlib.Path) -> dict[str, str]:
        """Images without a mask, and masks without an image."""
        alone = sorted(_pngs(folder / "images").keys() ^ _pngs(folder / "masks").keys())
        return {id: f"{folder} must hold an image and a mask of each id, {id} has only one" for id in alone}

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example | Failure]:
        """One image, or none if nothing is drawn on it."""
        return attempted(picture.protein, functools.partial(_examples, config, picture.protein, *picture.content))


def _examples(config: Config, id: str, path: pathlib.Path, mask: pathlib.Path) -> Iterator[builder.Example]:
    image, nuclei = fields.read_channel(path), label_images.read(mask)
    if image.dtype != np.uint8 or image.shape != nuclei.shape or nuclei.max() >= 2**16:
        found = f"{image.dtype} of shape {image.shape}, and indices up to {nuclei.max()} of shape {nuclei.shape}"
        raise ValueError(f"{path} must have 8 bits and the size of its 16-bit mask, got {found}")
    if nuclei.any():
        size = um_per_pixel(nuclei, config.nucleus_area)
        yield id, {"image": image[..., None], "nuclei": nuclei.astype(np.uint16), "id": id, "um_per_pixel": size}


def um_per_pixel(nuclei: Integer[np.ndarray, "h w"], nucleus_area: float = NUCLEUS_AREA) -> float:
    """The pixel size at which the median nucleus of an index mask covers `nucleus_area` µm²."""
    areas = np.unique(nuclei[nuclei > 0], return_counts=True)[1]
    return float(np.sqrt(nucleus_area / np.median(areas)))


def _pngs(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    return {path.stem: path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")}


def _width(path: pathlib.Path) -> int:
    """0 of what is no image, as who reads it says."""
    return (pictures.size(path) or (0, 0))[1]
