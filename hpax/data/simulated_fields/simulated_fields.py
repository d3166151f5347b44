"""Simulated fields of view with the truth of every cell."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hpax import simulate
from hpax.data import builder, splits

CITATION = "Simulated by hpax.simulate; cite hpax."
LICENSE = "Apache-2.0"


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(builder.Config):
    """What to simulate. See `hpax.simulate.proteome`, `hpax.simulate.field` and `hpax.simulate.Optics`."""

    LATER: ClassVar = frozenset({"realism"})
    proteins: int = 100
    cell_lines: int = 2  # of each protein
    fields: int = 2  # of each protein in each cell line
    seed: int = 0
    size: int = 512  # pixels of a field's side
    um_per_pixel: float = 0.32
    balanced: bool = False  # classes equally frequent
    multilocalised: float = 0.55  # share of proteins
    varying: float = 0.35  # share of proteins with single-cell variation
    bleed_through: float = 0.0  # share
    defocus: float = 0.0  # µm
    realism: simulate.Realism = "plain"  # "randomised": as real fields vary, in all lines

    def __post_init__(self) -> None:
        for name in ("cell_lines", "fields"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.cell_lines > len(simulate.cell_lines(self.realism)):
            raise ValueError(
                f"cell_lines must be at most {len(simulate.cell_lines(self.realism))}, got {self.cell_lines}"
            )
        if self.realism != "plain" and (self.bleed_through or self.defocus):
            raise ValueError("randomised fields draw bleed_through and defocus; leave both at 0")
        super().__post_init__()


def pictures(config: Config, folder: pathlib.Path | None) -> list[builder.FieldGroup]:
    """One picture for each protein in each of its cell lines; the main location is the stratum of the splits."""
    proteome = simulate.proteome(
        proteins=config.proteins,
        seed=config.seed,
        balanced=config.balanced,
        multilocalised=config.multilocalised,
        varying=config.varying,
    )
    return [
        builder.FieldGroup(protein.name, (protein, cell_line), stratum=protein.locations[0])
        for protein in proteome
        for cell_line in cell_lines(protein.name, config.cell_lines, simulate.cell_lines(config.realism))
    ]


def cell_lines(protein: str, count: int, known: Sequence[str]) -> list[str]:
    """`count` of the known cell lines for a protein, drawn by its name."""
    first = int(splits.draw(f"cell lines of {protein}") * len(known))
    return [known[(first + k) % len(known)] for k in range(count)]


def fields(config: Config, picture: builder.FieldGroup) -> Iterator[simulate.SimulatedField]:
    """The fields of one protein in one cell line."""
    protein, cell_line = picture.content
    optics = simulate.Optics(bleed_through=config.bleed_through, defocus=config.defocus)
    for index in range(config.fields):
        yield simulate.field(
            protein,
            cell_line,
            index,
            seed=config.seed,
            size=config.size,
            um_per_pixel=config.um_per_pixel,
            optics=optics,
            realism=config.realism,
        )


def origin(field: simulate.SimulatedField) -> dict[str, Any]:
    """Where a field's cells come from; an image, in Lu's sense, is one antibody in one cell line."""
    return {
        "group_id": f"{field.protein}_{field.antibody}_{field.cell_line}".replace(" ", "-"),
        "field": field.id,
        "protein": field.protein,
        "antibody": field.antibody,
        "cell_line": field.cell_line,
    }


class SimulatedFields(builder.Builder):
    """A simulated atlas: four-channel fields, masks of cells and nuclei, labels of images and of single cells."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release.",
        "2.0.0": "The column image_id is called group_id.",
    }
    BUILDER_CONFIGS: ClassVar = [Config()]
    pictures = staticmethod(pictures)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=builder.field_features(np.uint8, masks=True),
            license=LICENSE,
            citation=CITATION,
        )

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example]:
        """The fields of one protein in one cell line."""
        for field in fields(config, picture):
            truth = {name: getattr(field, name) for name in ("image", "cells", "nuclei", "cell_labels", "labels")}
            yield field.id, {"id": field.id, **origin(field), **truth, "um_per_pixel": field.um_per_pixel}
