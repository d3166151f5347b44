"""What networks that learnt elsewhere are worth on real fields, few as they are: probed or fine-tuned, cross-validated.

A network begins fresh, or from a file that localize_cells left, or from the one that ships (label-fields), or from
ImageNet's (EfficientNet-Lite). It is probed as it is: the mean and the maximum over places of its features go to a
logistic regression of each class, whose penalty is chosen by a cross-validation within the training fields; what a
network says of a class itself goes with them. Or all of it is trained on in each fold, from every beginning for as long
and at the same rate, which nobody tuned; once more on all fields, for the network that is left. Fields of one group (a
protein where it is known, else an image) are never on both sides, fields without a label on neither. The interval is of
resamples of groups: how else these fields might have come, not how else the folds.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from hpax import atlas, launch
from hpax.recipes import configs

if TYPE_CHECKING:
    from hpax.data import FieldSource
    from hpax.recipes import probe


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, and what is asked of which network."""

    fields: Path = Path("fields")  # a folder of fields, as Kaggle or proteinatlas.org have them, with a table of labels
    data_dir: Path = Path("runs/data")  # where shards are built, once
    method: Literal["probe", "finetune"] = "probe"  # a regression of what the network sees, or all of it is trained
    recipe: configs.Probe = configs.Probe()
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse of the regression's penalty: the choice
    folds: int = 5
    least: int = 5  # classes with fewer fields are left out of the scores
    seed: int = 0  # of the fresh parameters, the batches and the folds

    def __post_init__(self) -> None:
        if self.method == "finetune" and self.recipe.start.init == "intensity":
            raise ValueError("fine-tuning needs a network, got init 'intensity'; take another, or method 'probe'")


INIT, BACKBONE, STEM = (f"recipe.start.{name}" for name in ("init", "backbone", "stem"))
FINETUNE = {"method": "finetune", "recipe.um_per_pixel": 1.28, "recipe.window": 128}
LITE = {INIT: "fresh", BACKBONE: "efficientnet-lite0"}
SWEEPS: dict[str, Sequence[launch.Difference]] = {
    "init": (
        {INIT: "intensity"},
        {INIT: "fresh"},
        LITE,
        {INIT: "imagenet"},
        {INIT: "imagenet", STEM: "mean"},
        {INIT: "shipped"},
    ),
    "finetune": (
        {**FINETUNE, INIT: "fresh"},
        {**FINETUNE, **LITE},
        {**FINETUNE, INIT: "imagenet"},
    ),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Answers for every labelled field by what learnt from other folds, and scores them."""
    from hpax.data import folders  # here and below, so that help is quick
    from hpax.recipes import probe

    with launch.opening():
        fields, unlabelled = probe.open_fields(config.fields, config.data_dir)
    group, often = probe.groups(fields), probe.frequent(fields.labels, config.least)
    labels = fields.labels[:, often]
    answers = probe.cross_validated(
        group, predictor(config, fields, group, often), count=config.folds, seed=config.seed
    )
    if config.method == "finetune":
        probe.train_model(config.recipe, fields, workdir / "network", seed=config.seed)
    metrics = scored(labels, answers, group)
    counts = {**counted(config, fields, group), "fields without a label, left out": unlabelled}
    return launch.Result(metrics=metrics, counts=counts, data=folders.kind(config.fields), headline=list(metrics))


def predictor(
    config: Config, fields: "FieldSource", group: Int[np.ndarray, " n"], classes: Int[np.ndarray, " c"]
) -> "probe.Predict":
    """What answers for the classes of some fields after it learnt from others."""
    from hpax.recipes import probe

    recipe, seed = config.recipe, config.seed
    if config.method == "finetune":
        return probe.finetuned(recipe, fields, classes, seed=seed)
    encode = probe.encoder(recipe, fields, seed=seed)
    seen = probe.encoded(encode, fields, um_per_pixel=probe.um_per_pixel(recipe)).of_classes(classes)
    labels = fields.labels[:, classes]
    return probe.probed(seen, labels, group, strengths=config.strengths, count=config.folds, seed=seed)


def counted(config: Config, fields: "FieldSource", group: Int[np.ndarray, " n"]) -> dict[str, int]:
    """What the scores rest on: how many fields, groups and classes, and fields of each class."""
    often = {}
    for name, count in zip(atlas.LOCATIONS, fields.labels.sum(0), strict=True):
        if count >= config.least:
            often[f"fields of {name}"] = int(count)
    return {"fields": len(fields), "groups": len(np.unique(group)), "classes": len(often), **often}


def scored(labels: np.ndarray, prob: Float[np.ndarray, "n c"], group: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Mean average precision over the classes, with its interval over resamples of groups."""
    from hpax.metrics import classification

    spread = classification.interval(labels, prob, group.tolist())
    metrics = {"field mAP": spread.value, "low (95%)": spread.low, "high (95%)": spread.high}
    return metrics | {"chance": float(labels.mean(0).mean())}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
