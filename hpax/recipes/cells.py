"""Single cells to learn from and to ask about: simulated, cut out of a folder of fields, or published crops."""

import dataclasses
import functools
import logging
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped, UInt

from hpax import ahead, atlas, data, files
from hpax.data import folders, pixel_sizes
from hpax.data.simulated_fields import simulated_fields
from hpax.formats import fields, masks
from hpax.models.encoder import PREPARE
from hpax.recipes import variable_proteins
from hpax.recipes.data_configs import CellAtlas as Atlas
from hpax.recipes.data_configs import CellData as Data
from hpax.recipes.data_configs import VariableProteins
from hpax.segment.nuclei import CROP
from hpax.types import Array

__all__ = ["BATCH", "Atlas", "Cells", "Data", "only_location", "open_cells", "open_crops"]

BATCH = 256  # cells whose features are taken at once

YEAST_CHANNELS = ("protein", "marker")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Cells as recipes need them: stored crops, and what they are."""

    everything: data.Source  # cells that vote in benchmarks
    training: data.Source | data.Joined | data.Part
    held: data.Source  # cells that benchmarks ask about: those of other proteins, or all where nothing is held out
    channels: tuple[str, ...]  # the first so many of the stored ones, which the network sees
    preprocessing: Literal["human", "yeast"]
    um_per_pixel: float  # µm, of the crops; NaN: not known
    origin: Literal["simulated", "real"]
    protocol: str  # what is left out with a cell when its neighbours vote: the column of the table, as strict as can be
    labels: Shaped[np.ndarray, " n"]  # str, the class of each cell of `everything`; "" for none
    left_out: tuple[str, ...] = ()  # proteins not learnt from, as their cells differ (hpax.recipes.variable_proteins)
    field_um_per_pixel: float = math.nan  # µm, of the fields that x and y speak of; NaN: as the table says, if it does

    @property
    def labelled(self) -> bool:
        """Whether neighbours can be asked for classes: two at least occur in two groups of the protocol each."""
        known = self.obs()[self.labels != ""]
        groups = known.groupby("label", observed=True)[self.protocol].nunique()
        asked = known["label"][known["query"]].unique()
        return sum(int(groups.get(name, 0)) > 1 for name in asked) > 1

    @property
    def all_labels(self) -> UInt[np.ndarray, "n 19"] | None:
        """All classes of every cell of `everything`; None where only one of each is known."""
        return self.everything.labels if "labels" in self.everything.info.features else None

    @property
    def size(self) -> int:
        """Pixels of the side of the crops."""
        return int(self.everything.info.features["image"].shape[0])

    @functools.cached_property
    def held_out(self) -> bool:
        """Whether the cells that benchmarks ask about are of proteins that training does not see."""
        return not self.held.table.index.isin(self.training.table.index).any()

    @functools.cached_property
    def name(self) -> str:
        """A digest of the data: options, contents of the source's folder, and what is known of every cell."""
        parts: list[str | Path] = [*self.channels, self.preprocessing, *self.left_out]
        for source in (self.training, self.held, self.everything):
            parts.append(source.info.full_name)
            parts.extend(source.index_files)
        return files.digest(*parts)

    def prepare(self, crops: UInt[Array, "*b s s c"]) -> Float32[Array, "*b s s d"]:
        """Stored crops as the network sees them."""
        return PREPARE[self.preprocessing](crops[..., : len(self.channels)])

    def batches(self) -> data.CellBatches:
        """All cells, prepared, in their order."""
        return data.CellBatches(self.everything, BATCH, prepare=self.prepare)

    def obs(self) -> pd.DataFrame:
        """What is known of every cell, with its class as `label`, and `query` where benchmarks ask about it."""
        table = self.everything.table
        if "um_per_pixel" not in table and not math.isnan(self.field_um_per_pixel):
            table = table.assign(um_per_pixel=np.float32(self.field_um_per_pixel))
        return table.assign(label=self.labels, query=table.index.isin(self.held.table.index))


def open_cells(config: Data, seed: int = 0) -> Cells:
    """Builds the shards if they are not there, and opens them; `seed` is that of the simulated atlas.

    Raises:
        ValueError: real cells without a folder; no protein is left of those that are learnt from.
    """
    cells = _opened(config, seed)
    if config.variable == VariableProteins():
        return cells
    measure = functools.partial(
        variable_proteins.kept, config.data_dir / "variable_proteins", cells.training, cells.channels, cells.prepare
    )
    left_out = variable_proteins.chosen(config.variable, cells.training, measure, seed=seed)
    proteins = cells.training.table["protein"]
    learnt = ~proteins.isin(left_out).to_numpy()
    if not learnt.any():
        raise ValueError(f"proteins must be left to learn from, all {len(left_out)} are variable; leave out fewer")
    told = f"{len(left_out)} of {proteins.nunique()} proteins, {np.sum(~learnt)} of {len(learnt)} cells"
    log.warning("variable proteins are not learnt from: %s", told)
    part = data.Part(cells.training, np.flatnonzero(learnt).tolist())
    return dataclasses.replace(cells, training=part, left_out=tuple(left_out))


