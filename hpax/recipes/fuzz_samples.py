"""Small files of every kind that hpax reads, and what reads them: what `fuzz_files` makes mutants of."""

import functools
import io
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numcodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from hpax import files, models
from hpax.data import archive
from hpax.formats import fields, kaggle, label_images, mutants, ome, pictures, proteinatlas, tables
from hpax.formats.fuzzing import Sample
from hpax.models import torch_pth

Kind = Literal["tables", "pictures", "masks", "networks", "archives"]


def samples(kind: Kind) -> list[Sample]:
    """A small sound file of every format of a kind."""
    makers = {"tables": _tables, "pictures": _pictures, "masks": _masks, "networks": _networks, "archives": _archives}
    return makers[kind]()


def _tables() -> list[Sample]:
    table = b'id,label,gene\na1,"0|16",TP53\nb2,[3; 4],"x ""y"""\nc3,Cytosol,\n'
    wanted = b"image,label,sha256_red\n6872/8_G3_1_red.jpg,0|16,\nhttps://x.org/7/9_G3_2,,\n"
    pixels = np.kron(np.arange(6).reshape(2, 3), np.ones((6, 6), int)).astype(np.uint16)
    listing = label_images.listing("i0", pixels, np.full((5, 19), 0.5))
    submission = f"ID,ImageWidth,ImageHeight,PredictionString\ni0,18,12,{kaggle.prediction_string(listing)}\n".encode()
    return [
        Sample("labels.csv", "text", table, tables.read_annotations),
        Sample("list.csv", "text", wanted, proteinatlas.read_list),
        Sample("submission.csv", "text", submission, _submission),
    ]


def _submission(path: Path) -> Any:
    kaggle.report(path)
    return kaggle.strict(path)


def _pixels() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 9, (24, 30)).astype(np.uint16)
    pixels[2:12, 3:20] = 7
    return pixels


