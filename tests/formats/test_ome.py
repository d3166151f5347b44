"""Masks on disk: what goes in comes out of every flavour, other programs' validators agree, and bombs do not expand."""

import json
import resource
import struct
import zlib

import numpy as np
import ome_zarr_models.v05 as ngff
import pytest
import tifffile
import zarr

from hpax import atlas
from hpax.formats import label_images, masks, ome

FLAVOURS = ["png", "ome-tiff", "ome-zarr"]
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (30, 40, 4), np.uint8)


def some_masks(highest, shape=(30, 40)):
    cells = RNG.integers(0, highest + 1, shape).astype(np.uint32)
    cells[0, 0] = highest
    return cells, np.where(RNG.random(shape) < 0.3, cells, 0).astype(np.uint32)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("highest", [0, 5, 300, 65_535, 65_536])
def test_masks_come_back_with_every_index(tmp_path, flavour, highest):
    cells, nuclei = some_masks(highest, (250, 300))
    image = np.zeros((250, 300, 4), np.uint8)
    assert masks.flavours(tmp_path, "a") == []
    masks.write(tmp_path, "a", cells, nuclei, image=image, um_per_pixel=0.08, flavour=flavour)
    assert masks.flavours(tmp_path, "a") == [flavour]
    for back, original in zip(masks.read(tmp_path, "a"), (cells, nuclei), strict=True):
        np.testing.assert_array_equal(back, original)
        assert back.dtype.itemsize == (2 if original.max() < 2**16 else 4) or flavour != "png"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_masks_that_outgrow_png_replace_it_and_back(tmp_path):
    image = np.zeros((250, 300, 4), np.uint8)
    for highest, suffix in ((9, ".png"), (2**16, ".tif"), (9, ".png")):
        pair = some_masks(highest, (250, 300))
        masks.write(tmp_path, "a", *pair, image=image, um_per_pixel=0.08)
        assert (tmp_path / f"a_cells{suffix}").exists()
        assert len(list(tmp_path.iterdir())) == 2
        np.testing.assert_array_equal(masks.read(tmp_path, "a"), pair)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_index_makes_tables_larger_than_the_image(tmp_path, flavour):
    masks.write(tmp_path, "a", *some_masks(2**32 - 1), image=IMAGE, um_per_pixel=0.08, flavour=flavour)
    with pytest.raises(ValueError, match="field a have 1200 pixels, and so no cell 4294967295"):
        masks.read(tmp_path, "a")
    masks.remove(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_an_image_larger_than_a_chunk(tmp_path):
    cells, nuclei = some_masks(70, (ome.CHUNK + 3, ome.CHUNK - 5))
    image = np.zeros((*cells.shape, 4), np.uint16)
    image[..., 1] = cells
    ome.write_zarr(tmp_path / "a.ome.zarr", image, {"cells": cells, "nuclei": nuclei}, 0.08)
    np.testing.assert_array_equal(ome.read_zarr(tmp_path / "a.ome.zarr", "cells"), cells)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.ome.zarr" / "labels" / "nuclei" / "0"), nuclei)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.ome.zarr" / "0")[1], cells)


def test_ome_zarr_is_valid_to_others_and_says_what_it_shows(tmp_path):
    cells, nuclei = some_masks(5)
    masks.write(tmp_path, "a", cells, nuclei, image=IMAGE, um_per_pixel=0.16, flavour="ome-zarr")
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    field = ngff.Image.from_zarr(group)
    assert [channel["label"] for channel in field.attributes.ome.omero["channels"]] == list(atlas.CHANNELS)
    (picture,) = field.attributes.ome.multiscales
    assert [(axis.name, axis.unit) for axis in picture.axes] == [
        ("c", None),
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]
    assert picture.datasets[0].coordinateTransformations[0].scale == [1, 0.16, 0.16]
    assert ngff.Labels.from_zarr(group["labels"]).label_paths == ["cells", "nuclei"]
    label = ngff.ImageLabel.from_zarr(group["labels/cells"])
    assert label.attributes.ome.image_label.source.image == "../../"


def test_ome_tiff_says_to_others_what_it_shows(tmp_path):
    cells, nuclei = some_masks(5)
    ome.write_tiff(tmp_path / "a.ome.tif", {"cells": cells, "nuclei": nuclei}, 0.08)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.series[0].axes == "CYX"
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        np.testing.assert_array_equal(file.asarray(), [cells, nuclei])
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.08, "µm")
    assert [channel["Name"] for channel in pixels["Channel"]] == ["cells", "nuclei"]
    assert ome.read_tiff(tmp_path / "a.ome.tif")[1] == 0.08


def tiff(path, xml=None, pages=2, **changed):
    """An OME-TIFF whose description says what `xml` makes of the right one."""
    ome.write_tiff(path, {name: np.ones((9, 9), np.uint16) for name in ("cells", "nuclei")}, 0.08)
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    text = text if xml is None else xml(text)
    options = {"compression": "zlib", "description": text.encode(), "metadata": None, **changed}
    tifffile.imwrite(path, np.ones((pages, 9, 9), options.pop("dtype", np.uint16)), photometric="minisblack", **options)


