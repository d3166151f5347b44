"""Index images for other programs: OME-TIFF (2016-06) and OME-Zarr (NGFF 0.5), both with µm per pixel and names.

Both writers make a file, or folder, that appears once complete. Both readers take what strangers send: they follow no
reference to another file, and stop at a bound before memory does.
"""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from jaxtyping import UInt

from hpax import atlas, files
from hpax.formats import label_images, pictures, zarr_planes

if TYPE_CHECKING:
    import zarr  # is slow to import, so the functions that need it do

METADATA = 2**20  # bytes of XML or JSON that a reader looks at
PLANES = 16  # the most that a reader looks at
CHUNK = 1024  # pixels of a chunk's side in OME-Zarr

_HEX = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "yellow": "FFFF00"}

Plane = UInt[np.ndarray, "h w"]


def write_tiff(path: str | os.PathLike[str], planes: Mapping[str, Plane], um_per_pixel: float) -> None:
    """Planes of one shape and dtype as the named channels of an OME-TIFF, deflated."""
    size = {"PhysicalSizeX": um_per_pixel, "PhysicalSizeY": um_per_pixel}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    metadata = {"axes": "CYX", **size, **units, "Channel": {"Name": list(planes)}}
    stack = np.stack(list(planes.values()))
    with files.replacing(path) as draft:
        tifffile.imwrite(draft, stack, ome=True, metadata=metadata, compression="zlib", photometric="minisblack")


def read_tiff(path: str | os.PathLike[str]) -> tuple[dict[str, Plane], float | None]:
    """The named channels of an OME-TIFF of one field, and its µm per pixel, None where it states none.

    Raises:
        ValueError: damaged, or no OME-TIFF of whole numbers in planes with names and square pixels; it names the file.
    """
    with files.reading(path, "export an OME-TIFF with a channel of indices each"), tifffile.TiffFile(path) as file:
        names, um_per_pixel = _described(file.ome_metadata or "")
        if len(file.pages) != len(names):
            raise ValueError(f"it names {len(names)} channels, but has {len(file.pages)} pages")
        planes = {name: label_images.read_page(file, index) for index, name in enumerate(names)}
    if bad := [name for name, plane in planes.items() if plane.ndim != 2]:
        raise ValueError(f"{path} must hold grey planes, {', '.join(bad)} is none; export indices")
    return {name: label_images.as_indices(plane, f"{path}, {name},") for name, plane in planes.items()}, um_per_pixel


def _described(xml: str) -> tuple[list[str], float | None]:
    """Channel names and µm per pixel (None if it is not stated) of the one image that OME-XML describes."""
    plain = pictures.without_comments(xml[: METADATA + 1])
    if not xml or len(xml) > METADATA or "<!" in plain:  # no entities, so nothing that expands
        raise ValueError(f"its OME-XML must have 1 to {METADATA} characters and no DOCTYPE, it has {len(xml)}")
    described = ElementTree.fromstring(plain).findall("{*}Image/{*}Pixels")
    if len(described) != 1:
        raise ValueError(f"it must describe one image, it describes {len(described)}")
    pixels = described[0]
    names = [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]
    if not 0 < len(names) <= PLANES or len(set(names)) != len(names) or not all(names):
        raise ValueError(f"its 1 to {PLANES} channels need a name each, got {names[: PLANES + 1]}")
    return names, _um_per_pixel(pixels)


def _um_per_pixel(pixels: ElementTree.Element) -> float | None:
    stated = [(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"]
    sizes = [pictures.micrometres(size, unit) for size, unit in stated if size is not None]
    if not sizes or stated[0][1] in ("pixel", "reference frame"):  # units of no length
        return None
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or max(known) > 1.01 * min(known):
        raise ValueError(f"its pixels must be square and of a positive length, they have {stated}")
    return known[0]


def write_zarr(
    path: str | os.PathLike[str],
    image: UInt[np.ndarray, "h w c"],
    masks: Mapping[str, Plane],
    um_per_pixel: float,
) -> None:
    """A field with its index images as labels, in OME-Zarr at one resolution, as a field fits a screen.

    Replaces what is at `path`.
    """
    import zarr

    names = atlas.CHANNELS[: image.shape[-1]]
    highest = int(np.iinfo(image.dtype).max)
    window = {"min": 0, "start": 0, "max": highest, "end": highest}
    shown = [{"label": name, "color": _HEX[atlas.COLOURS[name]], "active": True, "window": window} for name in names]
    with files.replacing(path) as draft:
        field = zarr.create_group(draft, overwrite=True)
        _write_image(field, np.moveaxis(image, -1, 0), um_per_pixel, omero={"channels": shown})
        group = field.create_group("labels", attributes=_ome(labels=list(masks)))
        for name, mask in masks.items():
            source = {"image-label": {"source": {"image": "../../"}}}
            _write_image(group.create_group(name), mask, um_per_pixel, **source)


def _write_image(group: "zarr.Group", pixels: UInt[np.ndarray, "..."], um_per_pixel: float, **metadata: Any) -> None:
    import zarr.codecs

    axes = [{"name": "c", "type": "channel"}] * (pixels.ndim - 2)
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale = [1.0] * (pixels.ndim - 2) + [um_per_pixel] * 2
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    group.attrs.update(_ome(multiscales=[{"axes": axes, "datasets": datasets}], **metadata))
    chunks = (1,) * (pixels.ndim - 2) + tuple(min(CHUNK, side) for side in pixels.shape[-2:])
    array = group.create_array(
        "0",
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=chunks,
        compressors=zarr.codecs.GzipCodec(level=1),
        dimension_names=[axis["name"] for axis in axes],
    )
    array[...] = pixels


def _ome(**attributes: Any) -> dict[str, Any]:
    return {"ome": {"version": "0.5", **attributes}}


def read_zarr(path: str | os.PathLike[str], mask: str) -> Plane:
    """The index image named `mask` among the labels of an OME-Zarr (NGFF 0.4 or 0.5), at full resolution.

    Raises:
        FileNotFoundError: no such label.
        ValueError: damaged, too large, or not in chunks that `zarr_planes` reads; it names the folder.
    """
    folder = Path(path, "labels", mask)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there; an OME-Zarr of masks needs the labels {mask}")
    with files.reading(folder, "write it with ome-zarr, unsharded"):
        return label_images.as_indices(zarr_planes.read(folder / zarr_planes.full_resolution(folder)), folder)
