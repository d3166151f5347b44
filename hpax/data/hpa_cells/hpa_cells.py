"""Cells cut out of fields of the Human Protein Atlas by the published Otsu recipe, at each field's own scale."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds

from hpax import atlas
from hpax.data import builder, cells
from hpax.data.hpa_fields import hpa_fields
from hpax.segment import nuclei

_NUCLEUS = atlas.CHANNELS.index("nucleus")


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(cells.Cutting, hpa_fields.Config):
    """How to read fields, and how to cut them."""

    recipe: str = "code"  # of hpax.segment.nuclei.RECIPES

    def __post_init__(self):
        if self.recipe not in nuclei.RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(nuclei.RECIPES)}, got {self.recipe!r}")
        super().__post_init__()


class HpaCells(builder.Builder):
    """Single cells of the Human Protein Atlas, four channels, with the labels of their image."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release: Otsu nuclei after Lu et al. 2019."}
    BUILDER_CONFIGS: ClassVar = [Config()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"hpa_cells reads {hpa_fields.LAYOUT}"
    pictures = staticmethod(hpa_fields.pictures)

    def _info(self) -> tfds.core.DatasetInfo:
        config, channels = self.builder_config, len(atlas.CHANNELS)
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=builder.cell_features(config.crop_size, channels, config.dtype, labels=True),
            homepage=hpa_fields.HOMEPAGE,
            license=hpa_fields.LICENSE,
            citation=hpa_fields.CITATION,
        )

    @staticmethod
    def examples(config: Config, picture: builder.Picture) -> Iterator[builder.Example]:
        """The cells of one image."""
        found = []
        for files, annotation in picture.content[1]:
            image, um_per_pixel = hpa_fields.read(config, files)
            points = nuclei.find_nuclei(image[..., _NUCLEUS], um_per_pixel, nuclei.RECIPES[config.recipe])
            centres = {index: (float(y), float(x)) for index, (y, x) in enumerate(points, start=1)}
            labels = dict.fromkeys(centres, annotation.labels)
            known = hpa_fields.origin(picture, files, annotation)
            found.extend(cells.cut(config, image, um_per_pixel, centres, labels, known))
        return cells.of_large_images(found, config.min_cells)