def _image(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    Image.fromarray(pixels).save(out := io.BytesIO(), form, **options)
    return out.getvalue()


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    tifffile.imwrite(out := io.BytesIO(), pixels, **options)
    return out.getvalue()


def _picture(path: Path) -> Any:
    pictures.stated_um_per_pixel(path)
    pictures.orientation(path)
    pictures.is_8_bit(path)
    return fields.read_channel(path, max_pixels=10**6)


def _pictures() -> list[Sample]:
    pixels, turned = _pixels(), Image.Exif()
    turned[274] = 6
    described = {"axes": "YX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3}
    files: dict[str, tuple[mutants.Content, bytes]] = {
        "a_red.png": ("png", _image(pixels.astype(np.uint8), "PNG")),
        "deep_red.png": ("png", _image(pixels, "PNG")),
        "a_red.jpg": ("binary", _image(pixels.astype(np.uint8), "JPEG", exif=turned)),
        "a_red.tif": ("binary", _tiff(pixels, compression="zlib")),
        "ome_red.tif": ("binary", _tiff(pixels, ome=True, metadata=described)),
        "float_red.tif": ("binary", _tiff(pixels / 9)),
    }
    return [Sample(name, content, data, _picture) for name, (content, data) in files.items()]


def _masks() -> list[Sample]:
    pixels = _pixels()
    named = {"axes": "CYX", "Channel": {"Name": ["cells", "nuclei"]}, "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3}
    both = _tiff(np.stack([pixels, pixels]), ome=True, metadata=named, compression="zlib", photometric="minisblack")
    return [
        Sample("a.png", "png", _image(pixels, "PNG"), label_images.read),
        Sample("a.tif", "binary", _tiff(pixels, compression="zlib"), label_images.read),
        Sample("lzw.tif", "binary", _image(pixels, "TIFF", compression="tiff_lzw"), label_images.read),
        Sample("float.tif", "binary", _tiff(pixels.astype(np.float32)), label_images.read),
        Sample("a.ome.tif", "binary", both, ome.read_tiff),
        *_zarrs(pixels),
    ]


def _zarrs(pixels: np.ndarray) -> list[Sample]:
    """Metadata and a chunk of each version of Zarr, the others of whose files stay as they are."""
    image = np.zeros((*pixels.shape, 4), np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        ome.write_zarr(Path(folder, "a"), image, {"cells": pixels}, 0.3)
        packed = numcodecs.Blosc(cname="zstd")
        options: dict[str, Any] = {"zarr_format": 2, "compressors": packed, "chunks": pixels.shape}
        zarr.create_array(Path(folder, "b"), data=pixels, **options)
        three, array = (_below(Path(folder, name)) for name in "ab")
    two = {f"labels/cells/0/{name}": data for name, data in array.items()}
    of_label = functools.partial(ome.read_zarr, mask="cells")
    return [
        _part("label.json", "text", three, "labels/cells/zarr.json", of_label),
        _part("array.json", "text", three, "labels/cells/0/zarr.json", of_label),
        _part("chunk", "binary", three, "labels/cells/0/c/0/0", of_label),
        _part("zarray.json", "text", two, "labels/cells/0/.zarray", of_label),
        _part("blosc", "binary", two, "labels/cells/0/0.0", of_label),
    ]


def _part(
    name: str, content: mutants.Content, whole: Mapping[str, bytes], place: str, read: Callable[[Path], Any]
) -> Sample:
    """A file of a folder that is read as a whole."""
    return Sample(name, content, whole[place], functools.partial(_within, whole, place, read))


def _below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in files.below(folder)}


def _within(whole: Mapping[str, bytes], name: str, read: Callable[[Path], Any], path: Path) -> Any:
    """Reads a folder, one of whose files is the one at `path`."""
    folder = path.with_name(f"{path.name}.folder")
    for own, data in whole.items():
        (folder / own).parent.mkdir(parents=True, exist_ok=True)
        (folder / own).write_bytes(path.read_bytes() if own == name else data)
    return read(folder)


def _networks() -> list[Sample]:
    # the pickles of `torch.save({"a": torch.tensor(...)})`, operation by operation, as torch is not here to write them
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\6NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\2K\3\x86K\3K\1\x86\x89"
    state = b"\x80\2}(X\1\0\0\0a" + tensor + b"ccollections\nOrderedDict\n)RtRu."
    system = b"\x80\2}(X\15\0\0\0little_endian\x88u."
    head = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3."
    torch = head + system + state + b"\x80\2]X\1\0\0\x000a."
    torch += struct.pack("<q6f", 6, *range(6))
    ensemble = {
        models.ensemble.INDEX: b'{"networks": ["0.safetensors"], "tta": 8}',
        "0.safetensors": Path(models.store.path_of("label-cells")).read_bytes(),
    }
    return [
        Sample("net.safetensors", "safetensors", _network(), models.load_network),
        Sample("state.pth", "binary", torch, torch_pth.load),
        _part("index.json", "text", ensemble, models.ensemble.INDEX, models.load),
    ]


def _network() -> bytes:
    """The smallest network, in a file."""
    model = models.ARCHITECTURES["light-unet"](widths=(2, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
    weights = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), shapes)
    network = models.Network(
        architecture="light-unet",
        options={"widths": (2, 3)},
        channels=("nucleus",),
        um_per_pixel=0.32,
        params=weights.pop("params"),
        model_state=weights,
        card="a card",
    )
    with tempfile.TemporaryDirectory() as folder:
        return network.save(Path(folder, "net.safetensors")).read_bytes()


def _archives() -> list[Sample]:
    with zipfile.ZipFile(out := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train/a_red.png", _image(_pixels(), "PNG"))
        file.writestr("train.csv", "ID,Label\na,0|16\n")
    return [Sample("a.zip", "zip", out.getvalue(), _unpacked)]


def _unpacked(path: Path) -> Any:
    try:
        return archive.unpack(path, path.parent / "unpacked")
    finally:
        shutil.rmtree(path.parent / "unpacked", ignore_errors=True)
