"""Paired cell inpainting (Lu et al. 2019): an encoder of single cells, learnt without labels.

cells = open_cells(Data(fields=Path("fields")))
encoder = train_model(Config(), cells, Path("runs/encoder"))
features = encoder.features(crops, layer="conv3")
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int, UInt8

from hpax import atlas, data, models, train
from hpax.data.pairs import Pair
from hpax.explore import grids
from hpax.models.encoder import Encoder
from hpax.models.store import Network as StoredNetwork
from hpax.models.store import Trained
from hpax.nn.embedder import ContrastedInpainter, ContrastedVectorInpainter
from hpax.nn.inpainter import Inpainter
from hpax.nn.vector_inpainter import VectorInpainter
from hpax.ops.painting import ERRORS
from hpax.recipes import configs
from hpax.recipes.cells import BATCH, Cells
from hpax.recipes.configs import INPAINT_PRESETS as PRESETS
from hpax.recipes.configs import Inpaint as Config
from hpax.recipes.configs import InpaintNetwork as Network
from hpax.recipes.learning import lives_on_device
from hpax.tasks.contrasted import ContrastedInpainting
from hpax.tasks.inpaint import PairedInpainting
from hpax.types import Array, Batch

__all__ = [
    "FILE",
    "PRESETS",
    "Config",
    "Network",
    "build",
    "inpainting",
    "lives_on_device",
    "pictures",
    "quality",
    "train_model",
    "untrained",
]

FILE = "encoder.safetensors"
VALIDATION_BATCH = 64  # pairs
KINDS = {
    "published": (Inpainter, ContrastedInpainter, "inpainter"),
    "vector": (VectorInpainter, ContrastedVectorInpainter, "vector-inpainter"),
}
"""`InpaintNetwork.kind` → the network alone, beside a contrast, and the architecture that its file names."""

HEAD = ("between", "out")  # parts that a contrast alone needs
SHOWN = 10  # pairs in a picture

USE = "Features of single cells: `hpax.models.encoder.Encoder`, on crops of the channels and the size told below."
LIMITS = "What it was trained on is all it knows: crops of another scale, stain or microscope were not checked."


def build(config: Config, cells: Cells, *, seed: int = 0) -> train.Run:
    """The training run: what, on what, for how long."""
    batches = functools.partial(data.PairBatches, prepare=cells.prepare, seed=seed)
    pairs = batches(
        cells.training,
        config.optimizer.batch_size,
        pair=config.pair,
        images=_fields(cells) if config.pair == "protein" else None,
        proteins=_proteins(cells),
    )
    validation = batches(cells.held, VALIDATION_BATCH, flip=False)
    steps = config.optimizer.steps_of(pairs.steps_per_epoch)
    task = _task(config, cells)
    predict = jax.jit(task.predict)

    def pictures(state: train.State) -> dict[str, np.ndarray]:
        paint = functools.partial(predict, state.params, state.model_state)
        return {"inpainting": inpainting(paint, validation[0])}

    return train.Run(
        task=task,
        batches=data.ResidentPairs(pairs) if lives_on_device(config.resident) else pairs,
        optimizer=config.optimizer.make(steps),
        steps=steps,
        seed=seed,
        validation=validation.epoch,
        pictures=pictures,
    )


def _fields(cells: Cells) -> Int[np.ndarray, " n"]:
    """The field of each training cell as a number; pairs of siblings know images as the source groups them."""
    table = cells.training.table
    return table["field"].cat.codes.to_numpy(int) if "field" in table else cells.training.groups


def _proteins(cells: Cells) -> Int[np.ndarray, " n"]:
    """The protein of each training cell as a number."""
    return cells.training.table["protein"].cat.codes.to_numpy(int)


def _task(config: Config, cells: Cells) -> PairedInpainting:
    network = config.network
    alone, contrasted, _ = KINDS[network.kind]
    kind = contrasted if config.contrast else alone
    model = kind(
        network.width,
        network.decoder_width,
        axis_name=train.AXIS,
        momentum=network.momentum,
        dtype=configs.computed_in(network.dtype),
    )
    if not isinstance(model, ContrastedInpainter):
        return PairedInpainting(model, error=ERRORS[config.error])
    proteins = _proteins(cells)
    if len(np.unique(proteins)) < 2:
        raise ValueError("a contrast needs cells of two proteins, these are of one; leave it at 0, or give more fields")
    return ContrastedInpainting(model, proteins, config.contrast, error=ERRORS[config.error])


def train_model(config: Config, cells: Cells, workdir: Path, *, seed: int = 0) -> Encoder:
    """Trains, or goes on where `workdir` was left; the encoder as its file there has it, with a card beside it."""
    run = build(config, cells, seed=seed)
    every = max(1, run.steps // 2)
    state = train.fit(run, workdir, evaluate_every=every, save_every=every)
    encoder = Encoder(_network(config, cells, state, ""))
    card = _card(config, cells, quality(encoder, cells, seed=seed), seed)
    described = dataclasses.replace(encoder, network=dataclasses.replace(encoder.network, card=card))
    return Encoder.load(described.save(workdir / FILE))


def untrained(config: Config, cells: Cells, *, seed: int = 0) -> Encoder:
    """The encoder before its first update."""
    return Encoder(_network(config, cells, build(config, cells, seed=seed).initial(), "untrained"))


def quality(encoder: Encoder, cells: Cells, *, seed: int = 0) -> dict[str, float]:
    """How well the network paints the cells held out, as its training is validated: `loss` and `correlation`."""
    batches = data.PairBatches(cells.held, VALIDATION_BATCH, prepare=cells.prepare, seed=seed, flip=False)
    network = encoder.network
    scores = train.evaluate(PairedInpainting(network.model), network.params, network.model_state, batches.epoch())
    return {name: scores[name] for name in ("loss", "correlation")}


Paint = Callable[[Array, Array], Array]
"""Source cells and the markers of target cells → the protein of the latter."""


def inpainting(paint: Paint, batch: Batch, title: str = "") -> UInt8[np.ndarray, "h w 3"]:
    """The first pairs of a batch: source, structure of the target, painted and actual protein.

    What is painted brighter than white, as by a network that learnt by correlation, is dimmed until it fits.
    """
    source, target = np.asarray(batch["source"][:SHOWN]), np.asarray(batch["target"][:SHOWN])
    protein = np.asarray(paint(source, target[..., atlas.STRUCTURE]))
    protein = protein / np.maximum(protein.max((1, 2, 3), keepdims=True), 1)
    colours = ("green", "magenta") if source.shape[-1] == 2 else None  # yeast has one marker, of the cytosol
    return grids.inpainting(source, target, protein, title=title, colours=colours)


def pictures(encoder: Encoder, cells: Cells) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Pairs of one image, and mismatched pairs, as in Supplementary Figure 1 of Lu et al. (2019).

    A network that had learnt its cells by heart, or that read the protein off the markers, would paint the target's
    own protein where source and target are mismatched.
    """
    kinds: dict[str, tuple[Pair, str]] = {
        "siblings": ("sibling", "pairs of one image"),
        "mismatched": ("random", "source and target of different proteins"),
    }
    shown = {}
    for name, (pair, title) in kinds.items():
        if pair == "random" and len(np.unique(cells.held.groups)) < 2:
            continue  # of a single image nothing can be mismatched
        batch = data.PairBatches(cells.held, BATCH, seed=1, pair=pair, prepare=cells.prepare, flip=False)[0]
        shown[name] = inpainting(encoder.paint, batch, title)
    return shown


