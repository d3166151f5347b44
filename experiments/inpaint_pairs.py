"""Paired cell inpainting (Lu et al. 2019): features of single cells, learnt without labels.

Trains the network to paint a target cell's protein from its structural markers and another cell; keeps the source
encoder; asks how often the nearest neighbours of a cell in feature space tell its class, for every layer, against the
same encoder untrained and against classic features. Of simulated cells, the encoder learns from four in five proteins
and is asked about the others; of the few real ones, it learns from all cells, as published. No label is used in either.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import anndata
import numpy as np
import optax
from jaxtyping import UInt8

from hpax import atlas, data, features, launch, train
from hpax.data import preprocess
from hpax.data.pairs import Pair
from hpax.explore import colour, grids
from hpax.metrics import neighbours
from hpax.nn.inpainter import Inpainter
from hpax.tasks.inpaint import PairedInpainting
from hpax.types import Batch

BATCH = 256  # cells whose features are taken at once
VALIDATION_BATCH = 64  # pairs
SHOWN = 10  # pairs in a picture
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")


@dataclasses.dataclass(frozen=True)
class Config:
    """What to learn from, how, and what to ask of the features."""

    cells: Literal["simulated", "human", "yeast", "hpa"] = "simulated"
    folder: Path | None = None  # of the real images; published crops for human and yeast, fields for hpa
    masks: Path | None = None  # hpa: folder of index masks that build_cells left; None: Otsu nuclei as published
    data_dir: Path = Path("runs/data")  # where shards are built, once
    proteins: int = 190  # simulated: this many of one location each, classes equally frequent
    cell_lines: int = 1  # simulated: of each protein
    fields: int = 1  # simulated: of each protein in each cell line
    size: int = 512  # simulated: pixels of a field's side

    pair: Pair = "sibling"  # what the target is to the source; "self" makes it an autoencoder-like control
    width: float = 0.5  # of the encoders; 1 as published
    decoder_width: float | None = 0.125  # of the decoder, which is thrown away after training; None: as the encoders
    er: bool = False  # show the network (and the classic features) the ER too, where it was stained; published: no
    batch_size: int = 8  # pairs, on all devices together; published: 64 (yeast), 4 (human)
    steps: int = 1800
    learning_rate: float = 1e-3  # published 1e-4, for thirty epochs of half a million cells
    schedule: Literal["cosine", "constant"] = "cosine"  # how the rate falls to 0; published: constant
    momentum: float = 0.9  # of BatchNorm's averages; published 0.99

    layer: str = "conv3"  # the features that `knn` and the pictures speak of
    k: int = 11  # neighbours that vote
    seed: int = 0  # of the simulated atlas, the first parameters, and the pairs

    def __post_init__(self):
        if self.layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {self.layer!r}")


SWEEPS = {
    "pairing": launch.grid(pair=["sibling", "self", "random"]),
    "width": launch.grid(width=[0.125, 0.25, 0.5]),
    "layer": launch.grid(layer=LAYERS),
}
ASKING = ("layer", "k", "data_dir")
"""Fields that change nothing about training: arms that differ only in these share one trained encoder."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """A data set as this experiment needs it."""

    everything: data.Source  # cells that vote in the benchmark
    training: data.Source
    held: data.Source  # cells that the benchmark asks about
    prepare: Callable[[np.ndarray], np.ndarray]
    kind: Literal["simulated", "real"]
    protocol: str  # what is left out with a cell when its neighbours vote: the column of the table, as strict as can be
    label: Callable[[data.Source], np.ndarray]  # the class of each cell, "" for none


def open_cells(config: Config) -> Cells:
    """Builds the shards if they are not there, and opens them."""
    prepare = preprocess.human if config.er else without_er
    build = functools.partial(data.build, data_dir=config.data_dir, progress=True)
    if config.cells == "simulated":
        names = ("proteins", "cell_lines", "fields", "size", "seed")
        atlas_of = {"balanced": True, "multilocalised": 0.0, **{name: getattr(config, name) for name in names}}
        source = functools.partial(build, "simulated_cells", workers=os.cpu_count() or 1, **atlas_of)
        everything, training, held = (source(split=split) for split in ("all", "train", "validation+test"))
        return Cells(everything, training, held, prepare, "simulated", "protein", only_location)
    if config.cells == "hpa":
        cells = build("hpa_cells", source=config.folder, masks=str(config.masks or ""))
        return Cells(cells, cells, cells, prepare, "real", "field", only_location)
    cells = build("cell_crops", source=config.folder, organism=config.cells)
    prepare = preprocess.yeast if config.cells == "yeast" else preprocess.human
    return Cells(cells, cells, cells, prepare, "real", "field", lambda source: source.table["protein"].to_numpy(str))


def without_er(crops: np.ndarray) -> np.ndarray:
    """Human cells with the channels of Lu et al. (2019): protein, nucleus, microtubules."""
    return preprocess.human(crops[..., :3])


def only_location(source: data.Source) -> np.ndarray:
    """The name of a cell's location if it has a single one, else ""."""
    labels = source.labels
    return np.where(labels.sum(1) == 1, np.array(atlas.LOCATIONS)[labels.argmax(1)], "")