def _opened(config: Data, seed: int) -> Cells:
    """All cells."""
    if config.kind == "simulated":
        return _simulated(config, seed)
    if config.kind == "simulated-yeast":
        return _simulated_yeast(config, seed)
    folder = config.fields or config.folder
    if folder is None:
        flag = "--fields" if config.kind == "hpa" else "--folder"
        raise ValueError(f"cells of kind {config.kind!r} need a folder of images, got none; give {flag} FOLDER")
    if config.kind == "hpa":
        found = fields.survey(folder).fields if folder.is_dir() else []
        source = data.build(
            "hpa_cells",
            config.data_dir,
            source=folder,
            masks="" if config.masks is None else str(masks.located(config.masks)),
            bits=fields.depth(found),
            um_per_pixel=pixel_sizes.number(config.um_per_pixel),
            estimates=pixel_sizes.estimates(
                found, config.um_per_pixel, camera_bits=config.bits, cache=config.data_dir / pixel_sizes.FILE
            ),
            camera_bits=config.bits,
            crop_um=config.crop_um,
            crop_size=config.resolution,
            progress=True,
        )
        return _human(config, (source, source, source), folders.kind(folder), "field")
    source = open_crops(folder, config.kind, config.data_dir)
    yeast = config.kind == "yeast"
    return Cells(
        everything=source,
        training=source,
        held=source,
        channels=YEAST_CHANNELS if yeast else atlas.CHANNELS[:3],
        preprocessing="yeast" if yeast else "human",
        um_per_pixel=math.nan if yeast else CROP / int(source.info.features["image"].shape[0]),
        origin="real",
        protocol="field",
        labels=source.table["protein"].to_numpy(str),
    )


def only_held(cells: Cells) -> Cells:
    """The cells that benchmarks ask about, alone: they vote for each other."""
    labels = pd.Series(cells.labels, cells.everything.table.index).loc[cells.held.table.index]
    return dataclasses.replace(
        cells, everything=cells.held, training=cells.held, held=cells.held, labels=labels.to_numpy(str)
    )


def only_location(labels: UInt[np.ndarray, "n 19"]) -> Shaped[np.ndarray, " n"]:
    """The name of a cell's location if it has a single one, else ""."""
    return np.where(labels.sum(1) == 1, np.array(atlas.LOCATIONS)[labels.argmax(1)], "")


def _simulated(config: Data, seed: int) -> Cells:
    """Split by protein."""
    sources = _split(
        "simulated_cells",
        config.data_dir,
        balanced=True,
        multilocalised=0.0,
        **dataclasses.asdict(config.atlas),
        crop_um=config.crop_um,
        crop_size=config.resolution,
        seed=seed,
    )
    return _human(config, sources, "simulated", "protein")


def _simulated_yeast(config: Data, seed: int) -> Cells:
    """Split by protein; crops of `config.folder` are learnt from as well, and asked nothing."""
    everything, training, held = _split(
        "simulated_yeast",
        config.data_dir,
        seed=seed,
        proteins=config.yeast.proteins,
        cells=config.yeast.per_protein,
        multilocalised=config.yeast.multilocalised,
    )
    also = () if config.folder is None else (open_crops(config.folder, "yeast", config.data_dir),)
    locations = everything.table["locations"].to_numpy(str)
    return Cells(
        everything=everything,
        training=data.Joined([training, *also]) if also else training,
        held=held,
        channels=YEAST_CHANNELS,
        preprocessing="yeast",
        um_per_pixel=math.nan,
        origin="simulated",
        protocol="protein",
        labels=np.where(np.char.find(locations, "|") < 0, locations, ""),
    )


def _split(name: str, data_dir: Path, **options: Any) -> tuple[data.Source, data.Source, data.Source]:
    """All cells of a simulated data set, those of four in five proteins to learn from, and those of the others."""
    build = functools.partial(data.build, name, data_dir, progress=True, workers=ahead.cores(), **options)
    return build(split="all"), build(split="train"), build(split="validation+test")


def open_crops(folder: Path, organism: str, data_dir: Path) -> data.Source:
    """Published crops, built if their shards are not there."""
    return data.build("cell_crops", data_dir, source=folder, organism=organism, progress=True)


def _human(
    config: Data,
    sources: tuple[data.Source, data.Source, data.Source],
    origin: Literal["simulated", "real"],
    protocol: str,
) -> Cells:
    everything, training, held = sources
    size = int(everything.info.features["image"].shape[0])
    return Cells(
        everything=everything,
        training=training,
        held=held,
        channels=atlas.CHANNELS if config.er else atlas.CHANNELS[:3],
        preprocessing="human",
        um_per_pixel=config.crop_um / size,
        origin=origin,
        protocol=protocol,
        labels=only_location(everything.labels),
        field_um_per_pixel=simulated_fields.Config.um_per_pixel if config.kind == "simulated" else math.nan,
    )
