"""Features of every cell, streamed into an AnnData file (`.h5ad`)."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import anndata
import h5py
import jax
import numpy as np
import pandas as pd
from jax.experimental import multihost_utils
from jaxtyping import Float, Int

from hpax import files
from hpax.formats import cell_tables
from hpax.progress import shown
from hpax.train.processes import together
from hpax.types import Array, Batch

Encode = Callable[[Float[Array, "b h w c"]], Mapping[str, Float[Array, "b k"]]]
"""Images → layer → features of each image."""


Block = tuple[Int[np.ndarray, " b"], Mapping[str, Float[np.ndarray, "b k"]]]
"""Rows of the table of cells, and layer → features of these rows."""


def extract(
    encode: Encode,
    batches: Iterable[Batch],
    obs: pd.DataFrame,
    path: str | os.PathLike,
    *,
    layers: Sequence[str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    obsm: Mapping[str, np.ndarray] | None = None,
    uns: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> pathlib.Path:
    """Writes the features of every cell of `obs` to the `.h5ad` file `path`, holding one batch at a time.

    Where several processes run the program, each encodes its own rows of every batch (as `hpax.data.CellBatches` hands
    them out), and the first one writes them all. They end together, with the file there for all that see its folder.

    The file is as `hpax.formats.cell_tables` says. `X` (cells, features) float32 has the layers side by side, `var`
    says which "layer" and "channel" a column is: `cells[:, cells.var["layer"] == "conv3"]`. The file appears when it is
    complete and replaces an older one.

    Args:
        encode: a compiled function, as `on_devices` makes them, or any other.
        batches: hold `image`, `mask` and `index`, the row of each image in `obs`; every row once, in any order.
        obs: what is known of each cell; its index must be unique. Where it has the columns x, y and um_per_pixel,
            the file tells where cells lie; a column "label" holds their classes.
        layers: those to keep, in this order; None for all.
        names: the names of a layer's features, where they have any better than their number.
        obsm: tables with a row for each cell, such as multi-hot "labels".
        uns: what else the file should say, such as which encoder made it.
        progress: show a bar.

    Raises:
        ValueError: a cell comes twice or never, a feature is not finite, or a layer is unknown.
    """
    path = pathlib.Path(path)
    with together("the extraction of features"):
        blocks = _blocks(encode, batches, layers)
        write(path, blocks, obs, names=names, obsm=obsm, uns=uns, progress=progress)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"features in {path.name}")
    return path


def write(
    path: pathlib.Path,
    blocks: Iterator[Block],
    obs: pd.DataFrame,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    obsm: Mapping[str, np.ndarray] | None = None,
    uns: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> None:
    """Writes features that are known by now as `extract` does, holding one block of cells at a time.

    Raises:
        ValueError: as `extract`.
    """
    first = next(blocks, None)
    if first is None:
        raise ValueError(f"there must be at least one batch to extract, got none for {len(obs)} cells; check the split")
    named = cell_tables.uns([name for name in ("label",) if name in obs])
    told = {cell_tables.SPATIAL: cell_tables.spatial(obs), **(obsm or {})}
    known = {**named, **(uns or {})}
    table = anndata.AnnData(obs=_with_text_index(obs), var=_columns(first[1], names or {}), obsm=told, uns=known)
    writes = jax.process_index() == 0
    with _matrix(path, table) if writes else contextlib.nullcontext() as matrix:
        seen = np.zeros(len(obs), bool)
        with shown("features", len(obs)) if progress and writes else contextlib.nullcontext() as bar:
            for rows, features in _chain(first, blocks):
                block = _checked(seen, rows, features)
                if matrix is not None:
                    _write(matrix, rows, block)
                if bar is not None:
                    bar.advance(len(rows))
        if not seen.all():
            raise ValueError(
                f"every cell needs an image, {(~seen).sum()} of {len(seen)} had none, the first of them in "
                f"row {seen.argmin()} of obs; pass the obs of the same cells as the batches"
            )


def on_devices(encode: Callable, *state: Any, devices: Sequence[jax.Device] | None = None) -> Encode:
    """`images -> encode(*state, images)`, compiled, each of the local devices taking an equal share of the images.

    Args:
        encode: such as a task's `encode(params, model_state, images)`.
        state: what comes before the images; copied to every device once.
        devices: all local ones by default.
    """
    devices = devices or jax.local_devices()
    mesh = jax.sharding.Mesh(np.array(devices), ("cells",))
    everywhere, split = (jax.sharding.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P("cells")))
    state = jax.device_put(state, everywhere)
    compiled = jax.jit(encode, out_shardings=split)

    def call(images: Float[Array, "b h w c"]) -> Mapping[str, Float[Array, "b k"]]:
        count = len(images)
        missing = -count % len(devices)
        padded = np.pad(images, ((0, missing), *[(0, 0)] * (images.ndim - 1)))
        features = compiled(*state, jax.device_put(padded, split))
        return {layer: values[:count] for layer, values in features.items()} if missing else features

    return call


def _blocks(encode: Encode, batches: Iterable[Batch], layers: Sequence[str] | None) -> Iterator[Block]:
    """The real rows of each batch. The next batch is on its way to the device before one is fetched from it."""
    waiting = None
    for batch in batches:
        under_way = batch, _chosen(encode(batch["image"]), layers)
        if waiting:
            yield _fetched(*waiting)
        waiting = under_way
    if waiting:
        yield _fetched(*waiting)


def _chosen(features: Mapping[str, Array], layers: Sequence[str] | None) -> dict[str, Array]:
    if unknown := set(layers or ()) - set(features):
        raise ValueError(
            f"layers must be among {', '.join(features)}, got {', '.join(sorted(unknown))}; leave them out"
        )
    return {layer: features[layer] for layer in layers or features}


def _fetched(batch: Batch, features: Mapping[str, Array]) -> Block:
    """The real rows of a batch, those of all processes one after the other."""
    rows = {layer: np.asarray(values) for layer, values in features.items()}
    mask, index = np.asarray(batch["mask"]), np.asarray(batch["index"])
    if jax.process_count() > 1:
        mask, index, rows = multihost_utils.process_allgather((mask, index, rows), tiled=True)
    real = mask > 0
    return index[real], {layer: values[real] for layer, values in rows.items()}


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def _columns(features: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row for each column of X: its layer, its channel in it, and as index its name."""
    layers = [layer for layer, values in features.items() for _ in range(values.shape[1])]
    channels = np.concatenate([np.arange(values.shape[1]) for values in features.values()])
    titles = [
        name for layer, values in features.items() for name in names.get(layer, _numbered(layer, values.shape[1]))
    ]
    return pd.DataFrame(
        {"layer": pd.Categorical(layers, list(features)), "channel": channels.astype(np.int32)}, index=titles
    )


