"""What inpainting is held against, each made with the same care: pixels, classic features, other tasks for one encoder.

    encode = make("autoencoder", Baselines(), cells, Path("runs/autoencoder"), seed=0)
    layers = encode(crops)  # layer → features of stored crops

Every trained rival sees as many cells, and is asked layer by layer; it has the inpainter's source encoder, but for
masked reconstruction, which needs a transformer. None but "supervised" and "contrast of labels" see a label, and these
see those of the training proteins alone: the first is the ceiling, the second tells what of its lead comes of labels.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optax
from jaxtyping import Float, Float32, Int, UInt

from hpax import data, images, train
from hpax.data.source import Part
from hpax.features import handcrafted, measurements, on_devices
from hpax.features.tables import Encode
from hpax.nn.embedder import Autoencoder, Projector
from hpax.nn.vit import MaskedTransformer
from hpax.recipes import inpaint, transfer
from hpax.recipes.cells import Cells
from hpax.recipes.configs import (
    LABELLED_BASELINES,
    RESIZED,
    TRAINED_BASELINES,
    TRANSFER_BASELINES,
    UNTRAINED_BASELINES,
    Adam,
    Optimizer,
    computed_in,
)
from hpax.recipes.configs import Baselines as Config
from hpax.task import Task
from hpax.tasks.autoencode import Autoencoding
from hpax.tasks.masked import MaskedCells
from hpax.tasks.siblings import Criterion, Siblings
from hpax.tasks.supervise import Supervision
from hpax.types import Array

__all__ = ["NAMES", "Config", "Describe", "build", "describe_prepared", "encoder", "make"]

NAMES = ("inpainting", *UNTRAINED_BASELINES, *TRANSFER_BASELINES, *TRAINED_BASELINES)

SIBLINGS = ("contrast of proteins", "vicreg", "masked", "masked and contrasts")  # that see a cell beside a sibling
PIXELS, PCA_PIXELS = 16, 32  # sides that crops are shrunk to

Describe = Callable[[UInt[Array, "b s s c"]], Mapping[str, Float[Array, "b d"]]]
"""Stored crops → layer → features."""


def make(name: str, config: Config, cells: Cells, workdir: Path, *, seed: int = 0) -> Describe:
    """What turns stored crops into features; trains, or goes on where `workdir` was left, where there is a network.

    Raises:
        ModuleNotFoundError: weights of ImageNet that are not installed.
        FileNotFoundError: weights of VGG16 that are not there.
        ValueError: an unknown name, no or other weights of VGG16, or a name that needs labels where no cells but those
            asked about have any.
    """
    prepared = functools.partial(describe_prepared, cells)
    if name == "intensity":
        return functools.partial(_intensity, len(cells.channels))
    if name == "pixels":
        return prepared(lambda crops: {"pixels": _shrunk(crops, PIXELS)})
    if name == "pca pixels":
        return prepared(_principal(config, cells, seed))
    if name in TRANSFER_BASELINES:
        return prepared(_transferred(name, config.vgg16))
    if name == "classic":
        return prepared(handcrafted.encode)
    if name == measurements.LAYER:
        return prepared(functools.partial(measurements.encode, channels=cells.channels))
    if name == "untrained":
        return prepared(inpaint.untrained(config.inpaint, cells, seed=seed).encode)
    if name == "inpainting":
        return prepared(inpaint.train_model(config.inpaint, cells, workdir, seed=seed).encode)
    if name == "inpainting and contrast":
        return prepared(inpaint.train_model(config.contrasted, cells, workdir, seed=seed).encode)
    return prepared(encoder(name, config, cells, workdir, seed=seed))


def encoder(name: str, config: Config, cells: Cells, workdir: Path, *, seed: int = 0) -> Encode:
    """What turns prepared cells into features, by a rival that trains, or goes on where `workdir` was left.

    Raises:
        ValueError: as `build`.
    """
    run = build(name, config, cells, seed=seed)
    every = max(1, run.steps // 2)
    state = train.fit(run, workdir, evaluate_every=every, save_every=every, describe=name)
    return on_devices(run.task.encode, state.params, state.model_state)


def describe_prepared(cells: Cells, encode: Callable) -> Describe:
    """An encoder of prepared cells as one of stored crops."""
    return lambda crops: encode(cells.prepare(crops))


def build(name: str, config: Config, cells: Cells, *, seed: int = 0) -> train.Run:
    """The training run of a rival.

    Raises:
        ValueError: an unknown name, or no labels to learn from.
    """
    if name not in TRAINED_BASELINES:
        raise ValueError(f"a baseline must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "inpainting and contrast":
        return inpaint.build(config.contrasted, cells, seed=seed)
    source = _labelled(name, cells) if name in LABELLED_BASELINES else cells.training
    beside = name not in ("autoencoder", "supervised")  # cells are compared with those beside them
    own = config.inpaint.optimizer
    optimizer = config.compared if beside else own
    size = optimizer.batch_size if beside else 2 * optimizer.batch_size  # an inpainter sees two cells of each pair
    partners = functools.partial(data.PairBatches, source, size, prepare=cells.prepare, seed=seed)
    if name == "contrast of labels":  # with any other cell of its label, as if labels were proteins and cells images
        classes = _classes(cells, source)
        if 1 in np.bincount(classes):
            raise ValueError(
                "contrast of labels needs two training cells of each label, one has one; leave it out here"
            )
        batches = partners(pair="protein", proteins=classes, images=np.arange(len(source)))
    else:
        batches = partners(pair="sibling" if name in SIBLINGS else "self")
    steps = optimizer.steps_of(-(-len(cells.training) // optimizer.batch_size))
    schedule = _transformers(own, steps) if name.startswith("masked") else optimizer.make(steps)
    return train.Run(
        task=_task(name, config, cells, source),
        batches=batches,
        optimizer=schedule,
        steps=steps,
        seed=seed,
    )


def _alike(name: str, cells: Cells, source: data.Source | data.Joined | Part) -> Int[np.ndarray, " n"]:
    """What cells share that do not repel each other."""
    if name == "contrast of views":
        return np.arange(len(source))
    if name == "contrast of labels":
        return _classes(cells, source)
    return source.table["protein"].cat.codes.to_numpy(int)


def _task(name: str, config: Config, cells: Cells, source: data.Source | data.Joined | Part) -> Task:
    network, alike = config.inpaint.network, _alike(name, cells, source)
    if name.startswith("masked"):
        if network.dtype != "float32":
            raise ValueError(f"{name!r} is learnt in float32 alone, got network.dtype {network.dtype}; leave one out")
        model = MaskedTransformer(len(cells.channels), config.embedding, cells.size)
        return MaskedCells(model, alike, config.contrasts if name == "masked and contrasts" else 0.0)
    if name == "autoencoder":
        return Autoencoding(
            Autoencoder(
                channels=len(cells.channels),
                width=network.width,
                decoder_width=network.decoder_width,
                axis_name=train.AXIS,
                momentum=network.momentum,
                dtype=computed_in(network.dtype),
            )
        )
    projector = functools.partial(
        Projector,
        width=network.width,
        axis_name=train.AXIS,
        momentum=network.momentum,
        dtype=computed_in(network.dtype),
    )
    if name == "supervised":
        classes = _classes(cells, source)
        return Supervision(projector(int(classes.max()) + 1), classes)
    criterion: Criterion = "vicreg" if name == "vicreg" else "contrast"
    return Siblings(projector(config.embedding, config.hidden), alike, criterion)


def _transformers(optimizer: Adam, steps: int) -> optax.GradientTransformation:
    """AdamW with a warm-up, which transformers need, at inpainting's rate; that of larger batches is no better."""
    return Optimizer(learning_rate=optimizer.learning_rate, weight_decay=0.05, steps=steps).make(steps)


