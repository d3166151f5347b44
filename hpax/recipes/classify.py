"""Cell-level models (Le et al. 2022): classes of single cells, from the labels of the fields that they are in."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from hpax import files, models, train
from hpax.data import BagBatches, FieldSource, ResidentBags, augment, balance
from hpax.fields import Field
from hpax.models.store import INPAINTERS
from hpax.nn.heads import CellNet
from hpax.ops import overlap
from hpax.predict import cells, strategies
from hpax.recipes import learning, scoring
from hpax.recipes.configs import CELL_FILE as FILE
from hpax.recipes.configs import Classify as Config
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification

VALIDATION_BATCH = 8  # fields

Targets = Mapping[str, Float[np.ndarray, "k n"]]
"""Id of a field → soft labels of its cells, by ascending index."""


def true_labels(source: FieldSource) -> Targets:
    """What each cell truly shows, by the id of its field; a found cell is the true one that it overlaps most.

    Raises:
        ValueError: the truth of a field is not known.
    """
    known = {}
    for field in source:
        known[field.id] = _true_labels(field)
    return known


def _true_labels(field: Field) -> Float[np.ndarray, "k n"]:
    if field.truth is None or field.cell_labels is None:
        raise ValueError(f"the true labels of the cells of field {field.id} are not known; learn from labels 'field'")
    shared, indices, true = overlap.of_labels(field.found.cells, field.truth.cells)
    best = true[np.where(true > 0, shared, 0).argmax(1)] if len(true) else np.zeros(len(indices), int)
    rows = np.concatenate([np.zeros((1, field.cell_labels.shape[1])), field.cell_labels])
    return rows[best][indices > 0].astype(np.float32)


def build(config: Config, training: FieldSource, validation: FieldSource, targets: Targets | None = None) -> train.Run:
    """The training run; soft `targets` of cells replace what the config says, else fields without a label are left out.

    Raises:
        ValueError: no training field has a label, and there are no targets.
    """
    training, validation = _learnt_from(training, targets), validation.known()
    if not len(training):
        raise ValueError("no training field has a label; the table with ids and labels lies at the top of the folder")
    labels = training.labels
    antibodies, of_field = np.unique(training.table["antibody"].to_numpy(str), return_inverse=True)
    telling = len(antibodies) if config.antibodies else 0
    true = config.labels == "cells"
    batches = BagBatches(
        training,
        config.optimizer.batch_size,
        cells=config.cells,
        crop_um=config.crop_um,
        size=config.resolution,
        masked=config.masked,
        targets=targets or (true_labels(training) if true else None),
        antibody=of_field if telling else None,
        augmentation=learning.augmentation(config.augmentation),
        weights=balance.weights(labels, config.oversampling),
        seed=config.seed,
    )
    steps = config.optimizer.steps_of(batches.steps_per_epoch)
    donor = None if config.init_from is None else models.load_network(config.init_from)
    task = Classification(
        CellNet(
            config.backbone.make(),
            labels.shape[1],
            config.backbone.dropout,
            telling,
            standardised=config.frozen or (donor is not None and "norm" in donor.params),
            frozen=config.frozen,
        ),
        config.loss.make(labels),
        bag=None if config.bag == "none" else config.bag,
        cell_weight=config.cell_weight,
        antibody_weight=config.antibodies,
        mix=config.mix,
    )
    held = _held(config, validation, true_labels(validation) if true else None) if len(validation) else None
    return train.Run(
        task,
        ResidentBags(batches) if learning.settled(config).resident == "yes" else batches,
        learning.only_above(config.optimizer.make(steps)) if config.frozen else config.optimizer.make(steps),
        steps,
        config.seed,
        validation=None if held is None else held.epoch,
        scores=None if held is None else _scorer(config, task, validation),
        init=None if donor is None else _init(config, donor),
    )


def _init(config: Config, donor: models.Network) -> train.Init:
    """What a network begins with: an encoder, a backbone to be frozen, or all that another network has learnt."""
    if donor.architecture in INPAINTERS:
        return learning.encoder_from(donor, config.crop_um / config.resolution)
    parts = ("backbone",) if config.frozen else ("backbone", "norm", "classifier")
    return learning.init_from(donor, [part for part in parts if part in donor.params])


def _learnt_from(training: FieldSource, targets: Targets | None) -> FieldSource:
    return training.known() if targets is None else training


def _held(config: Config, validation: FieldSource, targets: Targets | None) -> BagBatches:
    return BagBatches(
        validation,
        VALIDATION_BATCH,
        cells=config.cells,
        crop_um=config.crop_um,
        size=config.resolution,
        masked=config.masked,
        targets=targets,
        augmentation=augment.NONE,
        shuffle=False,
        seed=config.seed,
    )


def _scorer(config: Config, task: Classification, validation: FieldSource) -> learning.Scorer:
    """What the cells of the validation fields say of them on average, and, where known, of themselves: mAPs."""
    compiled = jax.jit(task.predict)
    truth = scoring.knows_cells(validation)

    def scores(state: train.State) -> dict[str, float]:
        predict = functools.partial(compiled, state.params, state.model_state)
        found: list[np.ndarray] = []
        for field in validation:
            _, crops = cell_images(
                field.image,
                field.found,
                field.um_per_pixel,
                crop_um=config.crop_um,
                size=config.resolution,
                masked=config.masked,
            )
            found.extend(cells.of_crops(predict, [crops]))
        of_fields = np.stack([strategies.pooled(prob) for prob in found])
        return scoring.validation_scores(validation, of_fields, found if truth else None)

    return scores


def train_model(
    config: Config,
    training: FieldSource,
    validation: FieldSource,
    workdir: pathlib.Path,
    *,
    kind: Literal["simulated", "real"],
    targets: Targets | None = None,
    teacher: str = "",
) -> models.CellClassifier:
    """The trained model, saved as classify.safetensors in `workdir` and loaded again; goes on where it was stopped.

    `teacher`: the names of the networks that `targets` are of, for the card, where the fields' labels took no part.
    """
    run = build(config, training, validation, targets)
    state = learning.fit(run, workdir, describe="cell-level model")
    standardised = {"standardised": True} if "norm" in state.params else {}
    network = learning.save_network(
        workdir / FILE,
        state,
        architecture="cell-net",
        options={"backbone": config.backbone.name} | standardised,
        um_per_pixel=config.crop_um / config.resolution,
        size=config.resolution,
        masked=config.masked,
        provenance=learning.Provenance(
            settings=files.as_json(learning.settled(config)),
            kind=kind,
            fields=len(_learnt_from(training, targets)),
            data=training.name,
            teacher=teacher,
        ),
    )
    return models.CellClassifier(network, config.tta)
