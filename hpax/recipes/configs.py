"""How recipes learn: their configs, which import nothing, so that help is quick.

Each is known by its recipe as well: `Localize` is `localize.Config`, `Classify` is `classify.Config`, `Weak` is
`weak_labels.Config`, `Inpaint` is `inpaint.Config`. What they learn from is in `hpax.recipes.data_configs`.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy
    import optax

    import hpax.nn.network
    import hpax.ops.losses

FIELD_FILE, CELL_FILE = "localize.safetensors", "classify.safetensors"
"""Where trainings leave image-level and cell-level models."""

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
"""Of `hpax.nn.inpainter.Inpainter.encode`."""

Mixture = Literal["none", "mixup", "cutmix"]
Pooling = Literal["mean", "max", "noisy-or"]
InpaintKind = Literal["published", "vector"]
Pair = Literal["sibling", "protein", "self", "random"]
LossName = Literal["bce", "weighted", "focal", "lovasz", "hard", "focal_lovasz_bce"]
Strength = Literal["none", "light", "strong"]
Schedule = Literal["cosine", "constant"]
Dtype = Literal["float32", "bfloat16"]
ErrorName = Literal["squared", "absolute", "correlation"]
Resident = Literal["auto", "yes", "no"]


class Duration:
    """How long an optimiser runs: so many steps, or passes over the data."""

    batch_size: int
    steps: int
    epochs: float

    def __post_init__(self) -> None:
        if self.steps < 1 or self.epochs < 0 or self.batch_size < 1:
            told = f"{self.steps}, {self.epochs}, {self.batch_size}"
            raise ValueError(f"steps and batch_size must be at least 1 and epochs at least 0, got {told}")

    def steps_of(self, batches_per_epoch: int) -> int:
        """How many updates a run takes whose epoch has so many batches."""
        return max(1, math.ceil(self.epochs * batches_per_epoch)) if self.epochs else self.steps


@dataclasses.dataclass(frozen=True)
class Optimizer(Duration):
    """AdamW whose rate rises for a twentieth of the steps and falls to 0 by a cosine, and how long it runs."""

    learning_rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-4
    batch_size: int = 16  # examples (fields), on all devices together
    steps: int = 500
    epochs: float = 0.0  # passes over the data instead of `steps`, where above 0

    def make(self, steps: int) -> "optax.GradientTransformation":
        """The optimiser of a run of `steps` updates; one object for equal settings, so that one update is compiled."""
        return _adamw(self.learning_rate, self.weight_decay, steps)


@dataclasses.dataclass(frozen=True)
class Adam(Duration):
    """Adam, as paired cell inpainting is published with, and how long it runs."""

    learning_rate: float = 1e-3  # published 1e-4, for thirty epochs of half a million cells
    schedule: Schedule = "cosine"  # how the rate falls to 0; published: constant
    b1: float = 0.5  # as published
    batch_size: int = 8  # pairs, on all devices together; published: 64 (yeast), 4 (human)
    steps: int = 1800
    epochs: float = 0.0  # passes over the data instead of `steps`, where above 0

    def make(self, steps: int) -> "optax.GradientTransformation":
        """The optimiser of a run of `steps` updates; one object for equal settings, so that one update is compiled."""
        return _adam(self.learning_rate, self.schedule, self.b1, steps)


@functools.cache
def _adam(learning_rate: float, schedule: Schedule, b1: float, steps: int) -> "optax.GradientTransformation":
    import optax

    if schedule == "constant":
        return optax.adam(learning_rate, b1=b1)
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=b1)


@functools.cache
def _adamw(learning_rate: float, weight_decay: float, steps: int) -> "optax.GradientTransformation":
    import optax

    rise = max(1, steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, max(steps, rise + 1))
    return optax.adamw(rate, weight_decay=weight_decay)


BACKBONES = (
    "efficientnet-b0",
    "efficientnet-b1",
    "efficientnet-b2",
    "efficientnet-b3",
    "efficientnet-b4",
    "efficientnet-b5",
    "efficientnet-b6",
    "efficientnet-b7",
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
    "efficientnet-tiny",
    "inception-v3",
    "inception-tiny",
    "densenet-121",
    "densenet-tiny",
    "se-resnext-50",
    "se-resnext-tiny",
    "swin-t",
    "swin-tiny",
    "plain-tiny",
    "plain-small",
    "lu2019",
    "lu2019-half",
    "lu2019-quarter",
)
"""Names of `hpax.nn.backbones`."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What sees the image."""

    name: str = "plain-tiny"  # of hpax.nn.backbones
    momentum: float = 0.95  # of BatchNorm's averages
    dropout: float = 0.2
    dtype: Dtype = "float32"  # what training computes in; parameters and what is saved are float32 either way

    def __post_init__(self) -> None:
        if self.name not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.name!r}")

    def make(self) -> "hpax.nn.network.Network":
        """The module, for training on any number of devices."""
        from hpax import train
        from hpax.nn import backbones

        return backbones.BACKBONES[self.name](
            axis_name=train.AXIS, momentum=self.momentum, dtype=computed_in(self.dtype)
        )


