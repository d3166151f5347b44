"""The masks of many fields in a folder: for each its cells and nuclei, two index images that share their indices.

Three flavours: `png`, {id}_cells.png and {id}_nuclei.png (or {id}_cellmask, {id}_nucleimask) with 16 bits, or .tif
with 32 beyond 65,535 cells;
`ome-tiff`, {id}.ome.tif with the channels cells and nuclei; `ome-zarr`, {id}.ome.zarr with the field and both as its
labels. What other programs write is taken where it can be meant: nuclei numbered for themselves are matched to the
cells by overlap; masks without numbers, or whose numbers wrapped, are refused.
"""

import itertools
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt
from skimage import measure

from hpax import fields, images
from hpax.formats import label_images, ome

Flavour = Literal["png", "ome-tiff", "ome-zarr"]
NAMES = ("cells", "nuclei")
ENDINGS = {"cells": ("cells", "cellmask"), "nuclei": ("nuclei", "nucleimask")}  # of names; the latter of HPA's own tool
SPELLINGS = {"cells": ("cells", "cell", "cellmask"), "nuclei": ("nuclei", "nucleus", "nucleimask")}  # of channels
SUFFIXES = (".png", ".tif", ".tiff")
MISPLACED = 0.05  # of correlation: how much better masks must fit otherwise before it is told
BINARY = (1, 255, 2**16 - 1)  # what masks without numbers have inside
AROUND = 0.1  # of the four sides: what background has of them at least
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


def paths(folder: str | os.PathLike[str], id: str) -> list[Path]:
    """Every file, or folder of OME-Zarr, that holds masks of a field."""
    folder = Path(folder)
    names = [f"{id}_{ending}{suffix}" for endings in ENDINGS.values() for ending in endings for suffix in SUFFIXES]
    names += [f"{id}.ome.tif", f"{id}.ome.tiff", f"{id}.ome.zarr"]
    return [path for path in (folder / name for name in names) if path.exists()]


def remove(folder: str | os.PathLike[str], id: str, *, flavour: Flavour | None = None) -> None:
    """Removes the masks of a field, of one flavour, or of all that the folder holds."""
    for path in paths(folder, id):
        if flavour is not None and _flavour(path) != flavour:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _flavour(path: Path) -> Flavour:
    """The flavour of one of `paths`."""
    if path.name.endswith(".ome.zarr"):
        return "ome-zarr"
    return "ome-tiff" if path.name.endswith((".ome.tif", ".ome.tiff")) else "png"


def present(folder: str | os.PathLike[str], id: str) -> bool:
    """Whether a folder holds masks of a field, or what only `read` can say is wrong with them."""
    try:
        return bool(flavours(folder, id))
    except ValueError:
        return True


def flavours(folder: str | os.PathLike[str], id: str) -> list[Flavour]:
    """In which flavours a folder holds the masks of a field.

    Raises:
        ValueError: of one there are several files.
    """
    folder = Path(folder)
    there = {
        "png": all(_found(folder, id, name) for name in NAMES),
        "ome-tiff": _ome_tiff(folder, id).exists(),
        "ome-zarr": (folder / f"{id}.ome.zarr").exists(),
    }
    return [flavour for flavour in get_args(Flavour) if there[flavour]]


def _found(folder: Path, id: str, name: str) -> Path | None:
    """The index image of a field's cells or nuclei.

    Raises:
        ValueError: there are several.
    """
    names = [folder / f"{id}_{ending}{suffix}" for ending in ENDINGS[name] for suffix in SUFFIXES]
    there = [path for path in names if path.exists()]
    if len(there) > 1:
        raise ValueError(f"{there[0]} and {there[1].name} both are the {name} of one field; keep one of them")
    return there[0] if there else None


def _ome_tiff(folder: Path, id: str) -> Path:
    shorter, longer = folder / f"{id}.ome.tif", folder / f"{id}.ome.tiff"
    if shorter.exists() and longer.exists():
        raise ValueError(f"{shorter} and {longer.name} both are the masks of one field; keep one of them")
    return longer if longer.exists() else shorter