def _network(config: Config, cells: Cells, state: Trained, card: str) -> StoredNetwork:
    architecture, options = KINDS[config.network.kind][-1], {"width": float(config.network.width)}
    if config.network.decoder_width is not None:
        options["decoder_width"] = float(config.network.decoder_width)
    return StoredNetwork(
        architecture=architecture,
        options=options,
        channels=cells.channels,
        um_per_pixel=cells.um_per_pixel,
        params={part: leaves for part, leaves in state.params.items() if part not in HEAD},
        model_state=state.model_state,
        card=card,
        size=cells.size,
        preprocessing=cells.preprocessing,
    )


def _card(config: Config, cells: Cells, quality: Mapping[str, float], seed: int) -> str:
    settings = {**dataclasses.asdict(config.network), **dataclasses.asdict(config.optimizer)}
    settings |= {"pair": config.pair, "contrast": config.contrast, "seed": seed}
    record = {
        "learnt from": f"{len(cells.training)} {cells.origin} cells",
        "channels": ", ".join(cells.channels),
        "crops (pixels)": cells.size,
        "crops (µm per pixel)": "unknown" if math.isnan(cells.um_per_pixel) else cells.um_per_pixel,
        "preprocessing": cells.preprocessing,
        "settings": settings,
        "validation": quality,
    }
    return models.card("encoder", use=USE, limits=LIMITS, record=record)