def computed_in(dtype: Dtype) -> "numpy.dtype | None":
    """What a network computes in; None: in what its images are, float32."""
    import jax.numpy as jnp

    return None if dtype == "float32" else jnp.dtype(dtype)


@dataclasses.dataclass(frozen=True)
class Loss:
    """How far logits are from labels."""

    name: LossName = "bce"
    smoothing: float = 0.0  # of labels

    def make(self, labels: "numpy.ndarray") -> "hpax.ops.losses.Loss":
        """The loss; `labels` (f, n) of the training fields are those that the classes' weights come from."""
        from hpax.ops import losses

        chosen: dict[str, losses.Loss] = {
            "bce": losses.bce,
            "weighted": losses.weighted_bce(losses.rarity(labels)),
            "focal": losses.focal(),
            "lovasz": losses.lovasz,
            "hard": losses.hard_negative_bce(),
            "focal_lovasz_bce": losses.focal_lovasz_bce,
        }
        loss = chosen[self.name]
        return losses.smoothed(loss, self.smoothing) if self.smoothing else loss


@dataclasses.dataclass(frozen=True)
class Localize:
    """What to learn, and how."""

    backbone: Backbone = Backbone()
    pooling: Literal["average", "gem", "lse"] = "average"
    um_per_pixel: float = 0.64  # as the network sees fields
    window: int = 256  # pixels of a field that it is shown at once in training; 164 µm, as HPA fields of 2048 pixels
    loss: Loss = Loss()
    puzzle: float = 0.0  # weight of Puzzle-CAM's reconstruction; 4 as published
    equivariance: float = 0.0  # weight of the agreement of two views
    copy_paste: bool = False  # learn from patches that mix fields and single cells (Fair Cell Activation Network)
    mix: Mixture = "none"
    augmentation: Strength = "light"
    oversampling: float = 0.5  # of rare classes: 0 none, 1 as frequent as common ones
    resident: Resident = "auto"  # fields live in the devices' memory, which augment them; auto: on GPUs and TPUs
    optimizer: Optimizer = Optimizer(steps=500)
    init_from: Path | None = None  # a network of the same backbone; else fresh
    tta: int = 8  # views of a field at test time: 1, 2, 4 or 8 flips and rotations
    seed: int = 1  # of the first parameters and the batches

    def __post_init__(self) -> None:
        if self.backbone.name.startswith("lu2019"):
            raise ValueError(f"a backbone must make a map to say where classes are, {self.backbone.name} does not")


@dataclasses.dataclass(frozen=True)
class Classify:
    """What to learn, and how."""

    backbone: Backbone = Backbone()
    labels: Literal["field", "cells"] = "field"  # what a cell learns: its field's labels, or (the ceiling) its own
    crop_um: float = 41.0  # µm of a crop's side
    resolution: int = 64  # pixels of a crop's side
    masked: bool = True  # without other cells and background
    bag: Literal["none"] | Pooling = "none"  # what a field's cells say together (multiple instances)
    cell_weight: float = 0.1  # of the cells' own loss beside a bag's; 0 with "mean" is the bag of cells
    antibodies: float = 0.0  # weight of telling antibodies apart (ArcFace)
    cells: int = 2  # of each field in a batch: few cells of many fields teach more than many of few
    loss: Loss = Loss()
    mix: Mixture = "none"
    augmentation: Strength = "light"
    oversampling: float = 0.5  # of rare classes: 0 none, 1 as frequent as common ones
    resident: Resident = "auto"  # cells live in the devices' memory, which augment them; auto: on GPUs and TPUs
    optimizer: Optimizer = Optimizer(steps=2400)
    init_from: Path | None = None  # a network of the same backbone, or an inpainting encoder for lu2019…; else fresh
    frozen: bool = False  # keep the backbone as it began, and learn what reads its features, standardised
    tta: int = 8  # views of a cell at test time: 1, 2, 4 or 8 flips and rotations
    seed: int = 1  # of the first parameters and the batches

    def __post_init__(self) -> None:
        if self.frozen and self.init_from is None:
            raise ValueError("a frozen backbone must have learnt before, got no init_from; name a network or a file")