def _labelled(name: str, cells: Cells) -> Part:
    """The training cells that have a class.

    Raises:
        ValueError: none but those asked about have one.
    """
    if not cells.held_out:
        raise ValueError(f"{name} needs labels of other proteins than are asked about; leave it out here")
    labels = cells.obs()["label"].reindex(cells.training.table.index).fillna("")
    return Part(cells.training, np.flatnonzero((labels != "").to_numpy()).tolist())


def _classes(cells: Cells, source: data.Source | data.Joined | Part) -> Int[np.ndarray, " n"]:
    return np.unique(cells.obs()["label"].loc[source.table.index].to_numpy(str), return_inverse=True)[1]


def _transferred(name: str, vgg16: Path | None) -> Encode:
    """A network of ImageNet by the name of what it is shown."""
    network, _, shown = name.partition(" ")
    strategy: Any = shown.removesuffix(f" at {RESIZED}")
    side = RESIZED if shown != strategy else None
    if network == "imagenet":
        return transfer.encoder(strategy, side=side)
    if vgg16 is None:
        raise ValueError(f"{name!r} needs a file of VGG16's weights, got none; give --baselines.vgg16 FILE")
    return transfer.encoder(strategy, side=side, weights=vgg16)


def _intensity(channels: int, crops: UInt[Array, "b s s c"]) -> dict[str, Float32[np.ndarray, "b k"]]:
    """The mean of each channel: what brightness, and so the batch, tells by itself."""
    return {"intensity": images.as_float(np.asarray(crops)[..., :channels]).mean((1, 2))}


def _shrunk(crops: Float[Array, "b s s c"], side: int) -> Float32[np.ndarray, "b d"]:
    """Means over squares of pixels, all in one row; a side that does not divide keeps its pixels."""
    crops = np.asarray(crops, np.float32)
    n, size, _, channels = crops.shape
    step = size // side if size % side == 0 else 1
    parts = crops.reshape(n, size // step, step, size // step, step, channels)
    return parts.mean((2, 4)).reshape(n, -1)


def _principal(config: Config, cells: Cells, seed: int, most: int = 4000) -> Callable:
    """The principal components of the pixels of the training cells, of at most so many."""
    from sklearn.decomposition import PCA

    chosen = np.random.default_rng(seed).permutation(len(cells.training))[:most]
    crops = np.stack([example["image"] for example in cells.training.__getitems__(np.sort(chosen).tolist())])
    pixels = _shrunk(cells.prepare(crops), PCA_PIXELS)
    pca = PCA(min(config.components, *pixels.shape), random_state=seed).fit(pixels)
    return lambda shown: {"pca pixels": pca.transform(_shrunk(shown, PCA_PIXELS)).astype(np.float32)}


def counted(config: Config, cells: Cells) -> dict[str, int]:
    """What training rests on."""
    optimizer = config.inpaint.optimizer
    steps = optimizer.steps_of(-(-len(cells.training) // optimizer.batch_size))
    return {"training cells": len(cells.training), "cells seen in training": 2 * steps * optimizer.batch_size}
