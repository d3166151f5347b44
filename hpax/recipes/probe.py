"""What networks that learnt elsewhere are worth on labelled fields, few as they are: probed, or trained on.

A network begins fresh, or from a file that localize_cells left, or from ImageNet's (EfficientNet-Lite). It is probed as
it is: the mean and the maximum over places of its features go to a logistic regression of each class, whose penalty is
chosen by a cross-validation within the fields to learn from. Or all of it is trained on. Fields of one group (a protein
where it is known, else an image) are never on both sides.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpax import atlas, data, images, models, train
from hpax.data import FieldSource, ImageBatches, archive, balance, folders
from hpax.metrics import classification
from hpax.models import imagenet
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet
from hpax.recipes import learning
from hpax.recipes.configs import Probe as Config
from hpax.recipes.configs import ProbeStart as Start
from hpax.tasks.localize import Localization

FILE = "finetuned.safetensors"
DROPOUT = 0.2
MOMENTUM = 0.9  # of BatchNorm's averages, which must follow in few steps

USE = "Classes of fields of the four stains of the Human Protein Atlas, and where in a field they are."
LIMITS = "It was trained on the few fields told of below, all of them: no score of its own is known."


Encode = Callable[[Float[np.ndarray, "h w c"]], Float[np.ndarray, " k"]]
"""What networks see of a whole field → its features."""

Places = Int[np.ndarray, " n"]
Predict = Callable[[Places, Places], Float[np.ndarray, "n c"]]
"""Fields to learn from, and fields asked about → the probabilities of the latter."""


class Beginning(NamedTuple):
    """A network, what it begins with where that is not fresh, and its options in a file."""

    model: CamNet
    init: train.Init | None
    options: Mapping[str, Any]


def beginning(start: Start) -> Beginning:
    """What `start.init` names; of a file the classifier stays, ImageNet's knows other classes.

    Raises:
        ValueError: the file holds another kind of network, or the init is none.
    """
    if start.init == "intensity":
        raise ValueError("training needs a network, got init 'intensity'; take another, or probe it")
    if start.init == "file":
        there = models.load_network(start.file)
        if not isinstance(there.model, CamNet):
            raise ValueError(f"{start.file} must hold a cam-net, got a {there.architecture}; take localize_cells'")
        return Beginning(there.model, functools.partial(models.graft, pretrained=there), there.options)
    if start.init == "imagenet":
        lite = imagenet.lite(0, stem=start.stem)
        planted = functools.partial(models.graft, pretrained=lite, at="backbone")
        return Beginning(CamNet(lite.model.backbone), planted, {"backbone": "efficientnet-lite0"})
    return Beginning(CamNet(BACKBONES[start.backbone]()), None, {"backbone": start.backbone})


def build(config: Config, fields: FieldSource, *, seed: int = 0) -> train.Run:
    """The training of all classes on labelled fields; its initial state is what is probed."""
    model, init, _ = beginning(config.start)
    model = model.clone(backbone=model.backbone.clone(axis_name=train.AXIS, momentum=MOMENTUM), dropout=DROPOUT)
    batches = ImageBatches(
        fields,
        config.optimizer.batch_size,
        um_per_pixel=config.um_per_pixel,
        size=config.window,
        weights=balance.weights(fields.labels),
        seed=seed,
    )
    steps = config.optimizer.steps_of(batches.steps_per_epoch)
    return train.Run(Localization(model), batches, config.optimizer.make(steps), steps, seed, init)


def train_model(config: Config, fields: FieldSource, workdir: Path, *, seed: int = 0) -> models.FieldClassifier:
    """The network trained on all of `fields`, as its file in `workdir` has it; goes on where it was stopped."""
    run = build(config, fields, seed=seed)
    state = learning.fit(run, workdir, describe="fine-tuning")
    settings = {**dataclasses.asdict(config.start), **dataclasses.asdict(config.optimizer), "seed": seed}
    record = {"learnt from": f"{len(fields)} real fields", "data": fields.name, "settings": settings}
    card = models.card(Path(FILE).stem, use=USE, limits=LIMITS, record=record)
    path = _network(config, state, card).save(workdir / FILE)
    return models.FieldClassifier(models.load_network(path))


def _network(config: Config, state: train.State, card: str = "") -> models.Network:
    return models.Network(
        architecture="cam-net",
        options=beginning(config.start).options,
        channels=atlas.CHANNELS,
        um_per_pixel=config.um_per_pixel,
        params=state.params,
        model_state=state.model_state,
        card=card,
        size=config.window,
    )


def open_fields(folder: Path, data_dir: Path) -> tuple[FieldSource, int]:
    """The labelled fields of a folder, and how many have no label and are left out; a field without is not negative.

    Raises:
        ValueError: no field has a label; said before a pixel is read.
    """
    if archive.locate(folder) is None:
        folders.labelled(folder)
    source = FieldSource(data.build("hpa_fields", data_dir, source=folder, progress=True))
    known = source.known()
    if not len(known):
        raise ValueError(f"none of {len(source)} fields in {folder} has a label; put a table of labels in the archive")
    return known, len(source) - len(known)


def encoded(encode: Encode, fields: FieldSource, *, um_per_pixel: float) -> Float[np.ndarray, "n k"]:
    """What `encode` says of every field, seen whole at that pixel size, in order."""
    features = []
    for field in fields:
        seen = images.to_um_per_pixel(field.image, field.um_per_pixel, um_per_pixel)
        features.append(encode(images.as_float(seen)))
    return np.stack(features)


def encoder(config: Config, fields: FieldSource, *, seed: int = 0) -> Encode:
    """Field → features, of a network as it begins."""
    if config.start.init == "intensity":
        return moments
    state = build(config, fields, seed=seed).initial()
    network = _network(config, state)
    apply = jax.jit(functools.partial(network.model.apply, network.variables))

    def encode(image: np.ndarray) -> np.ndarray:
        seen = np.asarray(apply(images.padded(image, network.model.stride)[None]).features)[0]
        return np.concatenate([seen.mean((0, 1)), seen.max((0, 1))])

    return encode


def moments(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, " k"]:
    """Mean, spread and brightest percent of each channel, and how channels go together: what a network must beat."""
    flat = image.reshape(-1, image.shape[-1])
    above = np.triu_indices(image.shape[-1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a blank channel goes with none
        together = np.nan_to_num(np.corrcoef(flat, rowvar=False))[above]
    return np.concatenate([flat.mean(0), flat.std(0), np.quantile(flat, 0.99, axis=0), together])


def groups(fields: FieldSource) -> Places:
    """The protein of each field where it is known, else its image."""
    protein, image = (fields.table[name].to_numpy(str) for name in ("protein", "group_id"))
    return np.unique(np.where(protein == "", image, protein), return_inverse=True)[1]


def folds(group: Places, *, count: int, seed: int) -> Iterator[tuple[Places, Places]]:
    """Fields to learn from and fields to ask about, each field asked once, no group on both sides."""
    return GroupKFold(count, shuffle=True, random_state=seed).split(group, groups=group)


def cross_validated(group: Places, predict: Predict, *, count: int, seed: int) -> Float[np.ndarray, "n c"]:
    """What `predict` says of each field when it learns from the other folds."""
    sides = list(folds(group, count=count, seed=seed))
    answers = np.concatenate([predict(known, asked) for known, asked in sides])
    return answers[np.argsort(np.concatenate([asked for _, asked in sides]))]


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


def probed(
    x: Float[np.ndarray, "n k"],
    labels: np.ndarray,
    group: Places,
    *,
    strengths: Sequence[float],
    count: int,
    seed: int,
) -> Predict:
    """Regressions of the strength that is best for all classes in a cross-validation of the fields to learn from."""

    def predict(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        own, truth = x[known], labels[known]

        def worth(strength: float) -> float:
            def inner(k: np.ndarray, a: np.ndarray) -> np.ndarray:
                return regressed(strength, own[k], truth[k], own[a])

            answers = cross_validated(group[known], inner, count=count, seed=seed)
            return classification.score(truth, answers).mean_ap

        return regressed(max(strengths, key=worth), own, truth, x[asked])

    return predict


def finetuned(config: Config, fields: FieldSource, classes: Places, *, seed: int = 0) -> Predict:
    """The network, trained on from its beginning; it learns every class of the labels, and answers for `classes`."""

    def predict(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        run = build(config, fields.part(known), seed=seed)
        for _, state, _ in train.updates(run, run.initial()):
            last = state
        classifier = models.FieldClassifier(_network(config, train.parallel.unreplicate(last)), tta=1)
        answers = [classifier.predict(field).probabilities for field in fields.part(asked)]
        return np.stack(answers)[:, classes]

    return predict
