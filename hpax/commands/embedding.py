"""What `hpax embed` does."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt

from hpax import atlas, data, files, launch, models
from hpax.commands import embedding_page, segmenting
from hpax.commands.cells_of_fields import opened
from hpax.commands.command import Call
from hpax.commands.embed import Config
from hpax.commands.embedded_fields import EmbeddedCells, Embedder, embed_fields
from hpax.commands.folder import er_remarks
from hpax.data import folders
from hpax.features import extract
from hpax.models import store
from hpax.models.encoder import SIZE
from hpax.recipes.cells import only_location

FEATURES, SHARDS, PAGE = "features.h5ad", "shards", "index.html"
SHOWN = 12  # fields on the sheet of what was segmented


@runtime_checkable
class Cells(embedding_page.Cells, Protocol):
    """Single cells whose features can be written."""

    def write(self, path: Path, obs: pd.DataFrame, *, layers: Sequence[str], **more: Any) -> None:
        """Writes the features of some layers as `hpax.features.extract` does."""


def run(config: Config, call: Call) -> dict[str, str]:
    """Leaves the features of every cell, the page and the record; returns what could not be read, and why.

    Raises:
        FileNotFoundError: no such encoder, no folder, or no field, crop or mask in it.
        ValueError: the file holds no encoder, or one of other channels, or of an unknown layer; or a picture is wrong.
    """
    start = time.perf_counter()
    encoder = models.Encoder.load(config.named)
    if unknown := [layer for layer in config.layers if layer not in encoder.layers]:
        raise ValueError(f"layers must be of {', '.join(encoder.layers)}, got {', '.join(unknown)}")
    if config.crops is not None:
        segmenting.check_asked(config.segmenter, needed=False)
        config.workdir.mkdir(parents=True, exist_ok=True)
        with files.exclusive(config.workdir):
            source = _of_crops(config, encoder)
            _leave(config, call, encoder, StoredCells(source, encoder), start=start, resumed=False)
        return source.failures
    return _embed_fields(config, call, encoder, config.fields or Path(), start=start)


def _embed_fields(config: Config, call: Call, encoder: models.Encoder, fields: Path, *, start: float) -> dict[str, str]:
    _check_for_fields(encoder)
    resumed = any((config.workdir / "fields").glob("*.npz"))
    with opened(config, fields, shown=SHOWN) as begun:
        embedder = Embedder(config, encoder, files.digest(store.path_of(config.named)), begun.find)
        keys, failures = embed_fields(embedder, begun)
        failures = {**begun.failures, **failures}
        if begun.share is not None:
            print(begun.share.told(len(begun.own), len(begun.known)))
            return failures
        if config.masks is None:
            segmenting.finish(begun.cells, call, begun.known, failures, begun.guesses, start=start)
        cells = EmbeddedCells(embedder, [field for field in begun.known if field.id in keys], keys)
        if not len(cells.table):
            first = next(iter(failures.values()), "no cell was found")
            raise ValueError(f"no cell in any of {len(begun.known)} fields, {len(failures)} of which failed: {first}")
        found = dataclasses.replace(config, masks=config.masks or begun.cells.workdir)
        remarks = er_remarks(begun.known) + [guess.remark(config.um_per_pixel) for guess in begun.guesses]
        _leave(found, call, encoder, cells, start=start, resumed=resumed, remarks=remarks)
    return failures


def _leave(
    config: Config,
    call: Call,
    encoder: models.Encoder,
    cells: Cells,
    *,
    start: float,
    resumed: bool,
    remarks: Sequence[str] = (),
) -> None:
    """Leaves the table, the page and the record, and says where."""
    facts = told(config, encoder, cells)
    if remarks:
        facts["remarks"] = "; ".join(remarks)
    path = config.workdir / FEATURES
    cells.write(
        path,
        cells_of(cells),
        layers=config.layers or encoder.layers,
        obsm=None if cells.labels is None else {"labels": cells.labels},
        uns={"encoder": config.named.name, "encoder_content": facts["its content"], "made_of": facts},
    )
    embedding_page.write(encoder, cells, path, facts, config.workdir / PAGE)
    _record(config, call, cells, seconds=time.perf_counter() - start, resumed=resumed)
    print(f"features of {len(cells.table)} cells: {path}")
    print(f"the page: {config.workdir / PAGE}")


@dataclasses.dataclass(frozen=True)
class StoredCells:
    """The cells of a data set."""

    source: data.Source
    encoder: models.Encoder

    @property
    def table(self) -> pd.DataFrame:
        """What is known of each."""
        return self.source.table

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"] | None:
        """Their labels, where the data set knows labels."""
        return self.source.labels if "labels" in self.source.info.features else None

    def crops(self, places: Sequence[int]) -> list[UInt[np.ndarray, "s s c"]]:
        """Some of them."""
        return [self.source[place]["image"] for place in places]

    def write(self, path: Path, obs: pd.DataFrame, *, layers: Sequence[str], **more: Any) -> None:
        """Writes their features."""
        batches = data.CellBatches(
            self.source, self.encoder.together, prepare=lambda crops: self._seen(np.asarray(crops))
        )
        extract(self.encoder.encode, batches, obs, path, layers=layers, **more)

    def _seen(self, crops: UInt[np.ndarray, "*b s s c"]) -> Float32[np.ndarray, "*b s s d"]:
        """Stored crops, whose further channels the encoder does not see, as it sees them."""
        return self.encoder.prepare(crops[..., : len(self.encoder.channels)])


def cells_of(cells: Cells) -> pd.DataFrame:
    """What is known of every cell, in the columns that `hpax label` has; a label where its field has a single one."""
    obs = cells.table
    if {"x", "y", "um_per_pixel"} <= set(obs):
        size = obs["um_per_pixel"].to_numpy(np.float32)
        obs = obs.assign(x_um=obs["x"] * size, y_um=obs["y"] * size).drop(columns=["x", "y"])
    if "index" in obs:
        obs = obs.rename(columns={"index": "cell"})
    if cells.labels is not None:
        label = pd.Series(only_location(cells.labels), index=obs.index, dtype=object)
        obs = obs.assign(label=pd.Categorical(label.where(label != "", None), list(atlas.LOCATIONS)))
    return obs


def told(config: Config, encoder: models.Encoder, cells: Cells) -> dict[str, str]:
    """How the features came about, in words."""
    network, table, name = encoder.network, cells.table, config.named
    known = {
        "encoder": str(name),
        "its content": files.digest(store.path_of(name)),
        "what it sees": ", ".join(encoder.channels),
        "its crops": f"{encoder.size or 'any'} pixels, {_um(network.um_per_pixel)}",
        "layers": ", ".join(config.layers or encoder.layers),
    }
    if config.fields is None:
        known |= {"crops": str(config.crops), "organism": config.organism}
    else:
        sizes = sorted(set(np.round(table["um_per_pixel"].to_numpy(float), 4).tolist()))
        known |= {"fields": str(config.fields), "pixels of the fields": "; ".join(map(_um, sizes))}
        known["found by"] = f"the masks in {config.masks}"
    counts = {"cells": len(table), "fields of cells": table["field"].nunique()} if "field" in table else {}
    return known | {name: str(count) for name, count in counts.items()}


def _um(size: float) -> str:
    return "of unknown size" if math.isnan(size) else f"{size:.4g} µm per pixel"


def _check_for_fields(encoder: models.Encoder) -> None:
    """Refuses an encoder that cells of the atlas's channels and of a known size cannot be cut out for."""
    if encoder.channels != atlas.CHANNELS[: len(encoder.channels)] or not encoder.network.um_per_pixel > 0:
        told = f"{', '.join(encoder.channels)} at {encoder.network.um_per_pixel} µm"
        raise ValueError(f"the encoder must know {', '.join(atlas.CHANNELS)}, got {told}; give --crops instead")


