"""What networks that learnt elsewhere are worth on real fields, few as they are: probed or fine-tuned, cross-validated.

A network begins fresh, or from a file that localize_cells left, or from ImageNet's (EfficientNet-Lite). It is probed as
it is: the mean and the maximum over places of its features go to a logistic regression of each class, whose penalty is
chosen by a cross-validation within the training fields. Or all of it is trained on in each fold, from every beginning
for as long and at the same rate, which nobody tuned. Fields of one group (a protein where it is known, else an image)
are never on both sides. The interval is of resamples of groups: how else these fields might have come, not how else
the folds.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import localize_cells
from hpax import atlas, data, launch, models, train
from hpax.data import augment, balance
from hpax.data.image_batches import ImageBatches
from hpax.metrics import classification
from hpax.models import imagenet
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet
from hpax.tasks.localize import Localization
from hpax.train.state import Init

BATCH = 8  # fields, of those that are only looked at
DROPOUT = 0.2
MOMENTUM = 0.9  # of BatchNorm's averages, which must follow in few steps


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, and what is asked of which network."""

    folder: Path = Path("fields")  # of fields in the layouts of Kaggle or proteinatlas.org, with a table of labels
    data_dir: Path = Path("runs/data")  # where shards are built, once
    method: Literal["probe", "finetune"] = "probe"  # a regression of what the network sees, or all of it is trained
    init: Literal["fresh", "imagenet", "file", "intensity"] = (
        "fresh"  # "intensity": moments of the channels, no network
    )
    backbone: str = "plain-tiny"  # of a fresh network
    file: Path = Path("localize.safetensors")  # of a trained one
    stem: Literal["colours", "mean"] = "colours"  # how ImageNet's network is shown four channels
    resolution: int = 256  # pixels of a field's side
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse of the regression's penalty: the choice
    steps: int = 60  # of fine-tuning, as the next two
    batch_size: int = 16  # fields, on all devices together
    learning_rate: float = 1e-3  # at its highest
    folds: int = 5
    least: int = 5  # classes with fewer fields are left out of the scores
    seed: int = 0  # of the fresh parameters, the batches and the folds

    def __post_init__(self):
        if self.method == "finetune" and self.init == "intensity":
            raise ValueError("fine-tuning needs a network, got init 'intensity'; take another, or method 'probe'")


SWEEPS = {
    "init": (
        {"init": "intensity"},
        {"init": "fresh"},
        {"init": "fresh", "backbone": "efficientnet-lite0"},
        {"init": "imagenet"},
        {"init": "imagenet", "stem": "mean"},
        {"init": "file"},
    ),
    "finetune": tuple(
        {"method": "finetune", "resolution": 128} | start
        for start in (
            {"init": "fresh"},
            {"init": "file"},
            {"init": "fresh", "backbone": "efficientnet-lite0"},
            {"init": "imagenet"},
        )
    ),
}

Encode = Callable[[Float[np.ndarray, "b h w c"]], Float[np.ndarray, "b k"]]
Places = Int[np.ndarray, " n"]
Predict = Callable[[Places, Places], Float[np.ndarray, "n c"]]
"""Fields to learn from, and fields asked about → the probabilities of the latter."""


class Beginning(NamedTuple):
    """A network, and what it begins with where that is not fresh."""

    model: CamNet
    init: Init | None


def beginning(config: Config) -> Beginning:
    """What `config.init` names; of a file the classifier stays, ImageNet's knows other classes.

    Raises:
        ValueError: the file holds another kind of network.
    """
    if config.init == "file":
        there = models.load(config.file)
        if not isinstance(there.model, CamNet):
            raise ValueError(f"{config.file} must hold a cam-net, got a {there.architecture}; take localize_cells'")
        return Beginning(there.model, functools.partial(models.graft, pretrained=there))
    if config.init == "imagenet":
        lite = imagenet.lite(0, stem=config.stem)
        planted = functools.partial(models.graft, pretrained=lite, at="backbone")
        return Beginning(CamNet(lite.model.backbone), planted)
    return Beginning(CamNet(BACKBONES[config.backbone]()), None)


def plan(config: Config, fields: data.Source | data.Part) -> train.Run:
    """The training of all classes on some fields; its initial state is what is probed."""
    model, init = beginning(config)
    model = model.clone(backbone=model.backbone.clone(axis_name=train.AXIS, momentum=MOMENTUM), dropout=DROPOUT)
    shared = {"size": config.resolution, "seed": config.seed}
    batches = ImageBatches(fields, config.batch_size, weights=balance.weights(fields.labels), **shared)
    optimizer = localize_cells.optimizer(config)
    return train.Run(Localization(model), batches, optimizer, config.steps, config.seed, init)


def encoded(encode: Encode, config: Config, fields: data.Source | data.Part) -> Float[np.ndarray, "n k"]:
    """What `encode` says of every field, in order."""
    plain = {"augmentation": augment.NONE, "shuffle": False, "cached": 1}
    batches = ImageBatches(fields, BATCH, size=config.resolution, **plain)
    return np.concatenate([encode(batch["image"])[batch["mask"] > 0] for batch in batches.epoch()])


