"""Simulated fields of view with the truth of every cell."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

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
    realism: Literal["plain", "randomised", "mixed"] = "plain"  # randomised: as real fields vary, in all lines

    @property
    def shares(self) -> dict[simulate.Realism, int]:
        """How many of a protein's cell lines are drawn how: of "mixed" ones half and half."""
        if self.realism == "mixed":
            return {"plain": self.cell_lines // 2, "randomised": self.cell_lines // 2}
        return {self.realism: self.cell_lines}

    def __post_init__(self) -> None:
        for name in ("cell_lines", "fields"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.realism == "mixed" and self.cell_lines % 2:
            told = f"got {self.cell_lines}; half of them are plain, half randomised"
            raise ValueError(f"cell_lines of mixed fields must be even, {told}")
        for realism, count in self.shares.items():
            if count > len(simulate.cell_lines(realism)):
                most = len(simulate.cell_lines(realism))
                raise ValueError(f"cell_lines must be at most {most} of {realism} fields, got {count}")
        if self.realism != "plain" and (self.bleed_through or self.defocus):
            raise ValueError("randomised fields draw bleed_through and defocus; leave both at 0")
        super().__post_init__()


def pictures(config: Config, folder: pathlib.Path | None) -> list[builder.FieldGroup]:
    """One picture for each protein in each of its cell lines; the main location is the stratum of the splits.

    Those of "mixed" fields have further indices where they are randomised: a line may be drawn both ways.
    """
    proteome = simulate.proteome(
        proteins=config.proteins,
        seed=config.seed,
        balanced=config.balanced,
        multilocalised=config.multilocalised,
        varying=config.varying,
    )
    found = []
    for protein in proteome:
        for number, (realism, count) in enumerate(config.shares.items()):
            for cell_line in cell_lines(protein.name, count, simulate.cell_lines(realism)):
                content = (protein, cell_line, realism, number * config.fields)
                found.append(builder.FieldGroup(protein.name, content, stratum=protein.locations[0]))
    return found


def cell_lines(protein: str, count: int, known: Sequence[str]) -> list[str]:
    """`count` of the known cell lines for a protein, drawn by its name."""
    first = int(splits.draw(f"cell lines of {protein}") * len(known))
    return [known[(first + k) % len(known)] for k in range(count)]


def fields(config: Config, picture: builder.FieldGroup) -> Iterator[simulate.SimulatedField]:
    """The fields of one protein in one cell line."""
    protein, cell_line, realism, first = picture.content
    optics = simulate.Optics(bleed_through=config.bleed_through, defocus=config.defocus)
    for index in range(first, first + config.fields):
        yield simulate.field(
            protein,
            cell_line,
            index,
            seed=config.seed,
            size=config.size,
            um_per_pixel=config.um_per_pixel,
            optics=optics,
            realism=realism,
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

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release.",
        "2.0.0": "The column image_id is called group_id.",
        "3.0.0": "Randomised fields: every cell has a background, the nucleus too; levels of the markers.",
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
