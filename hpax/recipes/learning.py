"""What image-level and cell-level recipes share: the backbone, the loss, where to begin, and how models are kept."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
import optax

from hpax import atlas, models, train
from hpax.data import augment
from hpax.recipes.configs import Backbone, Classify, Localize, Loss, LossName, Resident, Strength
from hpax.types import ModelState, Params

__all__ = [
    "Backbone",
    "Loss",
    "LossName",
    "Provenance",
    "Scorer",
    "Strength",
    "augmentation",
    "encoder_from",
    "fit",
    "init_from",
    "lives_on_device",
    "only_above",
    "save_network",
    "settled",
]

USE = "Classes of single cells in fields of the four stains of the Human Protein Atlas (hpax.Ensemble)."
LIMITS = {
    "simulated": "Learnt from simulated cells; what it was trained on below is all it knows.",
    "real": "Learnt from the labels of the fields below, which are few next to what the classes can look like.",
    "taught": "Learnt from what other networks say of the fields below, no label: it errs where they do.",
}
CHECKS = 4  # how often in a run the validation fields are looked at, and the state is saved


def augmentation(strength: Strength) -> augment.Augmentation:
    """The augmentation of crops and fields by its name."""
    return {"none": augment.NONE, "light": augment.LIGHT, "strong": augment.VARIED}[strength]


def lives_on_device(resident: Resident) -> bool:
    """Whether devices hold the examples and make the batches."""
    return resident == "yes" or (resident == "auto" and jax.default_backend() != "cpu")


Recipe = TypeVar("Recipe", bound=Localize | Classify)


def settled(config: Recipe) -> Recipe:
    """The config with `resident` "yes" or "no": what "auto" means here.

    Devices and the host augment by other numbers.
    """
    return dataclasses.replace(config, resident="yes" if lives_on_device(config.resident) else "no")


def init_from(donor: models.Network, parts: Sequence[str]) -> train.Init:
    """Fresh parameters but for parts that a network of the same backbone has learnt."""

    def init(params: Params, model_state: ModelState) -> tuple[Params, ModelState]:
        for part in parts:
            params, model_state = models.graft(params, model_state, donor, at=part)
        return params, model_state

    return init


def encoder_from(network: models.Network, um_per_pixel: float) -> train.Init:
    """Fresh parameters around the source encoder of an inpainting network, for a backbone of lu2019.

    A channel that it never saw begins as one that counts for nothing.

    Raises:
        ValueError: its channels are not the first of `atlas.CHANNELS`, or its pixels are of another size.
    """
    seen = network.channels
    if seen != atlas.CHANNELS[: len(seen)]:
        raise ValueError(f"an encoder must have learnt from {', '.join(atlas.CHANNELS)}, got {', '.join(seen)}")
    if not math.isclose(network.um_per_pixel, um_per_pixel, rel_tol=0.1):
        told = f"crops have {um_per_pixel:.3g}, it learnt at {network.um_per_pixel:.3g}"
        raise ValueError(
            f"crops must have the µm per pixel that their encoder learnt at, {told}; change the resolution"
        )
    source = dict(network.params["source"])
    kernel = np.asarray(source["conv1"]["kernel"])
    blind = np.zeros((*kernel.shape[:2], len(atlas.CHANNELS) - len(seen), kernel.shape[3]), kernel.dtype)
    source["conv1"] = {**source["conv1"], "kernel": np.concatenate([kernel, blind], 2)}
    donor = dataclasses.replace(
        network,
        params={"backbone": {"source": source}},
        model_state={
            name: {"backbone": {"source": tree["source"]}}
            for name, tree in network.model_state.items()
            if "source" in tree
        },
    )
    return functools.partial(models.graft, pretrained=donor, at="backbone/source")


def only_above(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser of all but a network's `backbone`, which stays as it is."""

    def parts(params: Params) -> Params:
        return {name: "kept" if name == "backbone" else "learnt" for name in params}

    return optax.multi_transform({"learnt": optimizer, "kept": optax.set_to_zero()}, parts)


def fit(run: train.Run, workdir: pathlib.Path, *, describe: str) -> train.State:
    """Trains to the end, going on where an earlier call was stopped, and looks at the validation fields on the way."""
    every = max(1, run.steps // CHECKS)
    return train.fit(run, workdir, evaluate_every=every, save_every=every, describe=describe)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a card says of how a network was made."""

    settings: Mapping[str, Any]
    kind: Literal["simulated", "real"]
    fields: int
    data: str  # a name for the data
    teacher: str = ""  # the networks that it learnt from, where no label was


def save_network(
    path: pathlib.Path,
    state: train.State,
    *,
    architecture: Literal["cam-net", "cell-net"],
    options: Mapping[str, Any],
    um_per_pixel: float,
    size: int,
    masked: bool,
    provenance: Provenance,
) -> models.Network:
    """Saves a trained network with its card, and loads it again: what is scored is what others will load."""
    record = {
        "learnt from": f"{provenance.kind} fields",
        "fields": provenance.fields,
        "data": provenance.data,
        **({"targets": f"what {provenance.teacher} says"} if provenance.teacher else {}),
        "settings": provenance.settings,
    }
    limits = LIMITS["taught" if provenance.teacher else provenance.kind]
    learnt = {name: leaf for name, leaf in state.model_state.items() if name != "ramp"}  # which only training needs
    models.save(
        path,
        architecture=architecture,
        options=options,
        channels=atlas.CHANNELS,
        um_per_pixel=um_per_pixel,
        state=dataclasses.replace(state, model_state=learnt),
        card=models.card(path.stem, use=USE, limits=limits, record=record),
        size=size,
        masked=masked,
        half=False,
    )
    return models.load_network(path)


Scorer = Callable[[train.State], Mapping[str, float]]
"""A state of training → numbers of the validation fields, for the log."""