def build(config: Config, cells: Cells) -> train.Run:
    """The training run: what, on what, for how long."""
    batches = functools.partial(data.PairBatches, prepare=cells.prepare, seed=config.seed)
    validation = batches(cells.held, VALIDATION_BATCH, flip=False)
    model = Inpainter(config.width, config.decoder_width, axis_name=train.AXIS, momentum=config.momentum)
    task = PairedInpainting(model)
    rate = config.learning_rate
    rate = optax.cosine_decay_schedule(rate, config.steps) if config.schedule == "cosine" else rate
    return train.Run(
        task=task,
        batches=batches(cells.training, config.batch_size, pair=config.pair),
        optimizer=optax.adam(rate, b1=0.5),
        steps=config.steps,
        seed=config.seed,
        validation=validation.epoch,
        pictures=lambda state: {"inpainting": inpainting(task, state, validation[0])},
    )


def encoder_folder(config: Config, workdir: Path) -> Path:
    """Where the arms of a sweep that train alike keep their one encoder."""
    training = {name: value for name, value in launch.plain(config).items() if name not in ASKING}
    digest = hashlib.blake2b(json.dumps(training, sort_keys=True).encode(), digest_size=6).hexdigest()
    return workdir.parents[1] / "encoders" / digest


@dataclasses.dataclass(frozen=True)
class Study:
    """What a run leaves for tables and pages."""

    config: Config
    cells: Cells
    tables: Mapping[str, anndata.AnnData]  # "trained", "untrained", "classic"
    scores: Mapping[str, neighbours.Benchmark]  # as `benchmark` names them
    quality: Mapping[str, float]  # of the painted proteins, which the network never saw
    history: Sequence[Mapping[str, float]]  # to look at
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]]