def _numbered(layer: str, count: int) -> list[str]:
    return [f"{layer}_{channel}" for channel in range(count)]


def _with_text_index(obs: pd.DataFrame) -> pd.DataFrame:
    obs = obs.set_axis(obs.index.astype(str))
    if len(twice := obs.index[obs.index.duplicated()]):
        raise ValueError(f"the index of obs must be unique, {twice[0]!r} is not; take the id of the cells")
    return obs


@contextlib.contextmanager
def _matrix(path: pathlib.Path, table: anndata.AnnData) -> Iterator[h5py.Dataset]:
    """The X of a table, to be filled; the file appears at the end. As anndata's file format has it (array 0.2.0)."""
    with files.replacing(path) as draft:
        table.write_h5ad(draft)
        with h5py.File(draft, "r+") as file:
            if "X" in file:
                del file["X"]
            matrix = file.create_dataset("X", table.shape, np.float32)
            matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            yield matrix


def _checked(seen: np.ndarray, rows: np.ndarray, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """The features of some rows side by side; notes in `seen` that these came."""
    block = np.concatenate([np.asarray(values, np.float32) for values in features.values()], axis=1)
    if len(outside := rows[(rows < 0) | (rows >= len(seen))]):
        raise ValueError(
            f"a batch's index must be a row of obs, 0..{len(seen) - 1}, got {outside[0]}; pass these cells' obs"
        )
    if len(np.unique(rows)) < len(rows) or seen[rows].any():
        raise ValueError(f"every cell must come once, row {_repeated(rows, seen)} came again; extract a single epoch")
    if len(bad := rows[~np.isfinite(block).all(1)]):
        raise ValueError(f"features must be finite, those of row {bad[0]} are not; look for NaN in its pixels")
    seen[rows] = True
    return block


def _write(matrix: h5py.Dataset, rows: np.ndarray, block: np.ndarray) -> None:
    order = np.argsort(rows)
    rows = rows[order]
    consecutive = len(rows) and rows[-1] - rows[0] + 1 == len(rows)
    matrix[slice(rows[0], rows[-1] + 1) if consecutive else rows] = block[order]


def _repeated(rows: np.ndarray, seen: np.ndarray) -> int:
    values, counts = np.unique(rows, return_counts=True)
    return int(values[(counts > 1) | seen[values]][0])