@dataclasses.dataclass(frozen=True)
class Weak:
    """Both kinds of models, and how they meet."""

    field: Localize = Localize(pooling="lse")
    cell: Classify = Classify()
    start: Literal["cells", "fresh"] = "cells"  # the image-level model: from the cell-level one, or fresh
    folds: int = 2  # of the training proteins, for the predictions that are distilled; 0: no distillation

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds must be 2 or more, or 0 for no distillation, got 1")
        if self.start == "cells" and self.field.backbone.name != self.cell.backbone.name:
            names = f"{self.field.backbone.name} and {self.cell.backbone.name}"
            raise ValueError(f'both backbones must be one to start from the cells, got {names}; set start "fresh"')

    def seeded(self, seed: int) -> "Weak":
        """The same with another seed of both models."""
        field, cell = dataclasses.replace(self.field, seed=seed), dataclasses.replace(self.cell, seed=seed)
        return dataclasses.replace(self, field=field, cell=cell)


LE2022: dict[str, object] = {
    "field.backbone.name": "efficientnet-b0",
    "field.um_per_pixel": 0.32,
    "field.window": 512,
    "field.loss.name": "focal_lovasz_bce",
    "field.pooling": "average",
    "field.puzzle": 1.0,
    "field.copy_paste": True,
    "field.optimizer.learning_rate": 3e-4,
    "field.optimizer.batch_size": 32,
    "field.optimizer.epochs": 55.0,
    "cell.backbone.name": "inception-v3",
    "cell.crop_um": 41.0,
    "cell.resolution": 128,
    "cell.cells": 4,
    "cell.loss.name": "focal_lovasz_bce",
    "cell.optimizer.learning_rate": 3e-4,
    "cell.optimizer.epochs": 55.0,
    "start": "fresh",
}
"""The winners' image-level and cell-level models (Le et al. 2022; their code): fields at 512 pixels, cells at 128."""

SHIPPED: dict[str, object] = {
    "field.backbone.name": "plain-small",
    "field.um_per_pixel": 0.32,
    "field.init_from": Path("label-fields"),
    "field.optimizer.learning_rate": 5e-4,
    "field.optimizer.steps": 60,
    "cell.backbone.name": "plain-small",
    "cell.resolution": 128,
    "cell.init_from": Path("label-cells"),
    "cell.optimizer.learning_rate": 5e-4,
    "cell.optimizer.steps": 120,
    "start": "fresh",
}
"""From the networks that ship, for few labels: a short training at a low rate (nobody tuned either)."""


@dataclasses.dataclass(frozen=True)
class InpaintNetwork:
    """Which inpainting network, and its size."""

    kind: InpaintKind = "published"  # "vector": paints from one vector of the source (hpax.nn.vector_inpainter)
    width: float = 0.5  # of the encoders; 1 as published
    decoder_width: float | None = 0.125  # of the decoder, which only training needs; None: as the encoders
    momentum: float = 0.9  # of BatchNorm's averages; published 0.99
    dtype: Dtype = "float32"  # what training computes in; parameters and what is saved are float32 either way


@dataclasses.dataclass(frozen=True)
class Inpaint:
    """How to learn features by inpainting."""

    network: InpaintNetwork = InpaintNetwork()
    pair: Pair = "sibling"  # what the target is to the source; "protein": its protein elsewhere; "self": a control
    error: ErrorName = "squared"  # of what is painted, as published; "correlation": 1 − r, whatever the brightness
    contrast: float = 0.0  # weight of a contrast between proteins beside painting, of random views; 0: as published
    resident: Resident = "auto"  # cells live in the devices' memory, which make the batches; auto: on GPUs and TPUs
    optimizer: Adam = dataclasses.field(default_factory=Adam)

    def __post_init__(self) -> None:
        if self.error not in get_args(ErrorName):
            raise ValueError(f"error must be one of {', '.join(get_args(ErrorName))}, got {self.error!r}")
        if self.contrast < 0 or (self.contrast and self.pair == "random"):
            told = f"got {self.contrast} with pairs of kind {self.pair!r}"
            raise ValueError(f"contrast must be a weight, 0 or more, of pairs that share a protein, {told}")


INPAINT_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "lu2019": {
        "network.width": 1.0,
        "network.decoder_width": None,
        "network.momentum": 0.99,
        "optimizer.batch_size": 64,
        "optimizer.learning_rate": 1e-4,
        "optimizer.schedule": "constant",
        "optimizer.epochs": 30.0,
    }
}
"""Name → a difference to `Inpaint`, by path: as published."""


