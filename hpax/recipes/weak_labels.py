"""Image-level and cell-level models together, from the labels of fields alone (Le et al. 2022).

ensemble = weak_labels.train_ensemble(Config(), training, validation, folder, kind="real")
ensemble.save("models")
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from hpax import files
from hpax.data import FieldSource
from hpax.fields import Field
from hpax.models import CellClassifier, Ensemble, FieldClassifier, LabelPrediction, store
from hpax.predict import cams
from hpax.predict.strategies import Opinions
from hpax.recipes import classify, distil, learning, localize
from hpax.recipes.configs import LE2022
from hpax.recipes.configs import Weak as Config
from hpax.recipes.datasets import Kind

__all__ = [
    "LE2022",
    "Config",
    "Shelf",
    "cross_validate",
    "opinions",
    "train_distilled",
    "train_ensemble",
]


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Where networks are kept by what they were trained with: runs that share one train it once."""

    root: Path
    kind: Kind

    def folder(self, role: str, config: localize.Config | classify.Config, *data: FieldSource | str) -> Path:
        """A folder that belongs to this config, to the weights of what it begins with, and to this data alone.

        And to where batches are augmented, which "auto" leaves to the machine: each has its own numbers.
        """
        names = [part if isinstance(part, str) else part.name for part in data]
        if config.init_from is not None:
            names.append(files.digest(store.path_of(config.init_from)))
        if learning.settled(config).resident == "yes":
            names.append("augmented by devices")
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
        """The image-level model; `start` names the training of the network that it begins with, if it was one here."""
        known = dataclasses.replace(config, init_from=None) if start else config  # its folder is no part of the key
        folder = self.folder("field", known, training, validation, start)
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
