"""Image-level models (Le et al. 2022): a network with class activation maps, from the labels of whole fields."""

import pathlib
from typing import Any, Literal

import jax
import numpy as np

from hpax import files, images, models, train
from hpax.data import (
    CopyPasteBatches,
    FieldSource,
    ImageBatches,
    ResidentFields,
    ResidentPatches,
    augment,
    balance,
)
from hpax.nn.heads import CamNet
from hpax.predict import cams
from hpax.recipes import learning, scoring
from hpax.recipes.configs import FIELD_FILE as FILE
from hpax.recipes.configs import Localize as Config
from hpax.tasks.localize import Localization

VALIDATION_BATCH = 16  # fields


def build(config: Config, training: FieldSource, validation: FieldSource) -> train.Run:
    """The training run: what, on what, for how long. Fields without a label are left out.

    Raises:
        ValueError: no training field has a label.
    """
    training, validation = training.known(), validation.known()
    if not len(training):
        raise ValueError("no training field has a label; the table with ids and labels lies at the top of the folder")
    labels = training.labels
    batches = _batches(config, training)
    steps = config.optimizer.steps_of(batches.steps_per_epoch)
    ramp = steps // 2 if config.puzzle or config.equivariance else 0
    task = Localization(
        CamNet(config.backbone.make(), labels.shape[1], config.pooling, config.backbone.dropout),
        config.loss.make(labels),
        puzzle=config.puzzle,
        equivariance=config.equivariance,
        ramp=ramp,
        mix=config.mix,
    )
    held = None
    if len(validation):
        held = ImageBatches(
            validation,
            VALIDATION_BATCH,
            um_per_pixel=config.um_per_pixel,
            size=config.window,
            augmentation=augment.NONE,
            shuffle=False,
            seed=config.seed,
        )
    return train.Run(
        task,
        batches,
        config.optimizer.make(steps),
        steps,
        config.seed,
        validation=None if held is None else held.epoch,
        scores=None if held is None else _scorer(config, task, validation),
        init=_init(config),
    )


def _init(config: Config) -> train.Init | None:
    """What a network begins with: what it is fresh, or one that learnt before.

    Raises:
        ValueError: that one's classifier reads standardised features.
    """
    if config.init_from is None:
        return None
    donor = models.load_network(config.init_from)
    if "norm" in donor.params:
        raise ValueError(f"{config.init_from} learnt to read standardised features, as of frozen ones; take another")
    return learning.init_from(donor, ("backbone", "classifier"))  # a power of pooling stays fresh


def _batches(
    config: Config, training: FieldSource
) -> ImageBatches | CopyPasteBatches | ResidentFields | ResidentPatches:
    kind = CopyPasteBatches if config.copy_paste else ImageBatches
    batches = kind(
        training,
        config.optimizer.batch_size,
        um_per_pixel=config.um_per_pixel,
        size=config.window,
        augmentation=learning.augmentation(config.augmentation),
        weights=balance.weights(training.labels, config.oversampling),
        seed=config.seed,
    )
    if learning.settled(config).resident == "no":
        return batches
    return ResidentPatches(batches) if isinstance(batches, CopyPasteBatches) else ResidentFields(batches)


def _scorer(config: Config, task: Localization, validation: FieldSource) -> learning.Scorer:
    """The mean average precision of the validation fields, and, where their cells are known, of cells by the maps."""
    predict = jax.jit(task.predict)
    truth = validation.masks is not None and scoring.knows_cells(validation)

    def scores(state: train.State) -> dict[str, float]:
        fields, cells = [], []
        for field in validation:
            seen = images.to_um_per_pixel(field.image, field.um_per_pixel, config.um_per_pixel)
            whole = images.as_float(images.padded(seen, task.model.stride))[None]
            prob, maps = (np.asarray(part)[0] for part in predict(state.params, state.model_state, whole))
            fields.append(prob)
            if truth:
                cells.append(cams.cell_probabilities(maps, prob, field.found.cells))
        return scoring.validation_scores(validation, np.stack(fields), cells if truth else None)

    return scores


def train_model(
    config: Config,
    training: FieldSource,
    validation: FieldSource,
    workdir: pathlib.Path,
    *,
    kind: Literal["simulated", "real"],
) -> models.FieldClassifier:
    """The trained model, saved as localize.safetensors in `workdir` and loaded again; goes on where it was stopped."""
    run = build(config, training, validation)
    state = learning.fit(run, workdir, describe="image-level model")
    network = learning.save_network(
        workdir / FILE,
        state,
        architecture="cam-net",
        options=_options(config),
        um_per_pixel=config.um_per_pixel,
        size=config.window,
        masked=False,
        provenance=learning.Provenance(
            files.as_json(learning.settled(config)), kind, len(training.known()), training.name
        ),
    )
    return models.FieldClassifier(network, config.tta)


def _options(config: Config) -> dict[str, Any]:
    return {"backbone": config.backbone.name, "pooling": config.pooling}
