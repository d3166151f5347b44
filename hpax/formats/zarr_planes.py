"""One plane of a Zarr array, of version 2 or 3, read as a stranger's: bounded before anything is unpacked.

The metadata are JSON, and chunks are files; so no library is needed to find them, and none decides how much a chunk
expands to. Chunks may be stored plainly, or by gzip, zlib, zstd or Blosc, which are what Zarr's writers have as
defaults.
"""

import dataclasses
import itertools
import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Shaped

PIXELS = 2**28  # of a plane
METADATA = 2**20  # bytes of JSON
CHUNKS = 2**12  # of a plane
RESOLUTIONS = 32  # of an image, at most, that are looked at

_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64", "bool")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array is stored; axes before the last two have one place each."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    fill: float
    packed: tuple[str, ...]  # what unpacks a chunk, the last one first
    name: Callable[[tuple[int, ...]], str]  # of the chunk at a place


def full_resolution(folder: Path) -> str:
    """The path of the largest array of an image within its folder; "0" where nothing tells.

    Raises:
        ValueError: damaged, the last axes are not y and x, or a path leads elsewhere.
    """
    told: Any = {}
    for name in (".zattrs", "zarr.json"):
        if (folder / name).exists():
            told = _json(folder / name)
    attributes = told.get("attributes", told)
    scales = attributes.get("ome", attributes).get("multiscales") or [{}]
    axes = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in scales[0].get("axes") or ()]
    if axes and axes[-2:] != ["y", "x"]:
        raise ValueError(f"{folder} has the axes {', '.join(axes)[:80]}; write it so that y and x come last")
    paths = [str(each.get("path", "0")) for each in scales[0].get("datasets") or [{}]][:RESOLUTIONS]
    for path in paths:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or len(parts) != 1:
            raise ValueError(f"{folder} has its pixels at {path[:80]!r}, which leads elsewhere")
    return paths[0] if len(paths) == 1 else max(paths, key=lambda path: math.prod(_layout(folder / path).shape))


def _layout(folder: Path) -> Layout:
    return _of_version_3(folder) if (folder / "zarr.json").exists() else _of_version_2(folder)


def read(folder: Path) -> Shaped[np.ndarray, "h w"]:
    """The last two axes of an array, of which others have one place.

    Raises:
        ValueError: damaged, too large, of more planes, or in chunks that are packed otherwise.
    """
    layout = _layout(folder)
    _check(folder, layout)
    pixels = np.full(layout.shape[-2:], layout.fill, layout.dtype.newbyteorder("="))
    height, width = layout.chunks[-2:]
    counts = [math.ceil(size / chunk) for size, chunk in zip(layout.shape, layout.chunks, strict=True)]
    for place in itertools.product(*map(range, counts)):
        path = folder / layout.name(place)
        if path.exists():
            top, left = place[-2] * height, place[-1] * width
            view = pixels[top : top + height, left : left + width]
            view[...] = _chunk(path, layout)[: view.shape[0], : view.shape[1]]
    return pixels


def _check(folder: Path, layout: Layout) -> None:
    shape, chunks = layout.shape, layout.chunks
    if len(shape) != len(chunks) or len(shape) < 2 or min(chunks) < 1 or min(shape) < 0:
        raise ValueError(f"{folder} must be an image, its shape is {shape} in chunks of {chunks}")
    if any(size != 1 for size in shape[:-2]):
        raise ValueError(f"{folder} must be one plane, its shape is {shape}; export one plane of indices")
    if max(math.prod(shape), math.prod(chunks)) > PIXELS:
        raise ValueError(f"{folder} must have at most {PIXELS} pixels, it has {shape} in chunks of {chunks}")
    if math.prod(math.ceil(size / chunk) for size, chunk in zip(shape, chunks, strict=True)) > CHUNKS:
        raise ValueError(f"{folder} must have at most {CHUNKS} chunks, it has {shape} in chunks of {chunks}")


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > METADATA:
        raise ValueError(f"{path} must have at most {METADATA} bytes")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _of_version_2(folder: Path) -> Layout:
    told = _json(folder / ".zarray")
    if told.get("order", "C") != "C" or told.get("filters"):
        raise ValueError(f"{folder} has filters, or columns first; write it in C order without filters")
    dtype = np.dtype(str(told["dtype"]))
    separator = _separator(folder, told.get("dimension_separator", "."))
    packer = told.get("compressor")
    packed = () if packer is None else (str(packer["id"]),)
    return Layout(
        tuple(map(int, told["shape"])),
        tuple(map(int, told["chunks"])),
        _known(folder, dtype),
        float(told.get("fill_value") or 0),
        packed,
        lambda place: separator.join(map(str, place)),
    )