def encoder(config: Config, fields: data.Source) -> Encode:
    """Images → features, of a network as it begins."""
    if config.init == "intensity":
        return moments
    begun = plan(config, fields)
    state = begun.initial()
    apply = jax.jit(functools.partial(begun.task.model.apply, {"params": state.params, **state.model_state}))

    def encode(images: np.ndarray) -> np.ndarray:
        seen = np.asarray(apply(images).features)
        return np.concatenate([seen.mean((1, 2)), seen.max((1, 2))], axis=1)

    return encode


def moments(images: Float[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b k"]:
    """Mean, spread and brightest percent of each channel, and how channels go together: what a network must beat."""
    flat = images.reshape(len(images), -1, images.shape[-1])
    above = np.triu_indices(images.shape[-1], 1)
    with np.errstate(invalid="ignore"):  # a blank channel goes with none
        together = [np.nan_to_num(np.corrcoef(one, rowvar=False))[above] for one in flat]
    return np.concatenate([flat.mean(1), flat.std(1), np.quantile(flat, 0.99, axis=1), together], axis=1)


def groups(fields: data.Source) -> Places:
    """The protein of each field where it is known, else its image."""
    protein, image = (fields.table[name].to_numpy(str) for name in ("protein", "group_id"))
    return np.unique(np.where(protein == "", image, protein), return_inverse=True)[1]


def folds(config: Config, group: Places) -> Iterator[tuple[Places, Places]]:
    """Fields to learn from and fields to ask about, each field asked once, no group on both sides."""
    return GroupKFold(config.folds, shuffle=True, random_state=config.seed).split(group, groups=group)


def cross_validated(config: Config, group: Places, predict: Predict) -> Float[np.ndarray, "n c"]:
    """What `predict` says of each field when it learns from the other folds."""
    sides = list(folds(config, group))
    said = np.concatenate([predict(known, asked) for known, asked in sides])
    return said[np.argsort(np.concatenate([asked for _, asked in sides]))]


def regressed(
    strength: float, x: Float[np.ndarray, "n k"], labels: np.ndarray, asked: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, "m c"]:
    """The probabilities of `asked` by a regression of each class; its frequency where nothing can be learnt."""
    prob = np.tile(labels.mean(0, dtype=np.float64), (len(asked), 1))
    for label in np.flatnonzero(labels.min(0) < labels.max(0)):
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        model = make_pipeline(StandardScaler(), regression).fit(x, labels[:, label])
        prob[:, label] = model.predict_proba(asked)[:, 1]
    return prob


def probed(config: Config, x: Float[np.ndarray, "n k"], labels: np.ndarray, group: Places) -> Predict:
    """Regressions of the strength that is best for all classes in a cross-validation of the fields to learn from."""

    def predict(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        own, truth = x[known], labels[known]

        def worth(strength: float) -> float:
            said = cross_validated(config, group[known], lambda k, a: regressed(strength, own[k], truth[k], own[a]))
            return classification.score(truth, said).mean_ap

        return regressed(max(config.strengths, key=worth), own, truth, x[asked])

    return predict


def finetuned(config: Config, fields: data.Source, classes: Places) -> Predict:
    """The network, trained on from its beginning; it learns every class of the labels, and answers for `classes`."""

    def predict(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        training = plan(config, data.Part(fields, known.tolist()))
        for _, state, _ in train.updates(training, training.initial()):
            last = state
        there = train.parallel.unreplicate(last)
        apply = jax.jit(functools.partial(training.task.predict, there.params, there.model_state))
        return encoded(lambda images: np.asarray(apply(images)[0]), config, data.Part(fields, asked.tolist()))[
            :, classes
        ]

    return predict


def counted(config: Config, fields: data.Source, group: Places) -> dict[str, int]:
    """What the scores rest on: how many fields, groups and classes, and fields of each class."""
    often = {name: int(count) for name, count in zip(atlas.LOCATIONS, fields.labels.sum(0), strict=True)}
    often = {f"fields of {name}": count for name, count in often.items() if count >= config.least}
    return {"fields": len(fields), "groups": len(np.unique(group)), "classes": len(often)} | often


def scored(labels: np.ndarray, prob: Float[np.ndarray, "n c"], group: Places) -> dict[str, float]:
    """Mean average precision over the classes, with its interval over resamples of groups."""
    spread = classification.interval(labels, prob, group.tolist())
    metrics = {"field mAP": spread.value, "low (95%)": spread.low, "high (95%)": spread.high}
    return metrics | {"chance": float(labels.mean(0).mean())}


def run(config: Config, workdir: Path) -> launch.Result:
    """Answers for every field by what learnt from other folds, and scores them."""
    fields = data.build("hpa_fields", config.data_dir, source=config.folder, progress=True)
    group, often = groups(fields), np.flatnonzero(fields.labels.sum(0) >= config.least)
    labels = fields.labels[:, often]
    if config.method == "probe":
        predict = probed(config, encoded(encoder(config, fields), config, fields), labels, group)
    else:
        predict = finetuned(config, fields, often)
    metrics = scored(labels, cross_validated(config, group, predict), group)
    counts = counted(config, fields, group)
    return launch.Result(metrics=metrics, counts=counts, data="real", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