def read(folder: str | os.PathLike[str], id: str, *, flavour: Flavour | None = None) -> tuple[Plane, Plane]:
    """The cells and nuclei of one field, in whatever flavour the folder holds; a nucleus has its cell's index.

    With `flavour`, those that the folder holds in it.

    Nuclei whose numbers are others than their cells' are matched by overlap (`fields.matched`); those that no cell
    covers are left out, and their count is logged. Nuclei without numbers have those of the cells that they lie in.

    Raises:
        FileNotFoundError: the folder holds no masks of it.
        ValueError: a file is damaged or too large, cells and nuclei differ in shape, an index exceeds their pixels,
            all cells have one number, far cells share one, the background has one, or flavours differ.
    """
    folder = Path(folder)
    found = [own for own in flavours(folder, id) if flavour in (None, own)]
    if not found:
        raise FileNotFoundError(f"{folder} holds no masks of field {id}; expected {id}_cells.png and {id}_nuclei.png")
    planes = {own: _planes(folder, id, own) for own in found}
    first, *others = planes.values()
    for own, other in zip(found[1:], others, strict=True):
        if not all(np.array_equal(*pair) for pair in zip(first, other, strict=True)):
            raise ValueError(f"the masks of field {id} in {folder} differ as {found[0]} and {own}; keep one of them")
    cells, nuclei = first
    _check_numbered(folder, id, cells, nuclei)
    return _matched(folder, id, cells, nuclei)


def _planes(folder: Path, id: str, flavour: Flavour) -> tuple[Plane, Plane]:
    """Cells and nuclei as one flavour holds them."""
    if flavour == "png":
        cells, nuclei = (label_images.read(path) for name in NAMES if (path := _found(folder, id, name)))
    elif flavour == "ome-tiff":
        planes, _ = ome.read_tiff(_ome_tiff(folder, id))
        cells, nuclei = (_channel(_ome_tiff(folder, id), planes, name) for name in NAMES)
    else:
        cells, nuclei = (ome.read_zarr(folder / f"{id}.ome.zarr", name) for name in NAMES)
    if cells.shape != nuclei.shape:
        raise ValueError(f"the masks of field {id} must have one shape, got cells {cells.shape}, nuclei {nuclei.shape}")
    if (highest := int(max(cells.max(initial=0), nuclei.max(initial=0)))) > cells.size:
        raise ValueError(f"the masks of field {id} have {cells.size} pixels, and so no cell {highest}; renumber them")
    return cells, nuclei


def _channel(path: Path, planes: Mapping[str, Plane], name: str) -> Plane:
    """The channel of that name, in any case and number."""
    found = [plane for own, plane in planes.items() if own.strip().lower() in SPELLINGS[name]]
    if len(found) != 1:
        raise ValueError(f"{path} must have the channels {', '.join(NAMES)}, it has {', '.join(planes)}; name them so")
    return found[0]


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
    if around := _around(cells):
        raise ValueError(
            f"cell {around} of field {id} in {folder} lies along all four sides, as background does, which must be 0; "
            "renumber the masks so that it is"
        )
    if shared := _shared(cells, nuclei):
        some = ", ".join(map(str, shared[:3]))
        raise ValueError(
            f"{len(shared)} of {len(inside)} cells of field {id} in {folder} consist of far parts with a nucleus each, "
            f"such as {some}: several cells have one number, as 8 bits make beyond 255; export 16 bits"
        )


