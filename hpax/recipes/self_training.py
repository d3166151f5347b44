"""A cell-level network that learns from what networks say of fields that nobody labelled (self-training).

    lesson = self_training.teach(models.Ensemble.load(["label-fields", "label-cells"]), fields)
    student = self_training.train_student(config, fields, lesson, workdir, kind="real", teacher="what ships")

The teacher looks at each cell and its field in many views, the student at one cell in one augmented view: it learns to
say alone what they say together, of pixels as the fields have them. No label of the fields takes part.
"""

import pathlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from hpax import files, models, progress
from hpax.data import FieldSource
from hpax.recipes import classify, distil


class Lesson(NamedTuple):
    """What a teacher says of fields."""

    targets: classify.Targets  # of each cell, by the id of its field
    fields: Float32[np.ndarray, "f n"]  # means over cells
    alone: Float32[np.ndarray, "f n"]  # the same of the teacher's cell-level networks by themselves

    @property
    def name(self) -> str:
        """A name for what is said of cells, so that students of one lesson do not go on as those of another."""
        return files.digest(*self.targets, *(cells.tobytes() for cells in self.targets.values()))


def teach(teacher: models.Ensemble, fields: FieldSource) -> Lesson:
    """Asks the teacher about every cell of fields with masks; a field without cells has no class."""
    targets, together, alone = {}, [], []
    for field in progress.track(iter(fields), "asking the teacher", len(fields)):
        said = teacher.predict(field)
        targets[field.id] = said.cells.astype(np.float32)
        together.append(pooled(said.cells))
        alone.append(pooled(said.cell_only))
    return Lesson(targets, np.stack(together), np.stack(alone))


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
        ValueError: there is no field.
    """
    if not len(fields):
        raise ValueError("a student needs fields to learn from, got none")
    own = {id: lesson.targets[id] for id in fields.ids}
    nothing = fields.part([])
    return classify.train_model(config, fields.blind(), nothing, workdir, kind=kind, targets=own, teacher=teacher)


def cross_fitted(
    fields: FieldSource, count: int, fit: Callable[[FieldSource, int], models.CellClassifier]
) -> Float32[np.ndarray, "f n"]:
    """What is said of each field, its cells' mean, by the student that `fit` made of the other folds and their number.

    Raises:
        ValueError: fewer than two folds, or fewer proteins or images than folds.
    """
    fold = distil.folds(distil.groups(fields), count)
    found: dict[int, np.ndarray] = {}
    for own in range(count):
        student = fit(fields.part(np.flatnonzero(fold != own)), own)
        for place in np.flatnonzero(fold == own).tolist():
            found[place] = pooled(student.predict(fields[place]))
    return np.stack([found[place] for place in range(len(fields))])


def pooled(cells: Float[np.ndarray, "k n"]) -> Float32[np.ndarray, " n"]:
    """The mean over cells, 0 of none."""
    return cells.mean(0).astype(np.float32) if len(cells) else np.zeros(cells.shape[1], np.float32)
