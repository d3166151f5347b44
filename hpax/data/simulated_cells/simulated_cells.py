"""Crops around each cell of simulated fields, with true labels."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hpax import atlas
from hpax.data import builder, cells
from hpax.data.simulated_fields import simulated_fields
from hpax.segment import crops


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(cells.Cutting, simulated_fields.Config):
    """What to simulate, and how to cut it."""


class SimulatedCells(builder.Builder):
    """Single cells of a simulated atlas, cut around their nuclei, labelled with what each cell truly shows."""

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release.",
        "2.0.0": "The column image_id is called group_id.",
        "3.0.0": "Randomised fields: every cell has a background, the nucleus too; levels of the markers.",
    }
    BUILDER_CONFIGS: ClassVar = [Config()]
    pictures = staticmethod(simulated_fields.pictures)

    def _info(self) -> tfds.core.DatasetInfo:
        channels = len(atlas.CHANNELS)
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=builder.cell_features(self.builder_config.crop_size, channels, np.uint8, labels=True),
            license=simulated_fields.LICENSE,
            citation=simulated_fields.CITATION,
        )

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example]:
        """The cells of each image of one protein in one cell line."""
        found: list[dict[str, Any]] = []
        for field in simulated_fields.fields(config, picture):
            centres = crops.centroids(field.nuclei)
            labels = {index: field.cell_labels[index - 1] for index in centres}
            origin = simulated_fields.origin(field)
            found.extend(cells.cut(config, field.image, field.um_per_pixel, centres, labels, origin))
        return cells.of_large_images(found, config.min_cells)