def _record(config: Config, call: Call, cells: Cells, *, seconds: float, resumed: bool) -> None:
    """Leaves result.json."""
    counts = {"cells": len(cells.table)}
    if "field" in cells.table:
        counts["fields"] = cells.table["field"].nunique()
    if cells.labels is not None:
        counts["labelled cells"] = int(cells.labels.any(1).sum())
    metrics = {"cells per second": len(cells.table) / seconds}
    kind = "real" if config.fields is None else folders.kind(config.fields)
    result = launch.Result(metrics=metrics, counts=counts, data=kind, headline=list(metrics))
    origin = launch.origin(call.command, call.about, config, call.arguments)
    record = launch.record(config, result, origin, arm="default", seed=0, seconds=seconds, resumed=resumed)
    files.write_json(config.workdir / "result.json", record)


def _of_crops(config: Config, encoder: models.Encoder) -> data.Source:
    """Crops in the published layout."""
    if encoder.masked:
        raise ValueError("the encoder must see its cell alone, published crops show its neighbours; give --fields")
    if (encoder.network.preprocessing == "yeast") != (config.organism == "yeast"):
        raise ValueError(f"the encoder learnt from {encoder.network.preprocessing} cells, got {config.organism} crops")
    source = data.build(
        "cell_crops",
        config.workdir / SHARDS,
        source=config.crops,
        organism=config.organism,
        size=encoder.size or SIZE,
        min_cells=1,
        progress=True,
    )
    stored = int(source.info.features["image"].shape[-1])
    if len(encoder.channels) > stored:
        raise ValueError(f"the encoder sees {', '.join(encoder.channels)}, crops have {stored} channels; give --fields")
    return source
