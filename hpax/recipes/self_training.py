"""A cell-level network that learns from what networks say of fields that nobody labelled (self-training).

    lesson = self_training.teach(models.Ensemble.load(["label-fields", "label-cells"]), fields)
    student = self_training.train_student(config, fields, lesson, workdir, kind="real", teacher="what ships")

The teacher looks at each cell and its field in many views, the student at one cell in one augmented view: it learns to
say alone what they say together, of pixels as the fields have them. No label of the fields takes part.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from hpax import files, models, progress
from hpax.data import FieldSource
from hpax.predict import strategies
from hpax.recipes import classify, distil


class Lesson(NamedTuple):
    """What a teacher says of fields."""

    targets: classify.Targets  # of each cell, by the id of its field
    alone: Float[np.ndarray, "f n"]  # its cell-level networks by themselves, means over the cells of each field

    @property
    def fields(self) -> Float[np.ndarray, "f n"]:
        """The means of `targets` over the cells of each field."""
        return np.stack([strategies.pooled(cells) for cells in self.targets.values()])

    @property
    def name(self) -> str:
        """A name for what is said of cells, so that students of one lesson do not go on as those of another."""
        return files.digest(*self.targets, *(cells.tobytes() for cells in self.targets.values()))


def teach(teacher: models.Ensemble, fields: FieldSource) -> Lesson:
    """Asks the teacher about every cell of fields with masks; a field without cells has no class."""
    targets, alone = {}, []
    for field in progress.track(iter(fields), "asking the teacher", len(fields)):
        said = teacher.predict(field)
        targets[field.id] = said.cells.astype(np.float32)
        alone.append(strategies.pooled(said.cell_only))
    return Lesson(targets, np.stack(alone))


def check(config: classify.Config) -> None:
    """A ValueError where a student would need the labels of its fields, which are hidden."""
    if config.bag != "none":
        raise ValueError(f'bag must be "none", got {config.bag!r}: what a bag shows are labels of its field')
    if config.oversampling or config.loss.name == "weighted":
        told = f"got {config.oversampling} and {config.loss.name}"
        raise ValueError(
            f'oversampling must be 0 and the loss not "weighted", {told}: which class is rare is not known'
        )


def train_student(
    config: classify.Config,
    fields: FieldSource,
    lesson: Lesson,
    workdir: pathlib.Path,
    *,
    kind: Literal["simulated", "real"],
    teacher: str,
) -> models.CellClassifier:
    """A network that learnt what the teacher says of all cells; goes on where `workdir` was left.

    Raises:
        ValueError: there is no field, or see `check`.
    """
    check(config)
    if not len(fields):
        raise ValueError("a student needs fields to learn from, got none")
    own = {id: lesson.targets[id] for id in fields.ids}
    nothing = fields.part([])
    return classify.train_model(config, fields.blind(), nothing, workdir, kind=kind, targets=own, teacher=teacher)


def cross_fitted(
    fields: FieldSource, count: int, fit: Callable[[FieldSource], models.CellClassifier]
) -> Float[np.ndarray, "f n"]:
    """What is said of each field, its cells' mean, by the student that `fit` made of the fields of the other folds.

    Raises:
        ValueError: fewer than two folds, or fewer proteins or images than folds.
    """

    def learnt(places: Sequence[int]) -> Callable[[int], np.ndarray]:
        student = fit(fields.part(places))
        return lambda place: student.predict(fields[place])

    fold = distil.folds(distil.groups(fields), count)
    return np.stack([strategies.pooled(cells) for cells in distil.out_of_fold(range(len(fields)), fold, learnt)])
