"""The masks of many fields in a folder: for each its cells and nuclei, two index images that share their indices.

Three flavours: `png`, {id}_cells.png and {id}_nuclei.png with 16 bits, or .tif with 32 beyond 65,535 cells;
`ome-tiff`, {id}.ome.tif with the channels cells and nuclei; `ome-zarr`, {id}.ome.zarr with the field and both as its
labels.
"""

import itertools
import os
import shutil
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt

from hpax.formats import label_images, ome

Flavour = Literal["png", "ome-tiff", "ome-zarr"]
NAMES = ("cells", "nuclei")

Plane = UInt[np.ndarray, "h w"]


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
    """The cells and nuclei of one field, in whichever flavour the folder holds them.

    Raises:
        FileNotFoundError: the folder holds no masks of it.
        ValueError: a file is damaged or too large, cells and nuclei differ in shape, or an index exceeds their pixels.
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
    return cells, nuclei


def _index_image(folder: Path, id: str, name: str, *, tiff: bool) -> Path:
    return folder / f"{id}_{name}.{'tif' if tiff else 'png'}"
