"""What `hpax embed` does."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt

from hpax import atlas, data, files, models
from hpax.commands.embed import Config
from hpax.features import extract
from hpax.formats import fields
from hpax.models import store
from hpax.recipes.cells import only_location

FEATURES, SHARDS = "features.h5ad", "shards"


def run(config: Config) -> Path:
    """Leaves the features of every cell; returns their file.

    Raises:
        FileNotFoundError: no such encoder, no folder, or no field, crop or mask in it.
        ValueError: the file holds no encoder, or one of other channels, or of an unknown layer; or a picture is wrong.
    """
    encoder = models.Encoder.load(config.encoder)
    if unknown := [layer for layer in config.layers if layer not in encoder.layers]:
        raise ValueError(f"layers must be of {', '.join(encoder.layers)}, got {', '.join(unknown)}")
    config.workdir.mkdir(parents=True, exist_ok=True)
    with files.exclusive(config.workdir):
        source = _of_crops(config, encoder) if config.fields is None else _of_fields(config, encoder, config.fields)
        labels = {"labels": source.labels} if "labels" in source.info.features else None
        obs = source.table if labels is None else source.table.assign(label=only_location(source.labels))
        path = extract(
            encoder.encode,
            data.CellBatches(source, encoder.batch, prepare=lambda crops: _prepare(encoder, np.asarray(crops))),
            obs,
            config.workdir / FEATURES,
            layers=config.layers or None,
            obsm=labels,
            uns={"encoder": config.encoder.name, "encoder_content": files.digest(store.path_of(config.encoder))},
        )
    print(f"features of {len(source)} cells: {path}")
    return path


def _prepare(encoder: models.Encoder, crops: UInt[np.ndarray, "*b s s c"]) -> Float32[np.ndarray, "*b s s d"]:
    """Stored crops, whose further channels the encoder does not see, as it sees them."""
    return encoder.prepare(crops[..., : len(encoder.channels)])


def _of_fields(config: Config, encoder: models.Encoder, folder: Path) -> data.Source:
    """The cells of a folder of fields, cut out in the size that the encoder knows."""
    if encoder.channels != atlas.CHANNELS[: len(encoder.channels)] or not encoder.network.um_per_pixel > 0:
        told = f"{', '.join(encoder.channels)} at {encoder.network.um_per_pixel} µm"
        raise ValueError(f"the encoder must know {', '.join(atlas.CHANNELS)}, got {told}; give --crops instead")
    size = encoder.size or 64
    masks = None if config.masks is None else _masks(config.masks)
    return data.build(
        "hpa_cells",
        config.workdir / SHARDS,
        source=folder,
        masks="" if masks is None else str(masks),
        bits=fields.depth(fields.survey(folder).fields),
        annotations=config.annotations,
        um_per_pixel=config.um_per_pixel,
        camera_bits=config.camera_bits,
        crop_um=size * encoder.network.um_per_pixel,
        crop_size=size,
        min_cells=1,
        progress=True,
    )


def _masks(folder: Path) -> Path:
    """The folder of masks itself, where that of `hpax segment` was given."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the workdir of `hpax segment`, or its masks/")
    return folder / "masks" if (folder / "masks").is_dir() else folder


def _of_crops(config: Config, encoder: models.Encoder) -> data.Source:
    """Crops in the published layout."""
    if (encoder.network.preprocessing == "yeast") != (config.organism == "yeast"):
        raise ValueError(f"the encoder learnt from {encoder.network.preprocessing} cells, got {config.organism} crops")
    source = data.build(
        "cell_crops",
        config.workdir / SHARDS,
        source=config.crops,
        organism=config.organism,
        size=encoder.size or 64,
        min_cells=1,
        progress=True,
    )
    stored = int(source.info.features["image"].shape[-1])
    if len(encoder.channels) > stored:
        raise ValueError(f"the encoder sees {', '.join(encoder.channels)}, crops have {stored} channels; give --fields")
    return source
