"""The masks of many fields in a folder: for each its cells and nuclei, two index images that share their indices.

Three flavours: `png`, {id}_cells.png and {id}_nuclei.png with 16 bits, or .tif with 32 beyond 65,535 cells;
`ome-tiff`, {id}.ome.tif with the channels cells and nuclei; `ome-zarr`, {id}.ome.zarr with the field and both as its
labels. What other programs write is taken where it can be meant: nuclei numbered for themselves are matched to the
cells by overlap; masks without numbers, or whose numbers wrapped, are refused.
"""

import itertools
import logging
import os
import shutil
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt
from skimage import measure

from hpax import fields
from hpax.formats import label_images, ome

Flavour = Literal["png", "ome-tiff", "ome-zarr"]
NAMES = ("cells", "nuclei")
BINARY = (1, 255, 2**16 - 1)  # what masks without numbers have inside
LARGE = 20  # pixels: a part that may be a cell
SHARE = 0.1  # of its cell, and of that cell's nuclei: a part that may be a cell

log = logging.getLogger(__name__)

Plane = UInt[np.ndarray, "h w"]


def located(folder: str | os.PathLike[str]) -> Path:
    """The folder of masks: `masks` in the workdir of `hpax segment`, or `folder` itself.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the workdir of `hpax segment`, or its masks/")
    return folder / "masks" if (folder / "masks").is_dir() else folder


def write(
    folder: str | os.PathLike[str],
    id: str,
    cells: Plane,
    nuclei: Plane,
    *,
    image: UInt[np.ndarray, "h w 4"],
    um_per_pixel: float,
    flavour: Flavour = "png",
) -> None:
    """Writes the masks of one field; each file appears once complete, and replaces an older one."""
    folder, planes = Path(folder), {"cells": cells, "nuclei": nuclei}
    wide = max(int(plane.max(initial=0)) for plane in planes.values()) >= 2**16
    if flavour == "png":
        for name, plane in planes.items():
            _index_image(folder, id, name, tiff=not wide).unlink(missing_ok=True)
            label_images.write(_index_image(folder, id, name, tiff=wide), plane)
        return
    planes = {name: plane.astype(np.uint32 if wide else np.uint16) for name, plane in planes.items()}
    if flavour == "ome-tiff":
        ome.write_tiff(folder / f"{id}.ome.tif", planes, um_per_pixel)
    else:
        ome.write_zarr(folder / f"{id}.ome.zarr", image, planes, um_per_pixel)


def remove(folder: str | os.PathLike[str], id: str) -> None:
    """Removes the masks of a field, in whichever flavours the folder holds them."""
    folder = Path(folder)
    for name, tiff in itertools.product(NAMES, (False, True)):
        _index_image(folder, id, name, tiff=tiff).unlink(missing_ok=True)
    (folder / f"{id}.ome.tif").unlink(missing_ok=True)
    if (folder / f"{id}.ome.zarr").exists():
        shutil.rmtree(folder / f"{id}.ome.zarr")


def flavours(folder: str | os.PathLike[str], id: str) -> list[Flavour]:
    """In which flavours a folder holds the masks of a field."""
    folder = Path(folder)
    there = {
        "png": all(any(_index_image(folder, id, name, tiff=t).exists() for t in (False, True)) for name in NAMES),
        "ome-tiff": (folder / f"{id}.ome.tif").exists(),
        "ome-zarr": (folder / f"{id}.ome.zarr").exists(),
    }
    return [flavour for flavour in get_args(Flavour) if there[flavour]]


def read(folder: str | os.PathLike[str], id: str) -> tuple[Plane, Plane]:
    """The cells and nuclei of one field, in whichever flavour the folder holds them; a nucleus has its cell's index.

    Nuclei whose numbers are others than their cells' are matched by overlap (`fields.matched`); those that no cell
    covers are left out, and their count is logged.

    Raises:
        FileNotFoundError: the folder holds no masks of it.
        ValueError: a file is damaged or too large, cells and nuclei differ in shape, an index exceeds their pixels,
            all cells have one number, or far cells share one.
    """
    folder, found = Path(folder), flavours(folder, id)
    if not found:
        raise FileNotFoundError(f"{folder} holds no masks of field {id}; expected {id}_cells.png and {id}_nuclei.png")
    if found[0] == "png":
        paths = (_index_image(folder, id, name, tiff=False) for name in NAMES)
        cells, nuclei = (label_images.read(path if path.exists() else path.with_suffix(".tif")) for path in paths)
    elif found[0] == "ome-tiff":
        planes, _ = ome.read_tiff(folder / f"{id}.ome.tif")
        if missing := set(NAMES) - set(planes):
            raise ValueError(f"{folder / id}.ome.tif must have the channels {NAMES}, it lacks {sorted(missing)}")
        cells, nuclei = (planes[name] for name in NAMES)
    else:
        cells, nuclei = (ome.read_zarr(folder / f"{id}.ome.zarr", name) for name in NAMES)
    if cells.shape != nuclei.shape:
        raise ValueError(f"the masks of field {id} must have one shape, got cells {cells.shape}, nuclei {nuclei.shape}")
    if (highest := int(max(cells.max(initial=0), nuclei.max(initial=0)))) > cells.size:
        raise ValueError(f"the masks of field {id} have {cells.size} pixels, and so no cell {highest}; renumber them")
    _check_numbered(folder, id, cells, nuclei)
    return _matched(folder, id, cells, nuclei)


def _check_numbered(folder: Path, id: str, cells: Plane, nuclei: Plane) -> None:
    """Refuses masks whose values are no numbers of cells, or are so of several at once."""
    present = np.flatnonzero(np.bincount(cells.ravel()))
    inside = present[present > 0]
    if len(inside) == 1 and int(inside[0]) in BINARY:
        regions = int((np.bincount(measure.label(cells > 0).ravel())[1:] >= LARGE).sum())
        if int(inside[0]) > 1 or regions > 1:
            raise ValueError(
                f"the cells of field {id} in {folder} all have the value {inside[0]}, in {regions} parts: inside and "
                "outside, but no numbers; number the parts (skimage.measure.label), or export instances"
            )
    if shared := _shared(cells, nuclei):
        some = ", ".join(map(str, shared[:3]))
        raise ValueError(
            f"{len(shared)} of {len(inside)} cells of field {id} in {folder} consist of far parts with a nucleus each, "
            f"such as {some}: several cells have one number, as 8 bits make beyond 255; export 16 bits"
        )


def _shared(cells: Plane, nuclei: Plane) -> list[int]:
    """The indices of cells of several parts, each of which is large and has a fair share of the cell's nucleus."""
    parts = measure.label(cells, connectivity=2)
    count = int(parts.max(initial=0)) + 1
    owner = np.zeros(count, np.int64)
    owner[parts.ravel()] = cells.ravel()
    area = np.bincount(parts.ravel(), minlength=count)
    core = np.bincount(parts.ravel(), weights=(nuclei > 0).ravel(), minlength=count)
    own_area, own_core = (np.bincount(owner, weights=values) for values in (area, core))
    fair = (area >= np.maximum(LARGE, SHARE * own_area[owner])) & (core >= np.maximum(LARGE, SHARE * own_core[owner]))
    fair[owner == 0] = False
    return np.flatnonzero(np.bincount(owner[fair], minlength=1) > 1).tolist()


def _matched(folder: Path, id: str, cells: Plane, nuclei: Plane) -> tuple[Plane, Plane]:
    if np.array_equal(nuclei, np.where(nuclei == cells, nuclei, 0)):
        return cells, nuclei
    masks, alone = fields.matched(cells, nuclei)
    if len(alone):
        nuclear = len(np.unique(nuclei[nuclei > 0]))
        log.warning(
            "%d of %d nuclei of field %s in %s lie in no cell, and are left out", len(alone), nuclear, id, folder
        )
    if not masks.nuclei.any() and len(masks):
        raise ValueError(f"no nucleus of field {id} in {folder} lies in a cell; are these masks of one field?")
    return masks.cells, masks.nuclei


def _index_image(folder: Path, id: str, name: str, *, tiff: bool) -> Path:
    return folder / f"{id}_{name}.{'tif' if tiff else 'png'}"
