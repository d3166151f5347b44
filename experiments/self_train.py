"""Self-training: does a labeller learn from what labellers say of fields that nobody labelled?

Asks the teacher, by default the networks that ship, about every cell of a folder; a cell-level student that begins as
one of them learns to say the same of augmented crops. Where the folder has labels, students of the other fields' pixels
are scored by them (cross-fitted by protein or image), beside the teacher and the student's beginning; no student learns
from a label. Leaves the student of all fields as classify.safetensors, which `hpax label --models` takes.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from hpax import launch
from hpax.recipes import configs, data_configs

if TYPE_CHECKING:
    from hpax.data import FieldSource
    from hpax.recipes.self_training import Lesson

STUDENT = configs.Classify(
    backbone=configs.Backbone(name="plain-small"),
    resolution=128,
    cells=4,
    oversampling=0.0,
    optimizer=configs.Optimizer(learning_rate=5e-4, steps=200),
    init_from=Path("label-cells"),
    tta=4,
)
"""Begins as the network that ships; nobody tuned it."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, whose word, and how the student learns."""

    data: Annotated[data_configs.Data, tyro.conf.arg(name="")] = data_configs.Data()  # --fields is needed
    teacher: tuple[Path, ...] = (Path("label-fields"), Path("label-cells"))  # names or files
    views: int = 8  # of each image, that the teacher looks at: 1, 2, 4 or 8
    recipe: configs.Classify = STUDENT
    folds: int = 2  # for the scores; 0: no scores
    least: int = 4  # classes with fewer fields are left out of the scores
    seed: int = 0  # of the batches

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds must be 2 or more, or 0 for no scores, got {self.folds}")


SWEEPS = {
    "augmentation": launch.grid(**{"recipe.augmentation": ["none", "light", "strong"]}),
    "steps": launch.grid(**{"recipe.optimizer.steps": [50, 200, 800]}),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Asks the teacher, cross-fits, scores, and trains the student that is left."""
    from hpax import models
    from hpax.recipes import datasets, distil, probe, self_training

    recipe = dataclasses.replace(config.recipe, seed=config.seed)
    with launch.opening():
        if config.data.fields is None:
            raise ValueError("a student needs a folder of fields, got none; give --fields")
        self_training.check(recipe)
        fields = datasets.open_folder(config.data, labelled=False)
        scored = config.folds > 0 and bool(fields.labelled.any())
        if scored:  # what cannot be scored is said before anything is asked
            often = probe.frequent(fields.labels, config.least)
            distil.folds(distil.groups(fields), config.folds)
        teacher = models.Ensemble.load(config.teacher, tta=config.views)
    lesson = self_training.teach(teacher, fields)
    students = workdir / "students" / lesson.name
    names = ", ".join(str(name) for name in config.teacher)

    def fit(part: "FieldSource") -> models.CellClassifier:
        folder = students / part.name
        return self_training.train_student(recipe, part, lesson, folder, kind=config.data.kind, teacher=names)

    metrics: dict[str, float] = {}
    counts = {"fields": len(fields), "labelled fields": int(fields.labelled.sum())}
    counts["cells"] = sum(len(cells) for cells in lesson.targets.values())
    if scored:
        answers = self_training.cross_fitted(fields, config.folds, fit)
        metrics, asked = scores(fields, often, lesson, answers)
        counts |= asked
    left = fit(fields).network.save(workdir / configs.CELL_FILE)
    print(f"a student of all fields, as `hpax label --models` takes it: {left}")
    return launch.Result(
        metrics=metrics,
        counts=counts,
        data=config.data.kind,
        headline=[name for name in metrics if not name.endswith("(95%)")],
    )


def scores(
    fields: "FieldSource", often: np.ndarray, lesson: "Lesson", answers: np.ndarray
) -> tuple[dict[str, float], dict[str, int]]:
    """Field mAP of the classes `often` by the teacher, its cell-level networks and students, and how far these lead."""
    from hpax.metrics import classification
    from hpax.recipes import distil

    known = np.flatnonzero(fields.labelled)
    at = np.ix_(known, often)
    labels, groups = fields.labels[at], np.array(distil.groups(fields))[known].tolist()
    told = {
        "teacher": lesson.fields[at],
        "teacher, cells alone": lesson.alone[at],
        "student, other fields": answers[at],
    }
    metrics: dict[str, float] = {}
    for name, probabilities in told.items():
        metrics |= classification.interval(labels, probabilities, groups).named(f"field mAP, {name}")
    for rival in ("teacher", "teacher, cells alone"):
        ahead = classification.interval(labels, answers[at], groups, than=told[rival])
        metrics |= ahead.named(f"student minus {rival}")
    metrics["chance"] = float(labels.mean(0).mean())
    return metrics, {"groups": len(set(groups)), "classes": len(often)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
