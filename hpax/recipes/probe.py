"""What networks that learnt elsewhere are worth on labelled fields, few as they are: probed, or trained on.

A network begins fresh, or from a file that localize_cells left, or from the one that ships, or from ImageNet's
(EfficientNet-Lite). It is probed as it is: the mean and the maximum over places of its features go to a logistic
regression of each class, whose penalty is chosen by a cross-validation within the fields to learn from; of a network
that knows the classes it corrects what the network says, the less the stronger the penalty. Or all of it is trained on.
Fields of one group (a protein where it is known, else an image) are never on both sides.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from hpax import atlas, data, files, images, models, train
from hpax.data import FieldSource, ImageBatches, archive, balance, folders, splits
from hpax.metrics import classification
from hpax.models import imagenet, store
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet
from hpax.predict import tta
from hpax.recipes import distil, learning
from hpax.recipes.configs import Probe as Config
from hpax.recipes.configs import ProbeStart as Start
from hpax.recipes.configs import computed_in
from hpax.tasks.localize import Localization

FILE = "finetuned.safetensors"
DROPOUT = 0.2
MOMENTUM = 0.9  # of BatchNorm's averages, which must follow in few steps

USE = "Classes of fields of the four stains of the Human Protein Atlas, and where in a field they are."
LIMITS = "It was trained on the few fields told of below, all of them: no score of its own is known."


_DIGESTS = files.KnownDigests()  # of networks that runs begin with

UM_PER_PIXEL = 0.64
"""At which a network sees fields that did not learn at another."""

NEWTON, SMALL = 50, 1e-8
"""Most steps of a regression, and the step after which it has arrived."""

SHIPPED = "label-fields"


Places = Int[np.ndarray, " n"]


class Seen(NamedTuple):
    """Of one field, or of many by a leading axis."""

    features: Float[np.ndarray, "*n k"]
    logits: Float[np.ndarray, "*n c"] | None = None  # of a network that knows the classes

    def at(self, places: Places) -> "Seen":
        """The rows of some fields."""
        return Seen(self.features[places], None if self.logits is None else self.logits[places])

    def of_classes(self, classes: Places) -> "Seen":
        """With the logits of some classes."""
        return self if self.logits is None else self._replace(logits=self.logits[:, classes])


Encode = Callable[[Float[np.ndarray, "h w c"]], Seen]
"""What networks see of a whole field → its features."""

Predict = Callable[[Places, Places], Float[np.ndarray, "n c"]]
"""Fields to learn from, and fields asked about → the probabilities of the latter."""


class Beginning(NamedTuple):
    """A network, what it begins with where that is not fresh, and its options in a file."""

    model: CamNet
    init: train.Init | None
    options: Mapping[str, Any]
    um_per_pixel: float = UM_PER_PIXEL
    knows_classes: bool = False


def beginning(start: Start) -> Beginning:
    """What `start.init` names; of a file the classifier stays, ImageNet's knows other classes.

    Raises:
        ValueError: the file holds another kind of network, or the init is none.
    """
    if start.init == "intensity":
        raise ValueError("training needs a network, got init 'intensity'; take another, or probe it")
    if start.init in ("file", "shipped"):
        there = _stored(SHIPPED if start.init == "shipped" else start.file)
        if not isinstance(there.model, CamNet):
            raise ValueError(f"{start.file} must hold a cam-net, got a {there.architecture}; take localize_cells'")
        planted = functools.partial(models.graft, pretrained=there)
        return Beginning(there.model, planted, there.options, there.um_per_pixel, knows_classes=True)
    if start.init == "imagenet":
        lite = imagenet.lite(0, stem=start.stem)
        planted = functools.partial(models.graft, pretrained=lite, at="backbone")
        return Beginning(CamNet(lite.model.backbone), planted, {"backbone": "efficientnet-lite0"})
    return Beginning(CamNet(BACKBONES[start.backbone]()), None, {"backbone": start.backbone})


def _stored(name: str | Path) -> models.Network:
    """The network in a file, which is read anew when it holds another one."""
    path = store.path_of(name)
    return _loaded(path, files.content(path, _DIGESTS))


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, content: str) -> models.Network:
    return models.load_network(path)


def um_per_pixel(config: Config) -> float:
    """At which the network sees fields: as told, or as it has learnt."""
    if config.um_per_pixel or config.start.init == "intensity":
        return config.um_per_pixel or UM_PER_PIXEL
    return beginning(config.start).um_per_pixel


def build(config: Config, fields: FieldSource, *, seed: int = 0) -> train.Run:
    """The training of all classes on labelled fields; its initial state is what is probed."""
    model, init, *_ = beginning(config.start)
    dtype = computed_in(config.dtype)
    backbone = model.backbone.clone(axis_name=train.AXIS, momentum=MOMENTUM, dtype=dtype)
    model = model.clone(backbone=backbone, dropout=DROPOUT)
    batches = ImageBatches(
        fields,
        config.optimizer.batch_size,
        um_per_pixel=um_per_pixel(config),
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
    record = {"learnt from": f"{len(fields)} fields", "data": fields.name, "settings": settings}
    card = models.card(Path(FILE).stem, use=USE, limits=LIMITS, record=record)
    path = _network(config, state, card).save(workdir / FILE)
    return models.FieldClassifier(models.load_network(path))


def _network(config: Config, state: train.State, card: str = "") -> models.Network:
    return models.Network(
        architecture="cam-net",
        options=beginning(config.start).options,
        channels=atlas.CHANNELS,
        um_per_pixel=um_per_pixel(config),
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


def encoded(encode: Encode, fields: FieldSource, *, um_per_pixel: float) -> Seen:
    """What `encode` says of every field, seen whole at that pixel size, in order."""
    seen = []
    for field in fields:
        image = images.to_um_per_pixel(field.image, field.um_per_pixel, um_per_pixel)
        seen.append(encode(images.as_float(image)))
    features = np.stack([one.features for one in seen])
    logits = [one.logits for one in seen if one.logits is not None]
    return Seen(features, np.stack(logits) if logits else None)


def encoder(config: Config, fields: FieldSource, *, seed: int = 0) -> Encode:
    """Field → features, of a network as it begins."""
    if config.start.init == "intensity":
        return lambda image: Seen(moments(image))
    state = build(config, fields, seed=seed).initial()
    network, knows_classes = _network(config, state), beginning(config.start).knows_classes
    apply = jax.jit(functools.partial(network.model.apply, network.variables))

    def encode(image: np.ndarray) -> Seen:
        whole = images.padded(image, network.model.stride)[None]
        pooled, logits = [], []
        for turn in tta.ALL[: config.tta]:
            told = apply(turn(whole))
            features = np.asarray(told.features)[0]
            pooled.append(np.concatenate([features.mean((0, 1)), features.max((0, 1))]))
            logits.append(np.asarray(told.logits)[0])
        return Seen(np.mean(pooled, axis=0), np.mean(logits, axis=0) if knows_classes else None)

    return encode


def moments(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, " k"]:
    """Mean, spread and brightest percent of each channel, and how channels go together: what a network must beat."""
    flat = image.reshape(-1, image.shape[-1])
    above = np.triu_indices(image.shape[-1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a blank channel goes with none
        together = np.nan_to_num(np.corrcoef(flat, rowvar=False))[above]
    return np.concatenate([flat.mean(0), flat.std(0), np.quantile(flat, 0.99, axis=0), together])


def groups(fields: FieldSource) -> Places:
    """`distil.groups` of fields, as numbers."""
    return np.unique(distil.groups(fields), return_inverse=True)[1]


def frequent(labels: UInt8[np.ndarray, "n c"], least: int) -> Int[np.ndarray, " k"]:
    """The classes that so many fields show.

    Raises:
        ValueError: there is none.
    """
    counts = labels.sum(0)
    if not (counts >= least).any():
        raise ValueError(
            f"a class must have {least} fields to be scored, the most frequent has {counts.max()}; label more fields, "
            "or take a lower --least"
        )
    return np.flatnonzero(counts >= least)


def folds(group: Places, *, count: int, seed: int) -> Iterator[tuple[Places, Places]]:
    """Fields to learn from and fields to ask about, each field asked once, no group on both sides.

    `count` folds, or as many as there are groups.

    Raises:
        ValueError: that is less than two.
    """
    groups = len(np.unique(group))
    count = min(count, groups)
    if count < 2:
        raise ValueError(f"a cross-validation needs two folds of whole groups, got {groups} groups; give more fields")
    return GroupKFold(count, shuffle=True, random_state=seed).split(group, groups=group)


def cross_validated(group: Places, predict: Predict, *, count: int, seed: int) -> Float[np.ndarray, "n c"]:
    """What `predict` says of each field when it learns from the other folds."""
    sides = list(folds(group, count=count, seed=seed))
    answers = np.concatenate([predict(known, asked) for known, asked in sides])
    return answers[np.argsort(np.concatenate([asked for _, asked in sides]))]


def part_of(
    known: Int[np.ndarray, " k"], labels: UInt8[np.ndarray, "n c"], group: Places, *, share: float, seed: int
) -> Int[np.ndarray, " kept"]:
    """A share of `known`, whole groups, each class as frequent as in all of it, as far as groups allow."""
    if share >= 1:
        return known
    sides = splits.stratified_split(
        group[known].astype(str), labels[known], {"left out": 1 - share, "kept": share}, seed=seed
    )
    return known[sides == "kept"]


def regressed(strength: float, x: Seen, labels: UInt8[np.ndarray, "n c"], asked: Seen) -> Float[np.ndarray, "m c"]:
    """The probabilities of `asked` by a regression of each class on features of one spread.

    Where the network knows the classes, what it says itself stands, and the regression corrects it: the stronger the
    penalty, the less. Where nothing can be learnt of a class that it does not know: how frequent the class is.
    """
    scaler = StandardScaler().fit(x.features)
    learnt, there = scaler.transform(x.features), scaler.transform(asked.features)
    span = np.linalg.svd(learnt, full_matrices=False)[2].T  # a penalised regression uses no other direction
    learnt, there = learnt @ span, there @ span
    if x.logits is not None and asked.logits is not None:
        weights = np.stack(
            [corrections(learnt, *column, strength) for column in zip(x.logits.T, labels.T, strict=True)]
        )
        return scipy.special.expit(asked.logits + np.column_stack([there, np.ones(len(there))]) @ weights.T)
    prob = np.tile(labels.mean(0, dtype=np.float64), (len(there), 1))
    for label in np.flatnonzero(labels.min(0) < labels.max(0)).tolist():
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        prob[:, label] = regression.fit(learnt, labels[:, label]).predict_proba(there)[:, 1]
    return prob


def corrections(
    x: Float[np.ndarray, "n k"], logits: Float[np.ndarray, " n"], labels: UInt8[np.ndarray, " n"], strength: float
) -> Float[np.ndarray, " k_1"]:
    """What to add to given logits: the weights of features, and of a last one that is 1, of a logistic regression.

    All are penalised by their squares over twice `strength`. Newton's method, each step halved until it helps.
    """
    design = np.column_stack([x, np.ones(len(x))])
    weights = np.zeros(design.shape[1])

    def lost(weights: np.ndarray) -> float:
        told = logits + design @ weights
        return float((np.logaddexp(0, told) - labels * told).sum() + weights @ weights / (2 * strength))

    for _ in range(NEWTON):
        told = scipy.special.expit(logits + design @ weights)
        gradient = design.T @ (told - labels) + weights / strength
        curvature = (design.T * (told * (1 - told))) @ design + np.eye(len(weights)) / strength
        step = np.linalg.solve(curvature, gradient)
        while lost(weights - step) > lost(weights) and np.abs(step).max() > SMALL:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() <= SMALL:
            break
    return weights


def probed(
    x: Seen,
    labels: UInt8[np.ndarray, "n c"],
    group: Places,
    *,
    strengths: Sequence[float],
    count: int,
    seed: int,
    share: float = 1.0,
) -> Predict:
    """Regressions of the strength that is best for all classes in a cross-validation of the fields to learn from.

    `share` of these are learnt from, as if the others had no label.
    """

    def predict(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        kept = part_of(known, labels, group, share=share, seed=seed)
        own, truth = x.at(kept), labels[kept]

        def worth(strength: float) -> float:
            def inner(k: np.ndarray, a: np.ndarray) -> np.ndarray:
                return regressed(strength, own.at(k), truth[k], own.at(a))

            answers = cross_validated(group[kept], inner, count=count, seed=seed)
            return classification.score(truth, answers).mean_ap

        with threadpool_limits(1):  # matrices are small: on a busy machine, threads wait a hundred times longer
            return regressed(max(strengths, key=worth), own, truth, x.at(asked))

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