HOSTILE_TIFFS = {
    "entities": ({"xml": lambda text: f"<!DOCTYPE a [<!ENTITY b 'c'>]>{text}"}, "no DOCTYPE"),
    "long": ({"xml": lambda text: text.replace("</OME>", " " * ome.METADATA + "</OME>")}, "characters"),
    "no XML": ({"xml": lambda text: text.replace("</Image>", "")}, "mismatched"),
    "two images": ({"xml": lambda text: text.replace("</Image>", "</Image><Image><Pixels/></Image>")}, "one image"),
    "no names": ({"xml": lambda text: text.replace('Name="cells"', "")}, "need a name each"),
    "one name": ({"xml": lambda text: text.replace('Name="cells"', 'Name="nuclei"')}, "need a name each"),
    "no length": ({"xml": lambda text: text.replace("µm", "%")}, "of a positive length"),
    "pages": ({"pages": 3}, "has 3 pages"),
    "complex": ({"dtype": np.complex64}, "export whole numbers"),
}


@pytest.mark.parametrize("kind", HOSTILE_TIFFS)
def test_a_hostile_tiff_is_named_and_refused(tmp_path, kind):
    options, told = HOSTILE_TIFFS[kind]
    tiff(tmp_path / "a.ome.tif", **options)
    with pytest.raises(ValueError, match=told) as error:
        masks.read(tmp_path, "a")
    assert "a.ome.tif" in str(error.value)


def test_a_tiff_compressed_in_ways_without_bound_is_refused(tmp_path):
    path = tmp_path / "a_cells.tif"
    tifffile.imwrite(path, np.ones((9, 9), np.uint16))
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].tags["Compression"].valueoffset
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, offset, 34925)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a_cells\.tif is compressed by LZMA"):
        label_images.read(path)


def test_a_tiff_that_expands_further_than_it_says_is_stopped(tmp_path):
    path = tmp_path / "a_cells.tif"
    bomb = zlib.compress(bytes(2**28), 9)
    tifffile.imwrite(path, np.ones((600, 600), np.uint16), compression="zlib", rowsperstrip=600)
    with tifffile.TiffFile(path) as file:
        offset, count = (file.pages[0].tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, offset, len(content))
    struct.pack_into("<I", content, count, len(bomb))
    path.write_bytes(bytes(content) + bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"a_cells\.tif expands to more than"):
        label_images.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kB; the bomb has 2**18


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def chunk_shape(*sides):
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": sides}}}


HOSTILE_ZARRS = {
    "huge": (lambda array: change(array / "zarr.json", shape=[2**20, 2**20]), "at most"),
    "many chunks": (
        lambda a: change(a / "zarr.json", **chunk_shape(1, 1), shape=[100, 100]),
        "chunks",
    ),
    "huge chunks": (
        lambda a: change(a / "zarr.json", **chunk_shape(2**30, 2**30)),
        "at most",
    ),
    "complex": (lambda array: change(array / "zarr.json", data_type="complex64"), "whole numbers"),
    "no JSON": (lambda array: (array / "zarr.json").write_text("{"), "cannot be read"),
    "a list": (lambda array: (array / "zarr.json").write_text("[1]"), "cannot be read"),
    "long": (lambda array: (array / "zarr.json").write_text(" " * (ome.METADATA + 1)), "bytes"),
    "bomb": (lambda array: (array / "c/0/0").write_bytes(gzip_bomb()), "must hold 2400 bytes"),
    "cut": (lambda array: (array / "c/0/0").write_bytes((array / "c/0/0").read_bytes()[:50]), "must hold 2400 bytes"),
    "other codec": (
        lambda a: change(a / "zarr.json", codecs=[{"name": "bytes", "configuration": {}}, {"name": "blosc"}]),
        "cannot be read",
    ),
}


def gzip_bomb():
    press = zlib.compressobj(9, wbits=31)
    return press.compress(bytes(2**26)) + press.flush()


@pytest.mark.parametrize("kind", HOSTILE_ZARRS)
def test_a_hostile_zarr_is_named_and_refused(tmp_path, kind):
    hurt, told = HOSTILE_ZARRS[kind]
    masks.write(tmp_path, "a", *some_masks(1200), image=IMAGE, um_per_pixel=0.08, flavour="ome-zarr")
    hurt(tmp_path / "a.ome.zarr" / "labels" / "cells" / "0")
    with pytest.raises(ValueError, match=told) as error:
        masks.read(tmp_path, "a")
    assert "a.ome.zarr" in str(error.value)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no masks of field a; expected a_cells\.png"):
        masks.read(tmp_path, "a")
    label_images.write(tmp_path / "a_cells.png", np.zeros((4, 5), np.uint16))
    assert masks.flavours(tmp_path, "a") == []
    label_images.write(tmp_path / "a_nuclei.png", np.zeros((5, 4), np.uint16))
    with pytest.raises(ValueError, match="one shape"):
        masks.read(tmp_path, "a")
