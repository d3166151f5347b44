"""Index images for other programs: OME-TIFF (2016-06) and OME-Zarr (NGFF 0.5), both with µm per pixel and names.

Both writers make a file, or folder, that appears once complete. Both readers take what strangers send: they follow no
reference to another file, and stop at a bound before memory does.
"""

import itertools
import os
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from jaxtyping import UInt

from hpax import atlas, files
from hpax.formats import label_images

if TYPE_CHECKING:
    import zarr  # is slow to import, so the functions that need it do

METADATA = 2**20  # bytes of XML or JSON that a reader looks at
PLANES = 16  # the most that a reader looks at
CHUNKS = 2**12  # the most that a reader looks at
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


def read_tiff(path: str | os.PathLike[str]) -> tuple[dict[str, Plane], float]:
    """The named channels of an OME-TIFF of one field, and its µm per pixel.

    Raises:
        ValueError: damaged, or no OME-TIFF of unsigned planes with names and square pixels in µm; it names the file.
    """
    try:
        with tifffile.TiffFile(path) as file:
            names, um_per_pixel = _described(file.ome_metadata or "")
            if len(file.pages) != len(names):
                raise ValueError(f"it names {len(names)} channels, but has {len(file.pages)} pages")
            planes = {name: label_images.read_page(file, index) for index, name in enumerate(names)}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged TIFF can raise nearly anything
        raise ValueError(f"{path} is no OME-TIFF that hpax can read: {error}") from error
    if bad := [name for name, plane in planes.items() if plane.ndim != 2 or plane.dtype.kind != "u"]:
        raise ValueError(f"{path} must hold unsigned grey planes, {', '.join(bad)} is none; export indices")
    return planes, um_per_pixel


def _described(xml: str) -> tuple[list[str], float]:
    """Channel names and µm per pixel of the one image that OME-XML describes."""
    if not xml or len(xml) > METADATA or "<!" in xml:  # no entities, so nothing that expands
        raise ValueError(f"its OME-XML must be plain and of 1 to {METADATA} characters, it has {len(xml)}")
    described = ElementTree.fromstring(xml).findall("{*}Image/{*}Pixels")
    if len(described) != 1:
        raise ValueError(f"it must describe one image, it describes {len(described)}")
    pixels = described[0]
    names = [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]
    sizes = {float(pixels.get(f"PhysicalSize{axis}", "nan")) for axis in "XY"}
    units = {pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"}
    if len(sizes) != 1 or units != {"µm"} or not 0 < min(sizes) < np.inf:
        raise ValueError(f"its pixels must be square and in µm, they have {sizes} {units}")
    if not 0 < len(names) <= PLANES or len(set(names)) != len(names) or not all(names):
        raise ValueError(f"its 1 to {PLANES} channels need a name each, got {names[: PLANES + 1]}")
    return names, sizes.pop()


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
    """The index image named `mask` among the labels of an OME-Zarr, at full resolution.

    Raises:
        FileNotFoundError: no such label.
        ValueError: damaged, too large, or not in plain or gzipped chunks; it names the folder.
    """
    import zarr

    folder = Path(path, "labels", mask, "0")
    if (folder / "zarr.json").stat().st_size > METADATA:
        raise ValueError(f"{folder}/zarr.json must have at most {METADATA} bytes")
    try:
        array = zarr.open_array(folder, mode="r")
        return _assembled(folder, array)
    except Exception as error:  # damaged metadata can raise nearly anything
        raise ValueError(f"{folder} is no label image that hpax can read: {error}") from error


def _assembled(folder: Path, array: "zarr.Array") -> Plane:
    """An array read chunk by chunk, each inflated to its size and no further."""
    metadata: Any = array.metadata  # of version 3, as zarr.json is there
    codecs = [codec.to_dict()["name"] for codec in metadata.codecs]
    if array.ndim != 2 or array.dtype.kind != "u" or codecs not in (["bytes"], ["bytes", "gzip"]):
        raise ValueError(f"it is {array.ndim}-dimensional {array.dtype} in {codecs}; unsigned bytes, gzip are read")
    if max(np.prod(array.shape, dtype=float), np.prod(array.chunks, dtype=float)) > label_images.PIXELS:
        raise ValueError(f"it must have at most {label_images.PIXELS} pixels, it has {array.shape} by {array.chunks}")
    if array.nchunks > CHUNKS:
        raise ValueError(f"it must have at most {CHUNKS} chunks, it has {array.nchunks}")
    pixels = np.zeros(array.shape, array.dtype)
    for place in itertools.product(*map(range, array.cdata_shape)):
        top, left = (index * side for index, side in zip(place, array.chunks, strict=True))
        view = pixels[top : top + array.chunks[0], left : left + array.chunks[1]]
        chunk = _chunk(folder / metadata.encode_chunk_key(place), array, gzipped=len(codecs) == 2)
        view[...] = chunk[: view.shape[0], : view.shape[1]]
    return pixels


def _chunk(path: Path, array: "zarr.Array", *, gzipped: bool) -> Plane:
    if not path.exists():
        return np.full(array.chunks, array.fill_value, array.dtype)
    size = int(np.prod(array.chunks)) * array.dtype.itemsize
    with path.open("rb") as file:
        stored = file.read(2 * size + 2**10)
    data = zlib.decompressobj(wbits=31).decompress(stored, size + 1) if gzipped else stored
    if len(data) != size:
        raise ValueError(f"chunk {path.name} must have {size} bytes, it has {len(data)} or more")
    return np.frombuffer(data, array.dtype.newbyteorder("<")).reshape(array.chunks)