def _around(cells: Plane) -> int:
    """The index along all four sides of masks of several cells, where 0 is not: that of the background; 0: none is."""
    sides = [
        np.bincount(side, minlength=int(cells.max(initial=0)) + 1) for side in (*cells[[0, -1]], *cells.T[[0, -1]])
    ]
    along = np.min(sides, axis=0) > 0
    length = np.sum(sides, axis=0)
    around = int(length.argmax())
    if not around or along[0] or not along[around] or length[around] < AROUND * length.sum():
        return 0
    return around if np.any((cells != around) & (cells > 0)) else 0


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
        if cells.any() and not nuclei.any():
            log.warning("the masks of field %s in %s have cells, but no nucleus", id, folder)
        return cells, nuclei
    if len(numbers := np.unique(nuclei[nuclei > 0])) == 1 and int(numbers[0]) in BINARY:
        nuclei = np.where(nuclei > 0, cells, 0).astype(cells.dtype)
        log.warning("the nuclei of field %s in %s have no numbers; they get those of their cells", id, folder)
    masks, alone = fields.matched(cells, nuclei)
    if len(alone):
        nuclear = len(np.unique(nuclei[nuclei > 0]))
        log.warning(
            "%d of %d nuclei of field %s in %s lie in no cell, and are left out", len(alone), nuclear, id, folder
        )
    inside, kept = (int(np.count_nonzero(plane)) for plane in (nuclei, masks.nuclei))
    if 0 < kept < inside / 2:
        told = "%.0f%% of the nuclei of field %s in %s lie outside of their cells: were cells and nuclei swapped?"
        log.warning(told, 100 * (1 - kept / inside), id, folder)
    if robbed := _robbed(cells, nuclei, masks.nuclei):
        told = "%d cells of field %s in %s, such as %d, lost their nucleus to another cell: do nuclei share a number?"
        log.warning(told, len(robbed), id, folder, robbed[0])
    if not masks.nuclei.any() and len(masks):
        raise ValueError(f"no nucleus of field {id} in {folder} lies in a cell; are these masks of one field?")
    return masks.cells, masks.nuclei


def _robbed(cells: Plane, nuclei: Plane, kept: Plane) -> list[int]:
    """The cells that half a nucleus or more lies in, and that have none since it became another cell's."""
    inside, own = (np.bincount(cells[plane > 0], minlength=int(cells.max(initial=0)) + 1) for plane in (nuclei, kept))
    inside[0] = own[0] = 0
    if not own.any():
        return []
    return np.flatnonzero((own == 0) & (inside >= max(LARGE, np.median(own[own > 0]) / 2))).tolist()


def check_placed(nuclei: Plane, stain: UInt[np.ndarray, "y x"], name: str) -> None:
    """Compares the masks of nuclei with their stain, coarsely, as they are and in the other seven ways to lay them.

    Raises:
        ValueError: another way fits and this one does not, so that the masks are turned or mirrored.
    """
    if nuclei.shape != stain.shape and nuclei.shape == stain.shape[::-1]:
        sizes = " and ".join(f"{width}x{height}" for height, width in (nuclei.shape, stain.shape))
        raise ValueError(
            f"{name} and the field are {sizes}: rows and columns are swapped; save them as the pictures lie"
        )
    if nuclei.shape != stain.shape or not nuclei.any() or stain.min() == stain.max():
        return
    inside = (nuclei > 0).astype(np.uint8) * 255
    ways: dict[str, float] = {}
    for turns, mirrored in itertools.product(range(4), (False, True)):
        turned = np.rot90(inside[:, ::-1] if mirrored else inside, turns)
        if turned.shape == stain.shape:
            way = f"turned by {90 * turns}°" + (" and mirrored" if mirrored else "")
            ways[way] = _correlation(turned, stain)
    own, best = ways["turned by 0°"], max(ways, key=lambda way: ways[way])
    if ways[best] - own <= MISPLACED:
        return
    told = (
        f"{name} fit the nuclei better if they are {best} (correlation {ways[best]:.2f}) than as they are ({own:.2f})"
    )
    if own < ways[best] / 2:
        raise ValueError(f"{told}; were rows and columns swapped? save them as the pictures lie")
    log.warning("%s; do they lie as the pictures do?", told)


def _correlation(one: Plane, other: Plane) -> float:
    side = min(256, *one.shape)
    small = [images.resize(np.ascontiguousarray(plane)[..., None], (side, side))[..., 0] for plane in (one, other)]
    with np.errstate(invalid="ignore", divide="ignore"):  # of what is flat once it is small
        return float(np.nan_to_num(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]))


def _index_image(folder: Path, id: str, name: str, *, tiff: bool) -> Path:
    return folder / f"{id}_{name}.{'tif' if tiff else 'png'}"
