"""What `hpax embed` does."""

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt

from hpax import atlas, data, files, launch, models
from hpax.commands import embedding_page, segment, segmenting
from hpax.commands.command import Call
from hpax.commands.embed import Config
from hpax.data import folders, pixel_sizes
from hpax.features import extract
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.models import store
from hpax.models.encoder import SIZE
from hpax.recipes.cells import only_location

FEATURES, SHARDS, PAGE = "features.h5ad", "shards", "index.html"


def run(config: Config, call: Call) -> dict[str, str]:
    """Leaves the features of every cell, the page and the record; returns what could not be read, and why.

    Raises:
        FileNotFoundError: no such encoder, no folder, or no field, crop or mask in it.
        ValueError: the file holds no encoder, or one of other channels, or of an unknown layer; or a picture is wrong.
    """
    start = time.perf_counter()
    segmenting.check_asked(config.segmenter, needed=config.masks is None and config.crops is None)
    name = config.named
    encoder = models.Encoder.load(name)
    if unknown := [layer for layer in config.layers if layer not in encoder.layers]:
        raise ValueError(f"layers must be of {', '.join(encoder.layers)}, got {', '.join(unknown)}")
    if config.fields is not None:
        _check_for_fields(encoder)
    config.workdir.mkdir(parents=True, exist_ok=True)
    with files.exclusive(config.workdir):
        found, failures = _with_masks(config, call)
        source = _of_crops(config, encoder) if found.masks is None else _of_fields(found, encoder, found.masks)
        labels = {"labels": source.labels} if "labels" in source.info.features else None
        obs = cells_of(source)
        facts = told(found, name, encoder, source)
        path = extract(
            encoder.encode,
            data.CellBatches(source, encoder.batch, prepare=lambda crops: _prepare(encoder, np.asarray(crops))),
            obs,
            config.workdir / FEATURES,
            layers=config.layers or None,
            obsm=labels,
            uns={"encoder": name.name, "encoder_content": facts["its content"], "made_of": facts},
        )
        embedding_page.write(encoder, source, path, facts, config.workdir / PAGE)
        _record(config, call, source, seconds=time.perf_counter() - start)
    print(f"features of {len(source)} cells: {path}")
    print(f"the page: {config.workdir / PAGE}")
    return failures | source.failures


def cells_of(source: data.Source) -> pd.DataFrame:
    """What is known of every cell, in the columns that `hpax label` has; a label where its field has a single one."""
    obs = source.table
    if {"x", "y", "um_per_pixel"} <= set(obs):
        size = obs["um_per_pixel"].to_numpy(np.float32)
        obs = obs.assign(x_um=obs["x"] * size, y_um=obs["y"] * size).drop(columns=["x", "y"])
    if "index" in obs:
        obs = obs.rename(columns={"index": "cell"})
    if "labels" in source.info.features:
        label = pd.Series(only_location(source.labels), index=obs.index, dtype=object)
        obs = obs.assign(label=pd.Categorical(label.where(label != "", None), list(atlas.LOCATIONS)))
    return obs


def told(config: Config, name: Path, encoder: models.Encoder, source: data.Source) -> dict[str, str]:
    """How the features came about, in words."""
    network, table = encoder.network, source.table
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
    counts = {"cells": len(source), "fields of cells": table["field"].nunique()} if "field" in table else {}
    return known | {name: str(count) for name, count in counts.items()}


def _um(size: float) -> str:
    return "of unknown size" if math.isnan(size) else f"{size:.4g} µm per pixel"


def _check_for_fields(encoder: models.Encoder) -> None:
    """Refuses an encoder that cells of the atlas's channels and of a known size cannot be cut out for."""
    if encoder.channels != atlas.CHANNELS[: len(encoder.channels)] or not encoder.network.um_per_pixel > 0:
        told = f"{', '.join(encoder.channels)} at {encoder.network.um_per_pixel} µm"
        raise ValueError(f"the encoder must know {', '.join(atlas.CHANNELS)}, got {told}; give --crops instead")


def _with_masks(config: Config, call: Call) -> tuple[Config, dict[str, str]]:
    """With the masks of the fields, found here where there are none; and why none are of some fields.

    Where they are those of `hpax segment`, pixels are what it took them for, unless something else is asked.
    """
    if config.fields is None:
        return config, {}
    failures: dict[str, str] = {}
    if config.masks is None:
        asked = of_segment(config, config.fields)
        failures = segmenting.run(asked, call)
        config = dataclasses.replace(config, masks=asked.workdir)
    path = (config.masks or Path()) / "config.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    um_per_pixel = config.um_per_pixel or there.get("um_per_pixel", 0.0)
    camera_bits = config.camera_bits or int(there.get("camera_bits", 0))
    return dataclasses.replace(config, um_per_pixel=um_per_pixel, camera_bits=camera_bits), failures


def of_segment(config: Config, fields: Path) -> segment.Config:
    """The settings of what finds the cells."""
    return segment.Config(
        fields=fields,
        workdir=config.workdir / "cells",
        annotations=config.annotations,
        segmenter=config.segmenter,
        um_per_pixel=config.um_per_pixel,
        camera_bits=config.camera_bits,
        overlays=False,
        shards=False,
    )


def _estimates(config: Config, masks: Path, found: Sequence[fields.FieldFiles]) -> pixel_sizes.Estimates:
    """What nuclei say of fields that state no pixel size: what they said when `hpax segment` left the masks, if so."""
    if config.um_per_pixel != "auto":
        return ()
    if said := pixel_sizes.kept(masks / pixel_sizes.FILE):
        return said
    bits, cache = config.camera_bits, config.workdir / pixel_sizes.FILE
    return pixel_sizes.estimates(found, "auto", camera_bits=bits, cache=cache)


def _record(config: Config, call: Call, source: data.Source, *, seconds: float) -> None:
    """Leaves result.json."""
    counts = {"cells": len(source)}
    if "field" in source.table:
        counts["fields"] = source.table["field"].nunique()
    if "labels" in source.info.features:
        counts["labelled cells"] = int(source.labels.any(1).sum())
    metrics = {"cells per second": len(source) / seconds}
    kind = "real" if config.fields is None else folders.kind(config.fields)
    result = launch.Result(metrics=metrics, counts=counts, data=kind, headline=list(metrics))
    origin = launch.origin(call.command, call.about, config, call.arguments)
    record = launch.record(config, result, origin, arm="default", seed=0, seconds=seconds, resumed=False)
    files.write_json(config.workdir / "result.json", record)


def _prepare(encoder: models.Encoder, crops: UInt[np.ndarray, "*b s s c"]) -> Float32[np.ndarray, "*b s s d"]:
    """Stored crops, whose further channels the encoder does not see, as it sees them."""
    return encoder.prepare(crops[..., : len(encoder.channels)])


def _of_fields(config: Config, encoder: models.Encoder, masks: Path) -> data.Source:
    """The cells of a folder of fields, cut out by `masks` in the size that the encoder knows."""
    size = encoder.size or SIZE
    found = fields.survey(config.fields or Path()).fields
    return data.build(
        "hpa_cells",
        config.workdir / SHARDS,
        source=config.fields,
        masks=str(mask_files.located(masks)),
        neighbours=not encoder.masked,
        bits=fields.depth(found),
        annotations=config.annotations,
        um_per_pixel=pixel_sizes.number(config.um_per_pixel),
        estimates=_estimates(config, masks, found),
        camera_bits=config.camera_bits,
        crop_um=size * encoder.network.um_per_pixel,
        crop_size=size,
        min_cells=1,
        progress=True,
    )


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