def _of_version_3(folder: Path) -> Layout:
    told = _json(folder / "zarr.json")
    codecs = list(told["codecs"])
    names = [str(codec["name"]) for codec in codecs]
    if names[:1] != ["bytes"]:
        raise ValueError(f"{folder} is stored by {', '.join(names)}; write it without shards, as plain or packed bytes")
    dtype = _known(folder, np.dtype(str(told["data_type"]))).newbyteorder("<")
    if (codecs[0].get("configuration") or {}).get("endian") == "big":
        dtype = dtype.newbyteorder(">")
    chunks = tuple(map(int, told["chunk_grid"]["configuration"]["chunk_shape"]))
    fill, encoding = float(told.get("fill_value") or 0), _encoding(folder, told)
    return Layout(tuple(map(int, told["shape"])), chunks, dtype, fill, tuple(reversed(names[1:])), encoding)


def _separator(folder: Path, told: Any) -> str:
    """What is between the numbers in a chunk's name, where a stranger may have written a path."""
    if told not in (".", "/"):
        raise ValueError(f"{folder} must have . or / between the numbers of a chunk, got {str(told)[:80]!r}")
    return str(told)


def _encoding(folder: Path, told: Mapping[str, Any]) -> Callable[[tuple[int, ...]], str]:
    encoding = told.get("chunk_key_encoding") or {}
    default = encoding.get("name", "default") == "default"
    separator = _separator(folder, (encoding.get("configuration") or {}).get("separator", "/" if default else "."))
    prefix = ("c",) if default else ()
    return lambda place: separator.join((*prefix, *map(str, place)))


def _known(folder: Path, dtype: np.dtype) -> np.dtype:
    if dtype.name not in _TYPES:
        raise ValueError(f"{folder} has {dtype} pixels; write whole numbers")
    return dtype


def _chunk(path: Path, layout: Layout) -> Shaped[np.ndarray, "h w"]:
    size = math.prod(layout.chunks) * layout.dtype.itemsize
    with path.open("rb") as file:
        data = file.read(2 * size + 2**12)
    for name in layout.packed:
        data = _unpacked(name, data, size)
    if len(data) != size:
        raise ValueError(f"{path} must hold {size} bytes, it holds {len(data)} or more")
    return np.frombuffer(data, layout.dtype).reshape(layout.chunks[-2:])


def _unpacked(name: str, data: bytes, size: int) -> bytes:
    """A chunk unpacked to at most a byte more than it should have."""
    if name in ("gzip", "zlib"):
        return zlib.decompressobj(wbits=31 if name == "gzip" else 15).decompress(data, size + 1)
    import numcodecs  # of zarr, and as slow to import

    if name == "blosc":
        _check_blosc(data, size)
        return bytes(numcodecs.Blosc().decode(data))
    if name == "zstd":
        if _size_of_zstd(data) > size:
            raise ValueError(f"it expands to more than {size} bytes")
        return bytes(numcodecs.Zstd().decode(data))
    raise ValueError(f"its chunks are packed by {name}; gzip, zlib, zstd and blosc are read")


def _check_blosc(data: bytes, size: int) -> None:
    """That a Blosc chunk is as its header says, which the C library believes and reads beyond its end if it is not."""
    if len(data) < 16:
        raise ValueError("it is no Blosc chunk")
    expanded, block, packed = (int.from_bytes(data[start : start + 4], "little") for start in (4, 8, 12))
    if expanded > size:
        raise ValueError(f"it expands to more than {size} bytes")
    if expanded < size:
        raise ValueError(f"it must expand to {size} bytes, it expands to {expanded}")
    if packed != len(data) or not 0 < block <= max(size, 1):
        raise ValueError(f"it says that it has {packed} bytes in blocks of {block}, it has {len(data)}")
    blocks = -(-size // block)
    starts = np.frombuffer(data, "<u4", blocks, 16) if 16 + 4 * blocks <= len(data) else np.zeros(1, np.uint32)
    plain = bool(data[2] & 2)  # stored as it is, without the table of blocks
    if not plain and (starts.min() < 16 + 4 * blocks or starts.max() >= len(data)):
        raise ValueError("its blocks begin outside of it")
    if plain and len(data) != size + 16:
        raise ValueError(f"it must hold {size} bytes as they are, it holds {len(data) - 16}")


def _size_of_zstd(data: bytes) -> int:
    """How much the one frame of a zstd stream expands to, by its header (RFC 8878, 3.1.1.1)."""
    if len(data) < 6 or not data.startswith(b"\x28\xb5\x2f\xfd"):
        raise ValueError("it is no zstd stream")
    flags = data[4]
    single, kind = bool(flags & 0x20), flags >> 6
    bytes_of = {0: 1 if single else 0, 1: 2, 2: 4, 3: 8}[kind]
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if not bytes_of or len(data) < start + bytes_of:
        raise ValueError("it is a zstd stream that does not say how long it is; write it with Zarr's defaults")
    return int.from_bytes(data[start : start + bytes_of], "little") + (256 if bytes_of == 2 else 0)
