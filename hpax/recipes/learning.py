"""What image-level and cell-level recipes share: the backbone, the loss, where to begin, and how models are kept."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import jax

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
    "fit",
    "init_from",
    "lives_on_device",
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
    """The config with `resident` "yes" or "no": what "auto" means here. Devices and the host augment by other numbers.

    Patches that mix fields are the host's.
    """
    mixing = isinstance(config, Localize) and config.copy_paste
    return dataclasses.replace(config, resident="yes" if lives_on_device(config.resident) and not mixing else "no")


def init_from(network: pathlib.Path | None) -> train.Init | None:
    """Fresh parameters, or the backbone and the classifier of a network of the same backbone in a file."""
    if network is None:
        return None
    donor = models.load_network(network)

    def init(params: Params, model_state: ModelState) -> tuple[Params, ModelState]:
        for part in ("backbone", "classifier"):  # a power of pooling stays fresh
            params, model_state = models.graft(params, model_state, donor, at=part)
        return params, model_state

    return init


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
