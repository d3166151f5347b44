"""Image-level and cell-level models together, from the labels of fields alone (Le et al. 2022).

ensemble = weak_labels.train_ensemble(Config(), training, validation, folder, kind="real")
ensemble.save("models")
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from hpax import files
from hpax.data import FieldSource
from hpax.fields import Field
from hpax.models import CellClassifier, Ensemble, FieldClassifier, LabelPrediction
from hpax.predict import cams
from hpax.predict.strategies import Opinions
from hpax.recipes import classify, distil, localize
from hpax.recipes.datasets import Kind


@dataclasses.dataclass(frozen=True)
class Config:
    """Both kinds of models, and how they meet."""

    field: localize.Config = localize.Config(pooling="lse")
    cell: classify.Config = classify.Config()
    start: Literal["cells", "fresh"] = "cells"  # the image-level model: from the cell-level one, or fresh
    folds: int = 2  # of the training proteins, for the predictions that are distilled; 0: no distillation

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds must be 2 or more, or 0 for no distillation, got 1")
        if self.start == "cells" and self.field.backbone.name != self.cell.backbone.name:
            names = f"{self.field.backbone.name} and {self.cell.backbone.name}"
            raise ValueError(f'both backbones must be one to start from the cells, got {names}; set start "fresh"')

    def seeded(self, seed: int) -> "Config":
        """The same with another seed of both models."""
        field, cell = dataclasses.replace(self.field, seed=seed), dataclasses.replace(self.cell, seed=seed)
        return dataclasses.replace(self, field=field, cell=cell)


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Where networks are kept by what they were trained with: runs that share one train it once."""

    root: Path
    kind: Kind

    def folder(self, role: str, config: object, *data: FieldSource | str) -> Path:
        """A folder that belongs to this config on this data alone."""
        names = [part if isinstance(part, str) else part.name for part in data]
        return self.root / f"{role}-{files.digest(repr(files.as_json(config)), *names)}"

    def cell(
        self,
        config: classify.Config,
        training: FieldSource,
        validation: FieldSource,
        targets: classify.Targets | None = None,
        *,
        role: str = "cell",
        made_by: str = "",
    ) -> CellClassifier:
        """The cell-level model; `made_by` names what soft targets come from."""
        folder = self.folder(role, config, training, validation, made_by)
        return classify.train_model(config, training, validation, folder, kind=self.kind, targets=targets)

    def field(
        self, config: localize.Config, training: FieldSource, validation: FieldSource, start: str = ""
    ) -> FieldClassifier:
        """The image-level model; `start` names the network that it begins with."""
        folder = self.folder("field", dataclasses.replace(config, init_from=None), training, validation, start)
        return localize.train_model(config, training, validation, folder, kind=self.kind)


def train_ensemble(config: Config, training: FieldSource, validation: FieldSource, shelf: Shelf) -> Ensemble:
    """The two kinds, learnt from the labels of fields."""
    cell = shelf.cell(config.cell, training, validation)
    if config.start == "fresh":
        return Ensemble((shelf.field(config.field, training, validation),), (cell,))
    folder = shelf.folder("cell", config.cell, training, validation, "")
    start = dataclasses.replace(config.field, init_from=folder / classify.FILE)
    field = shelf.field(start, training, validation, f"cell {folder.name}")
    return Ensemble((field,), (cell,))


def train_distilled(config: Config, training: FieldSource, validation: FieldSource, shelf: Shelf) -> CellClassifier:
    """A cell-level model that learns what others, which never saw a cell's protein, say of it."""

    def folder(shorter: classify.Config, fold: int) -> Path:
        return shelf.folder(f"cell-without-fold{fold}-of-{config.folds}", shorter, training, validation)

    targets = distil.soft_targets(config.cell, training, validation, config.folds, folder, kind=shelf.kind)
    made_by = f"distilled from {config.folds} folds"
    return shelf.cell(config.cell, training, validation, targets, role="distilled", made_by=made_by)


def opinions(ensemble: Ensemble, fields: Iterable[Field]) -> Iterator[Opinions]:
    """What the first network of each kind says of each field."""
    field_model, cell_model = ensemble.fields[0], ensemble.cells[0]
    for field in fields:
        seen = field_model.predict(field)
        maps = cams.cell_probabilities(seen.maps, seen.probabilities, field.found.cells)
        yield Opinions(seen.probabilities, maps, cell_model.predict(field))


def cross_validate(
    config: Config, source: FieldSource, fold: Int64[np.ndarray, " f"], shelf: Shelf
) -> list[LabelPrediction]:
    """What ensembles say of every field that learnt from the other folds; in the order of the source, without maps.

    The fold that is asked about is shown as validation in the log, and nothing is chosen by it.
    """
    found: dict[int, LabelPrediction] = {}
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        asked = source.part(outside)
        ensemble = train_ensemble(config, source.part(inside), asked, shelf)
        for place, field in zip(outside.tolist(), asked, strict=True):
            found[place] = ensemble.predict(field)._replace(maps=None)
    return [found[place] for place in range(len(source))]


LE2022: dict[str, object] = {
    "field.backbone.name": "efficientnet-b0",
    "field.um_per_pixel": 0.32,
    "field.window": 512,
    "field.loss.name": "focal_lovasz_bce",
    "field.pooling": "average",
    "field.puzzle": 1.0,
    "field.copy_paste": True,
    "field.optimizer.learning_rate": 3e-4,
    "field.optimizer.batch_size": 32,
    "field.optimizer.epochs": 55.0,
    "cell.backbone.name": "inception-v3",
    "cell.crop_um": 41.0,
    "cell.resolution": 128,
    "cell.cells": 4,
    "cell.loss.name": "focal_lovasz_bce",
    "cell.optimizer.learning_rate": 3e-4,
    "cell.optimizer.epochs": 55.0,
    "start": "fresh",
}
"""The winners' image-level and cell-level models (Le et al. 2022; their code): fields at 512 pixels, cells at 128."""
