"""Nuclei and cells in whole fields: a network that tells objects from their borders, for `hpax.models.Segmenter`.

    fields = open_fields(Data(target="nuclei", folder=Path("dsb2018")))
    network = train_model(Config(), fields, Path("runs/nuclei"))

Nuclei are learnt from real images with hand-drawn truth (Data Science Bowl 2018) and from simulated fields, cells from
simulated fields alone.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hpax import atlas, data, files, models, train
from hpax.data import augment
from hpax.data.patches import CELL, NUCLEUS, UM_PER_PIXEL, PatchBatches, View
from hpax.explore import colour, grids
from hpax.images import nearest
from hpax.metrics.segmentation import KnownField, Method
from hpax.models.segmenter import Segmenter
from hpax.models.store import Network as StoredNetwork
from hpax.models.store import Trained
from hpax.recipes.configs import Segment as Config
from hpax.recipes.configs import SegmentNetwork as Network
from hpax.recipes.configs import computed_in
from hpax.recipes.data_configs import SegmentAtlas as Atlas
from hpax.recipes.data_configs import SegmentData as Data
from hpax.recipes.data_configs import Target
from hpax.segment import watershed
from hpax.tasks.segment import Segmentation
from hpax.types import Batch

__all__ = [
    "Atlas",
    "Config",
    "Data",
    "Fields",
    "Network",
    "annotated",
    "build",
    "cells_by",
    "nuclei_by",
    "open_fields",
    "patches",
    "save",
    "train_model",
]

VALIDATION_BATCH = 8  # patches
VALIDATION_PATCHES = 32
SHOWN = 6  # patches in a picture

USE = {
    "nuclei": "Nuclei in a nuclear stain of human cells (0.32 µm per pixel, scaled to that if the size is known).",
    "cells": "Cells in microtubules, ER and nuclei of human cells, together with segment-nuclei (0.32 µm per pixel).",
}
LIMITS = {
    "nuclei": "The size of a pixel must be known within a factor of about 1.5. The real nuclei learned from come from "
    "other microscopes than the HPA's, with pixel sizes derived from their drawn truth. Of sections and cytospins "
    "(sbsst265), whose nuclei differ in size within an image, Otsu's threshold finds more.",
    "cells": "The size of a pixel must be known within a factor of about 1.5. Learned from simulated fields alone.",
}


@dataclasses.dataclass(frozen=True)
class Fields:
    """Fields whose objects are known: views to learn from, and sources."""

    target: Target
    training: list[View]
    validation: list[View]
    known: data.Source  # the fields of the first view
    held: dict[str, data.Source]  # name → fields to be asked about: of other proteins, or other images


def open_fields(config: Data, seed: int = 0) -> Fields:
    """Builds the shards if they are not there, and opens them; `seed` is that of the simulated atlas.

    Raises:
        ValueError: a folder's name cannot be part of a metric's.
    """
    held = "validation+test"
    if config.target == "cells":
        training, validation = ([View(_simulated(config, seed, split), "cells", CELL)] for split in _LEARNING)
        return Fields("cells", training, validation, training[0].source, {"simulated": _simulated(config, seed, held)})
    training, validation = (_of_nuclei(config, seed, split) for split in _LEARNING)
    for folder in config.more:
        files.column(f"network real {folder.name} mean image ap")  # said before anything is learnt
    asked = {"real": _drawn(config.folder, config.data_dir, held)}
    for folder in config.more:
        asked[f"real {folder.name}"] = _drawn(folder, config.data_dir, held)
    return Fields("nuclei", training, validation, training[0].source, asked)


def build(config: Config, fields: Fields, *, seed: int = 0) -> train.Run:
    """The training run: what, on what, for how long."""
    batches = functools.partial(PatchBatches, size=config.patch, seed=seed)
    patched = batches(fields.training, config.optimizer.batch_size, cached=256)
    steps = config.optimizer.steps_of(patched.steps_per_epoch)
    held = batches(fields.validation, VALIDATION_BATCH, augmentation=augment.NONE, patches=VALIDATION_PATCHES)
    architecture, options = _architecture(config.network)
    dtype = computed_in(config.network.dtype)
    task = Segmentation(models.ARCHITECTURES[architecture](axis_name=train.AXIS, dtype=dtype, **options))
    return train.Run(
        task=task,
        batches=patched,
        optimizer=config.optimizer.make(steps),
        steps=steps,
        seed=seed,
        validation=held.epoch,
        pictures=lambda state: {"maps": patches(task, state, held[0])},
    )


def train_model(config: Config, fields: Fields, workdir: Path, *, seed: int = 0) -> StoredNetwork:
    """Trains, or goes on where `workdir` was left; the network as its file there has it, its kernels halved."""
    run = build(config, fields, seed=seed)
    state = train.fit(run, workdir, evaluate_every=max(1, run.steps // 4), save_every=100)
    record = {"steps": run.steps, "seed": seed}
    return save(config, fields.target, state, workdir, record)


def save(config: Config, target: Target, state: Trained, workdir: Path, record: Mapping[str, Any]) -> StoredNetwork:
    """Writes segment-<target>.safetensors with a card that holds `record`, and opens it as its users will."""
    architecture, options = _architecture(config.network)
    title = f"segment-{target}"
    path = models.save(
        workdir / f"{title}.safetensors",
        architecture=architecture,
        options=options,
        channels=[atlas.CHANNELS[channel] for channel in (CELL if target == "cells" else NUCLEUS)],
        um_per_pixel=UM_PER_PIXEL,
        state=state,
        card=models.card(title, use=USE[target], limits=LIMITS[target], record=record),
    )
    return models.load_network(path)


def patches(task: Segmentation, state: train.State, batch: Batch) -> UInt8[np.ndarray, "h w 3"]:
    """Patches of a batch: what the network sees, its maps, and the true ones; objects blue, borders red."""
    predicted = np.asarray(task.predict(state.params, state.model_state, batch["image"]))
    stains = ("grey",) if batch["image"].shape[-1] == 1 else ("red", "yellow", "blue")
    rows = {
        "image": colour.picture(np.asarray(batch["image"][:SHOWN]), colours=stains),
        "predicted": colour.picture(predicted[:SHOWN], colours=("red", "blue")),
        "true": colour.picture(np.asarray(batch["maps"][:SHOWN]), colours=("red", "blue")),
    }
    return grids.grid([list(row) for row in rows.values()], names=list(rows))


def annotated(source: data.Source, target: Target) -> list[KnownField]:
    """The fields of a source in order; what shows nuclei alone becomes a field whose other channels are blank."""
    fields = []
    for example in source.__getitems__(range(len(source))):
        image = example["image"]
        if image.shape[-1] == 1:
            image = np.where(np.arange(len(atlas.CHANNELS)) == NUCLEUS, image, 0).astype(image.dtype)
        fields.append(KnownField(example["id"], image, example[target], float(example["um_per_pixel"])))
    return fields


def nuclei_by(network: StoredNetwork) -> Method:
    """The nuclei that a network finds, without cells around them."""
    segmenter = Segmenter(network, network)

    def find(image: np.ndarray, um_per_pixel: float) -> np.ndarray:
        maps, _ = segmenter.maps(image, um_per_pixel)
        return nearest(watershed.nuclei_from_maps(maps, network.um_per_pixel), image.shape[:2])

    return find


def cells_by(nuclei: StoredNetwork, cells: StoredNetwork) -> Method:
    """The cells that two networks find."""
    segmenter = Segmenter(nuclei, cells)
    return lambda image, um_per_pixel: segmenter(image, um_per_pixel).cells


_LEARNING = ("train", "validation")


def _of_nuclei(config: Data, seed: int, split: str) -> list[View]:
    """The real images, each as often as any other, and the simulated ones."""
    drawn = [_drawn(folder, config.data_dir, split) for folder in (config.folder, *config.more)]
    images = sum(len(source) for source in drawn)
    views = [View(source, "nuclei", (0,), (1 - config.simulated) * len(source) / images) for source in drawn]
    return [*views, View(_simulated(config, seed, split), "nuclei", NUCLEUS, config.simulated)]


def _simulated(config: Data, seed: int, split: str) -> data.Source:
    """Simulated fields, split by protein; built if they are not there."""
    options = {"fields": 1, "balanced": True, "seed": seed, **dataclasses.asdict(config.atlas)}
    return data.build("simulated_fields", config.data_dir, split=split, progress=True, **options)


def _drawn(folder: Path | None, data_dir: Path, split: str) -> data.Source:
    """Real images with hand-drawn nuclei, split by image."""
    return data.build("dsb2018_nuclei", data_dir, split=split, source=folder, progress=True)


def _architecture(network: Network) -> tuple[str, dict[str, Any]]:
    """The network by its name in `hpax.models`, and its options."""
    widths = {"widths": network.widths} if network.widths else {}
    return f"{network.model}-unet", {"momentum": network.momentum, **widths}