@dataclasses.dataclass(frozen=True)
class ProbeStart:
    """What a network begins with."""

    init: Literal["fresh", "imagenet", "file", "shipped", "intensity"] = "fresh"  # "intensity": moments of channels
    backbone: str = "plain-tiny"  # of a fresh network
    file: Path = Path("localize.safetensors")  # of a trained one; "shipped" is label-fields
    stem: Literal["colours", "mean"] = "colours"  # how ImageNet's network is shown four channels


@dataclasses.dataclass(frozen=True)
class Probe:
    """Which network, and how it learns."""

    start: ProbeStart = ProbeStart()
    um_per_pixel: float = 0.0  # as the network sees fields; 0: as a trained one has learnt, or 0.64
    tta: int = 1  # views of a field whose features are averaged: 1, 2, 4 or 8 flips and rotations
    window: int = 256  # pixels of a field that it is shown at once in training
    dtype: Dtype = "float32"  # what training computes in; parameters and what is saved are float32 either way
    optimizer: Optimizer = Optimizer(learning_rate=1e-3, steps=60)  # from every beginning the same, which nobody tuned


@dataclasses.dataclass(frozen=True)
class SegmentNetwork:
    """The segmentation network."""

    model: Literal["light", "dpn"] = "light"
    widths: tuple[int, ...] = ()  # channels of each level; none: the model's own
    momentum: float = 0.95  # of BatchNorm's averages
    dtype: Dtype = "float32"  # what training computes in; parameters and what is saved are float32 either way


@dataclasses.dataclass(frozen=True)
class Segment:
    """How to learn to segment."""

    network: SegmentNetwork = SegmentNetwork()
    optimizer: Optimizer = Optimizer(learning_rate=3e-3, batch_size=8, steps=700)  # of patches
    patch: int = 192  # pixels of a side, at 0.32 µm


UNTRAINED_BASELINES = ("intensity", "pixels", "pca pixels", "classic", "cellprofiler-like", "untrained")
TRAINED_BASELINES = (
    "inpainting and contrast",
    "autoencoder",
    "contrast of views",
    "contrast of proteins",
    "vicreg",
    "masked",
    "masked and contrasts",
    "supervised",
    "contrast of labels",
)
"""Ways to describe cells that `hpax.recipes.baselines` makes, beside "inpainting"."""

LABELLED_BASELINES = ("supervised", "contrast of labels")
"""Those that see labels, of the training proteins: a ceiling, and "contrast of proteins" told which cells share a
label, not only a protein. What that is ahead of the one without labels is worth the labels."""

RESIZED = 224
"""Pixels of the side of pictures that networks of ImageNet learnt at."""

TRANSFER_BASELINES = tuple(
    f"{network} {shown}{at}"
    for network in ("imagenet", "vgg16")
    for shown in ("protein", "colours", "channels")
    for at in ("", f" at {RESIZED}")
)
"""Further ones: EfficientNet-Lite0, by weights that the extra `imagenet` installs, and VGG16, by a file of weights;
three ways to show them a cell, at its own size or resized."""


@dataclasses.dataclass(frozen=True)
class Baselines:
    """How rivals of inpainting learn: the same encoder (but for masked ones), as many cells, other tasks."""

    inpaint: Inpaint = Inpaint()  # its network and optimiser are everyone's
    side_by_side: int = 32  # pairs of a batch where cells are compared; steps are fewer by as much
    embedding: int = 64  # dimensions that cells are compared in
    hidden: int = 128  # of the layer before these
    components: int = 64  # of the pixels' principal components
    contrasts: float = 0.1  # weight of the two contrasts beside masked reconstruction, whose errors are small
    contrast: float = 0.03  # weight of the contrast of proteins beside inpainting
    vgg16: Path | None = None  # weights for the sets "vgg16 …": .h5 of Keras; .safetensors or .pth of torchvision

    def __post_init__(self) -> None:
        if min(self.side_by_side, self.embedding, self.hidden, self.components) < 1:
            raise ValueError("side_by_side, embedding, hidden and components must be at least 1, one is not")

    @property
    def compared(self) -> Adam:
        """Inpainting's optimiser for batches in which cells are compared: as many pairs, a rate that fits their size.

        Adam's rate grows with the square root of the batch (Malladi et al. 2022, "On the SDEs and scaling rules for
        adaptive gradient algorithms").
        """
        own = self.inpaint.optimizer
        steps = max(1, own.steps * own.batch_size // self.side_by_side)
        rate = own.learning_rate * math.sqrt(self.side_by_side / own.batch_size)
        return dataclasses.replace(own, batch_size=self.side_by_side, steps=steps, learning_rate=rate)

    @property
    def contrasted(self) -> Inpaint:
        """Inpainting beside a contrast of proteins."""
        return dataclasses.replace(self.inpaint, contrast=self.contrast, optimizer=self.compared)