def study(config: Config, workdir: Path) -> Study:
    """Train, extract, benchmark; leaves features.h5ad of every layer, and pictures, in `workdir`."""
    cells = open_cells(config)
    plan = build(config, cells)
    folder = encoder_folder(config, workdir)
    every = max(1, config.steps // 2)
    state = train.fit(plan, folder, evaluate_every=every, save_every=every)
    history = train.history(folder)
    tables = feature_tables(plan, state, cells, workdir)
    painted = pictures(plan, state, cells)
    for name, picture in painted.items():
        (workdir / f"{name}.png").write_bytes(colour.png(picture))
    return Study(
        config=config,
        cells=cells,
        tables=tables,
        scores=benchmark(tables, cells, config.k),
        quality=train.evaluate(plan.task, state.params, state.model_state, plan.validation()),
        history=history,
        pictures=painted,
    )


def run(config: Config, workdir: Path) -> launch.Result:
    """Balanced accuracies of every layer, and the numbers of things that they rest on."""
    done = study(config, workdir)
    shown = ["knn", *(f"trained {layer}" for layer in LAYERS), "untrained best", "classic", "chance", "correlation"]
    return launch.Result(metrics=metrics(done), counts=counts(done), data=done.cells.kind, headline=shown)


def feature_tables(plan: train.Run, state: train.State, cells: Cells, workdir: Path) -> dict[str, anndata.AnnData]:
    """The features of every cell by the trained encoder, the same one untrained, and the classic formulas."""
    untrained = plan.initial()
    encoders = {
        "trained": features.on_devices(plan.task.encode, state.params, state.model_state),
        "untrained": features.on_devices(plan.task.encode, untrained.params, untrained.model_state),
        "classic": features.handcrafted.encode,
    }
    batches = data.CellBatches(cells.everything, BATCH, prepare=cells.prepare)
    asked = cells.everything.table.index.isin(cells.held.table.index)
    obs = cells.everything.table.assign(label=cells.label(cells.everything), query=asked)
    obsm = {"labels": cells.everything.labels} if "labels" in cells.everything.info.features else {}
    extract = functools.partial(features.extract, batches=batches, obs=obs, obsm=obsm)
    paths = {name: workdir / f"{name}.h5ad" for name in encoders} | {"trained": workdir / "features.h5ad"}
    return {
        name: anndata.read_h5ad(extract(encode, path=paths[name], uns={"encoder": name}))
        for name, encode in encoders.items()
    }


def benchmark(tables: Mapping[str, anndata.AnnData], cells: Cells, k: int) -> dict[str, neighbours.Benchmark]:
    """ "trained conv3", "classic", ... → what the neighbours of a cell tell of its class, under the strict protocol.

    With " cell out" behind it: as published, where only the cell itself is left out.
    """
    scores = {}
    for name, table in tables.items():
        table = table[table.obs["label"] != ""]
        for layer in table.var["layer"].cat.categories:
            title = name if name == layer else f"{name} {layer}"
            layer_features = table[:, table.var["layer"] == layer].X
            labels, asked = table.obs["label"].to_numpy(str), table.obs["asked"].to_numpy(bool)
            ask = functools.partial(neighbours.benchmark, layer_features, labels, k=(k,), query=asked)
            scores[title] = ask(table.obs[cells.protocol].to_numpy(str), drop_single_group_classes=True)
            scores[f"{title} cell out"] = ask(None)
    return scores


def metrics(done: Study) -> dict[str, float]:
    """Balanced accuracy by encoder and layer, what to hold it against, and how well the network paints."""
    accuracy = {name: score.balanced_accuracy[done.config.k] for name, score in done.scores.items()}
    return {
        "knn": accuracy[f"trained {done.config.layer}"],
        **accuracy,
        "untrained best": max(accuracy[f"untrained {layer}"] for layer in LAYERS),
        "chance": done.scores["classic"].chance,
        "correlation": done.quality["correlation"],
        "loss": done.quality["loss"],
    }


def counts(done: Study) -> dict[str, int]:
    """What the numbers rest on."""
    asked = done.scores["classic"]
    return {
        "training cells": len(done.cells.training),
        "training proteins": done.cells.training.table["protein"].nunique(),
        "benchmark cells": sum(asked.counts),
        "classes": len(asked.classes),
        f"groups left out by {done.cells.protocol}": asked.groups,
        "classes of one group dropped": len(asked.single_group_classes),
    }


def inpainting(task: PairedInpainting, state: train.State, batch: Batch, title: str = "") -> UInt8[np.ndarray, "h w 3"]:
    """The first pairs of a batch: source, structure of the target, painted and actual protein."""
    source, target = batch["source"][:SHOWN], batch["target"][:SHOWN]
    painted = task.predict(state.params, state.model_state, source, target[..., atlas.STRUCTURE])
    colours = ("green", "magenta") if source.shape[-1] == 2 else None  # yeast has one marker, of the cytosol
    return grids.inpainting(source, target, np.asarray(painted), title=title, colours=colours)


def pictures(plan: train.Run, state: train.State, cells: Cells) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Pairs of one image, and mismatched pairs, as in Supplementary Figure 1 of Lu et al. (2019).

    A network that had learnt its cells by heart, or that read the protein off the markers, would paint the target's
    own protein where source and target are mismatched.
    """
    kinds = {"siblings": "pairs of one image", "mismatched": "source and target of different proteins"}
    found = {}
    for name, pair in {"siblings": "sibling", "mismatched": "random"}.items():
        batch = data.PairBatches(cells.held, BATCH, seed=1, pair=pair, prepare=cells.prepare, flip=False)[0]
        found[name] = inpainting(plan.task, state, batch, kinds[name])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
