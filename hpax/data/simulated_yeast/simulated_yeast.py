"""Crops of simulated budding yeast, of proteins of known location."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hpax.data import builder
from hpax.data.simulated_fields.simulated_fields import CITATION, LICENSE
from hpax.simulate import yeast


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(builder.Config):
    """What to simulate. See `hpax.simulate.yeast`."""

    proteins: int = 170
    cells: int = 40  # of each protein
    seed: int = 0
    multilocalised: float = 0.3  # share of proteins

    def __post_init__(self) -> None:
        if self.cells < 2:
            raise ValueError(f"cells must be at least 2 of each protein, so that they can be paired, got {self.cells}")
        super().__post_init__()


class SimulatedYeast(builder.Builder):
    """Simulated yeast: a tagged protein and a marker of the cytosol, 64 pixels, with the protein's locations."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [Config()]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    **builder.cell_features(yeast.SIZE, 2, np.uint16, labels=False),
                    "locations": tfds.features.Text(),  # of yeast.LOCATIONS, with | between them, the main one first
                }
            ),
            license=LICENSE,
            citation=CITATION,
        )

    @staticmethod
    def pictures(config: Config, folder: None = None) -> list[builder.FieldGroup]:
        """One for each protein; the main location is the stratum of the splits."""
        proteome = yeast.proteome(proteins=config.proteins, seed=config.seed, multilocalised=config.multilocalised)
        found = []
        for protein in proteome:
            stratum = yeast.LOCATIONS.index(protein.locations[0])
            found.append(builder.FieldGroup(protein.name, protein, stratum=stratum))
        return found

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example]:
        """The cells of one protein."""
        protein = picture.content
        for number, image in enumerate(yeast.crops(protein, count=config.cells, seed=config.seed)):
            id = f"{protein.name}_{number}"
            yield (
                id,
                {
                    "image": image,
                    "id": id,
                    "group_id": protein.name,
                    "field": protein.name,
                    "protein": protein.name,
                    "antibody": "",
                    "cell_line": "",
                    "x": np.nan,
                    "y": np.nan,
                    "locations": "|".join(protein.locations),
                },
            )
