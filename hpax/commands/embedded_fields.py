"""The cells of fields, cut out and embedded one field after another; their features are kept for the next run."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, UInt

import hpax
from hpax import ahead, files, progress
from hpax.batching import in_full_batches
from hpax.commands.cells_of_fields import Opened, attempted
from hpax.commands.embed import Config
from hpax.commands.folder import FolderField, Load
from hpax.commands.found_cells import masks_digest
from hpax.commands.mask_folders import CellFinder, Cells
from hpax.data import pixel_sizes
from hpax.data.cells import Cutting, cut_by_masks
from hpax.data.failures import why
from hpax.features import Block, write
from hpax.formats import kept_arrays
from hpax.models import Encoder
from hpax.models.encoder import SIZE

COLUMNS = {
    "x": np.float64,  # pixels of the field
    "y": np.float64,
    "um_per_pixel": np.float64,
    "index": np.int64,
    "area_um2": np.float64,
    "nucleus_area_um2": np.float64,
    "touches_border": np.bool_,
    "missing": np.float64,
    "nucleus_cut": np.bool_,
    "relative_size": np.float64,
}
"""What is kept of every cell beside its features: its place, and what `segment.borders.cell_properties` says of it."""

LAYER = "layer "  # begins the names of the arrays of features


@dataclasses.dataclass(frozen=True)
class Cut:
    """The cells of a field, cut out; or, where its features are kept, no cell."""

    key: str  # what the features depend on
    columns: Mapping[str, np.ndarray]
    images: Sequence[UInt[np.ndarray, "s s c"]]  # before any preprocessing


@dataclasses.dataclass(frozen=True)
class Embedder:
    """Cuts out the cells of fields as the encoder knows them, and keeps their features."""

    config: Config
    encoder: Encoder
    content: str  # of the encoder's file
    find: CellFinder

    def path(self, field: FolderField) -> Path:
        """Where the features of a field are kept."""
        return self.config.workdir / "fields" / f"{field.id}.npz"

    def cut(self, field: FolderField, *, on_sheet: bool) -> Cut:
        """The cells of a field that are to be embedded: all, or none where their features are kept.

        Raises:
            ValueError, OSError: it cannot be read, or there are no cells to be had.
        """
        load = self._loader(field)
        cells = self.find(field, load, shown=on_sheet)
        options = f"{cells.um_per_pixel} {self.encoder.size} {hpax.__version__}"
        key = files.digest(cells.pixels, masks_digest(cells.masks), self.content, options)
        if kept_arrays.read(self.path(field), key) is not None:
            return Cut(key, {}, [])
        examples = self._examples(field, load, cells)
        columns: dict[str, np.ndarray] = {}
        for name, dtype in COLUMNS.items():
            columns[name] = np.array([example[name] for example in examples], dtype)
        return Cut(key, columns, [example["image"] for example in examples])

    def crops(self, field: FolderField) -> list[UInt[np.ndarray, "s s c"]]:
        """The cells of a field by ascending index, before any preprocessing.

        Raises:
            ValueError, OSError: as `cut`.
        """
        load = self._loader(field)
        return [example["image"] for example in self._examples(field, load, self.find(field, load, shown=False))]

    def prepared(self, cut: Cut) -> Float32[np.ndarray, "k s s c"]:
        """The cells that were cut out, as the network sees them."""
        if not cut.images:
            return np.zeros((0, 1, 1, 1), np.float32)
        return self.encoder.prepare(np.stack(cut.images)[..., : len(self.encoder.channels)])

    def keep(self, field: FolderField, cut: Cut, features: Mapping[str, Float32[np.ndarray, "k d"]]) -> None:
        """Keeps the features of a field's cells.

        Raises:
            ValueError: one is not finite.
        """
        for layer, rows in features.items():
            if len(bad := np.flatnonzero(~np.isfinite(rows).all(1))):
                cell = cut.columns["index"][bad[0]]
                raise ValueError(f"features must be finite, those of cell {cell} by {layer} are not; see its pixels")
        named = {LAYER + layer: rows for layer, rows in features.items()}
        kept_arrays.write(self.path(field), cut.key, {**cut.columns, **named})

    def _loader(self, field: FolderField) -> Load:
        return field.loader(pixel_sizes.number(self.config.um_per_pixel))

    def _examples(self, field: FolderField, load: Load, cells: Cells) -> list[dict[str, Any]]:
        """The cells of a field as the data set hpa_cells has them."""
        size, um_per_pixel = self.encoder.size or SIZE, cells.um_per_pixel
        cutting = Cutting(crop_um=size * self.encoder.network.um_per_pixel, crop_size=size)
        known = {**field.origin, "um_per_pixel": um_per_pixel}
        labels, whole = field.annotation.labels, not self.encoder.masked
        return list(cut_by_masks(cutting, load().image, um_per_pixel, cells.masks, labels, known, neighbours=whole))


def embed_fields(embedder: Embedder, begun: Opened) -> tuple[dict[str, str], dict[str, str]]:
    """Keeps the features of every field of this process: field → the key of what is kept, and field → why it failed."""
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    own, on_sheet = begun.own, begun.on_sheet

    def cut(field: FolderField) -> tuple[Cut, Float32[np.ndarray, "k s s c"]]:
        found = embedder.cut(field, on_sheet=field.id in on_sheet)
        return found, embedder.prepared(found)

    def attempts() -> Iterator[tuple[tuple[FolderField, Cut | Exception], np.ndarray]]:
        for field, found in attempted(cut, own, embedder.config.workers):
            if isinstance(found, Exception):
                yield (field, found), np.zeros((0, 1, 1, 1), np.float32)
            else:
                yield (field, found[0]), found[1]

    with progress.shown("fields", len(own)) as bar:
        for (field, found), features in in_full_batches(embedder.encoder.encode, attempts(), embedder.encoder.together):
            bar.advance()
            try:
                if isinstance(found, Exception):
                    raise found
                if found.columns:  # else they are kept
                    embedder.keep(field, found, features)
                keys[field.id] = found.key
            except Exception as error:  # no field stops the others, whatever is wrong with it
                failures[field.id] = why(error)
                bar.say(f"failed: {field.id}: {failures[field.id]}")
    return keys, failures


@dataclasses.dataclass(frozen=True)
class EmbeddedCells:
    """All cells whose features are kept, one field after the other."""

    embedder: Embedder
    fields: Sequence[FolderField]
    keys: Mapping[str, str]  # field → the key of what is kept

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """What is known of each, as the data set hpa_cells has it."""
        parts = self._columns
        ids = [f"{field.id}_{index}" for field, part in zip(self.fields, parts, strict=True) for index in part["index"]]
        texts = {}
        for name in self.fields[0].origin if self.fields else ():
            own = [field.origin[name] for field in self.fields]
            texts[name] = pd.Categorical(np.repeat(np.array(own, object), self._counts))
        numbers = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS} if parts else {}
        return pd.DataFrame({**texts, **numbers}, index=pd.Index(ids, name="id"))

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"]:
        """The labels of their fields."""
        return np.repeat(np.stack([field.annotation.labels for field in self.fields]), self._counts, axis=0)

    def crops(self, places: Sequence[int]) -> list[UInt[np.ndarray, "s s c"]]:
        """Some of them, read from the fields anew."""
        ends = np.cumsum(self._counts)
        whose = np.searchsorted(ends, places, side="right")
        wanted = np.unique(whose)
        read = ahead.in_order(self.embedder.crops, [self.fields[number] for number in wanted], ahead.cores())
        crops = dict(zip(wanted.tolist(), read, strict=True))
        starts = ends - self._counts
        return [crops[number][place - starts[number]] for number, place in zip(whose.tolist(), places, strict=True)]

    def write(self, path: Path, obs: pd.DataFrame, *, layers: Sequence[str], **more: Any) -> None:
        """Writes the features of some layers, holding those of one field at a time; `more` as `features.write`."""
        write(path, self._blocks(layers), obs, **more)

    @functools.cached_property
    def _columns(self) -> list[dict[str, np.ndarray]]:
        """What is kept of each field but its features, which may not fit into memory."""
        return [self._kept(field, list(COLUMNS)) for field in self.fields]

    @property
    def _counts(self) -> Int[np.ndarray, " f"]:
        """Cells of each field."""
        return np.array([len(part["index"]) for part in self._columns], int)

    def _blocks(self, layers: Sequence[str]) -> Iterator[Block]:
        start = 0
        for field, count in zip(self.fields, self._counts.tolist(), strict=True):
            if count:
                kept = self._kept(field, [LAYER + layer for layer in layers])
                yield np.arange(start, start + count), {layer: kept[LAYER + layer] for layer in layers}
            start += count

    def _kept(self, field: FolderField, names: Sequence[str]) -> dict[str, np.ndarray]:
        path = self.embedder.path(field)
        kept = kept_arrays.read(path, self.keys[field.id], names)
        if kept is None:
            raise FileNotFoundError(f"{path} was there and is no longer; run the command again")
        return kept
