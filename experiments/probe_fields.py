"""What networks that learnt elsewhere know of real fields: a linear classifier of their features, cross-validated.

The backbone stays as it is: fresh, or from a file that localize_cells left, or ImageNet's (EfficientNet-Lite). Its
features of each field, the mean and the maximum over places, go to a logistic regression of each class; fields of one
group (a protein where it is known, else an image) are never on both sides. Real fields are few: mind the intervals.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpax import atlas, data, launch, pretrained
from hpax.data import augment
from hpax.data.images import ImageBatches
from hpax.metrics import classification
from hpax.nn.backbones import BACKBONES
from hpax.pretrained import imagenet

BATCH = 8  # fields


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, and which features of them."""

    folder: Path = Path("fields")  # of fields in the layouts of Kaggle or proteinatlas.org, with a table of labels
    data_dir: Path = Path("runs/data")  # where shards are built, once
    init: Literal["fresh", "imagenet", "file", "intensity"] = (
        "fresh"  # "intensity": moments of the channels, no network
    )
    backbone: str = "plain-tiny"  # of a fresh network
    file: Path = Path("localize.safetensors")  # of a trained one
    stem: Literal["colours", "mean"] = "colours"  # how ImageNet's network is shown four channels
    resolution: int = 256  # pixels of a field's side
    strength: float = 0.01  # inverse of the regression's penalty
    folds: int = 5
    least: int = 5  # classes with fewer fields are left out
    seed: int = 0  # of the fresh network and of the folds


SWEEPS = {
    "init": (
        {"init": "intensity"},
        {"init": "fresh"},
        {"init": "fresh", "backbone": "efficientnet-lite0"},
        {"init": "imagenet"},
        {"init": "imagenet", "stem": "mean"},
        {"init": "file"},
    )
}

Encode = Callable[[Float[np.ndarray, "b h w c"]], Float[np.ndarray, "b k"]]


def encoder(config: Config) -> Encode:
    """Fields → features."""
    if config.init == "intensity":
        return moments
    size = (1, config.resolution, config.resolution, len(atlas.CHANNELS))
    if config.init == "fresh":
        model = BACKBONES[config.backbone]()
        variables = jax.jit(model.init)(jax.random.key(config.seed), np.zeros(size, np.float32))
    else:
        net = pretrained.load(config.file) if config.init == "file" else imagenet.lite(0, stem=config.stem)
        model = net.model.backbone
        variables = {name: tree["backbone"] for name, tree in net.variables.items()}
    apply = jax.jit(functools.partial(model.apply, jax.device_put(variables)))

    def encode(images: np.ndarray) -> np.ndarray:
        seen = np.asarray(apply(images))
        return np.concatenate([seen.mean((1, 2)), seen.max((1, 2))], axis=1)

    return encode


def moments(images: Float[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b k"]:
    """Mean, spread and brightest percent of each channel, and how channels go together: what a network must beat."""
    flat = images.reshape(len(images), -1, images.shape[-1])
    above = np.triu_indices(images.shape[-1], 1)
    with np.errstate(invalid="ignore"):  # a blank channel goes with none
        together = [np.nan_to_num(np.corrcoef(one, rowvar=False))[above] for one in flat]
    return np.concatenate([flat.mean(1), flat.std(1), np.quantile(flat, 0.99, axis=1), together], axis=1)


def features(config: Config, fields: data.Source) -> Float[np.ndarray, "n k"]:
    """Of every field, in order."""
    plain = {"augmentation": augment.PLAIN, "shuffle": False, "cached": 1}
    batches = ImageBatches(fields, BATCH, size=config.resolution, **plain)
    encode, found = encoder(config), []
    for batch in batches.epoch():
        found.append(encode(batch["image"])[batch["mask"] > 0])
    return np.concatenate(found)


def groups(fields: data.Source) -> Int[np.ndarray, " n"]:
    """The protein of each field where it is known, else its image."""
    protein, image = (fields.table[name].to_numpy(str) for name in ("protein", "image_id"))
    return np.unique(np.where(protein == "", image, protein), return_inverse=True)[1]


def cross_validated(
    config: Config, x: Float[np.ndarray, "n k"], labels: np.ndarray, group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n c"]:
    """The probabilities of each field by a regression that saw no field of its group."""
    prob = np.zeros(labels.shape)
    for fit, ask in GroupKFold(config.folds, shuffle=True, random_state=config.seed).split(x, groups=group):
        for label in range(labels.shape[1]):
            if labels[fit, label].min() == labels[fit, label].max():
                prob[ask, label] = labels[fit, label].mean()
                continue
            regression = LogisticRegression(C=config.strength, class_weight="balanced", max_iter=2000)
            model = make_pipeline(StandardScaler(), regression).fit(x[fit], labels[fit, label])
            prob[ask, label] = model.predict_proba(x[ask])[:, 1]
    return prob


def run(config: Config, workdir: Path) -> launch.Result:
    """Mean average precision over the classes, with its interval over resamples of groups."""
    fields = data.build("hpa_fields", config.data_dir, source=config.folder, progress=True)
    often = fields.labels.sum(0) >= config.least
    labels, group = fields.labels[:, often], groups(fields)
    prob = cross_validated(config, features(config, fields), labels, group)
    spread = classification.interval(labels, prob, group.tolist())
    scores = classification.score(labels, prob)
    metrics = {"field mAP": scores.mean_ap, "low (95%)": spread.low, "high (95%)": spread.high}
    metrics["chance"] = float(labels.mean(0).mean())
    counts = {"fields": len(fields), "groups": len(set(group.tolist())), "classes": int(often.sum())}
    return launch.Result(metrics=metrics, counts=counts, data="real", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
