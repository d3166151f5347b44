"""Masks as other programs write them in OME-TIFF and OME-Zarr: the indices come back, or the file is named."""

import json
import struct

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
import zarr.codecs

from hpax.formats import masks, ome, zarr_planes

CELLS = np.zeros((30, 41), np.uint16)
CELLS[2:14, 3:20] = 1
CELLS[16:28, 22:40] = 2
NUCLEI = np.zeros_like(CELLS)
NUCLEI[5:10, 6:12] = 1
NUCLEI[19:25, 25:32] = 2

XML = (
    '<?xml version="1.0" encoding="UTF-8"?>{head}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" SizeX="41" SizeY="30" SizeC="2" SizeZ="1" '
    'SizeT="1" Type="uint16" {size}><Channel ID="Channel:0:0" Name="{names[0]}" SamplesPerPixel="1"/>'
    '<Channel ID="Channel:0:1" Name="{names[1]}" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
)


def size(length, unit):
    told = "" if unit is None else f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    return f'PhysicalSizeX="{length}" PhysicalSizeY="{length}" {told}'


def tiff(path, stated="", head="", names=("cells", "nuclei"), dtype=np.uint16, **options):
    xml = XML.format(size=stated, head=head, names=names).encode()
    stack = np.stack([CELLS, NUCLEI]).astype(dtype)
    tifffile.imwrite(path, stack, description=xml, metadata=None, photometric="minisblack", **options)


def assert_read(folder):
    cells, nuclei = masks.read(folder, "a")
    np.testing.assert_array_equal(cells, CELLS)
    np.testing.assert_array_equal(nuclei, NUCLEI)


@pytest.mark.parametrize(
    ("length", "unit", "um"),
    [
        ("0.32", "µm", 0.32),
        ("0.32", "\u03bcm", 0.32),
        ("0.32", "&#181;m", 0.32),
        ("320", "nm", 0.32),
        ("3.2E-4", "mm", 0.32),
        ("0.32", None, 0.32),
        ("0.32", "micrometer", 0.32),
        ("1", "pixel", None),
    ],
)
def test_a_length_is_read_in_the_unit_that_is_stated(tmp_path, length, unit, um):
    tiff(tmp_path / "a.ome.tif", size(length, unit))
    assert ome.read_tiff(tmp_path / "a.ome.tif")[1] == (um if um is None else pytest.approx(um))
    assert_read(tmp_path)


def test_comments_missing_sizes_and_last_digits_stop_nobody(tmp_path):
    tiff(tmp_path / "a.ome.tif", head="<!-- from Bio-Formats: handle <with> care -->")
    assert ome.read_tiff(tmp_path / "a.ome.tif")[1] is None
    assert_read(tmp_path)
    tiff(tmp_path / "a.ome.tif", 'PhysicalSizeX="0.64" PhysicalSizeY="0.6400000001"')
    assert ome.read_tiff(tmp_path / "a.ome.tif")[1] == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("stated", "head", "told"),
    [
        ("", "<!DOCTYPE OME [<!ENTITY a 'b'>]>", "no DOCTYPE"),
        ("", "<!-- --><!DOCTYPE OME>", "no DOCTYPE"),
        ('PhysicalSizeX="0.1" PhysicalSizeY="0.2"', "", "must be square"),
        (size("-1", "µm"), "", "must be square and of a positive length"),
        (size("1", "parsec"), "", "must be square and of a positive length"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, stated, head, told):
    tiff(tmp_path / "a.ome.tif", stated, head)
    with pytest.raises(ValueError, match=rf"a\.ome\.tif.*{told}"):
        masks.read(tmp_path, "a")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_whole_numbers_of_any_type_are_indices(tmp_path, dtype):
    tiff(tmp_path / "a.ome.tif", dtype=dtype)
    assert_read(tmp_path)


def test_channels_are_known_in_any_case_and_number_and_the_longer_suffix(tmp_path):
    tiff(tmp_path / "a.ome.tiff", names=("Cell", "Nucleus"))
    assert_read(tmp_path)
    masks.remove(tmp_path, "a")
    tiff(tmp_path / "a.ome.tif", names=("C1", "C2"))
    with pytest.raises(ValueError, match="must have the channels cells, nuclei, it has C1, C2; name them so"):
        masks.read(tmp_path, "a")


def of_version_2(folder, compressor, separator="."):
    root = zarr.open_group(folder, mode="w", zarr_format=2)
    for name, plane in (("cells", CELLS), ("nuclei", NUCLEI)):
        group = root.require_group("labels").create_group(name)
        array = group.create_array(
            "s0",
            shape=(1, 1, *plane.shape),
            dtype="int32",
            chunks=(1, 1, 16, 16),
            compressors=compressor,
            chunk_key_encoding={"name": "v2", "separator": separator},
        )
        array[...] = plane[None, None]
        group.attrs["multiscales"] = [{"version": "0.4", "datasets": [{"path": "s0"}]}]


def of_version_3(folder, compressors, dtype=np.uint16, shards=None):
    root = zarr.open_group(folder, mode="w", zarr_format=3)
    for name, plane in (("cells", CELLS), ("nuclei", NUCLEI)):
        group = root.require_group("labels").create_group(name)
        array = group.create_array(
            "0", shape=plane.shape, dtype=dtype, chunks=(16, 16), compressors=compressors, shards=shards
        )
        array[...] = plane.astype(dtype)


@pytest.mark.parametrize(
    ("compressor", "separator"),
    [(None, "."), (numcodecs.Blosc(), "/"), (numcodecs.Zstd(), "/"), (numcodecs.Zlib(), "."), (numcodecs.GZip(), ".")],
)
def test_ome_zarr_0_4_is_read_as_its_writers_pack_it(tmp_path, compressor, separator):
    of_version_2(tmp_path / "a.ome.zarr", compressor, separator)
    assert_read(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("compressors", ["auto", None, zarr.codecs.GzipCodec(), zarr.codecs.BloscCodec()])
def test_ome_zarr_0_5_is_read_as_its_writers_pack_it(tmp_path, compressors, dtype):
    of_version_3(tmp_path / "a.ome.zarr", compressors, dtype)
    assert_read(tmp_path)


def test_shards_and_paths_that_lead_elsewhere_are_refused_by_name(tmp_path):
    of_version_3(tmp_path / "a.ome.zarr", "auto", shards=(32, 48))
    with pytest.raises(ValueError, match=r"a\.ome\.zarr/labels/cells.*without shards"):
        masks.read(tmp_path, "a")
    of_version_2(tmp_path / "b.ome.zarr", None)
    attributes = {"multiscales": [{"datasets": [{"path": "../../secret"}]}]}
    (tmp_path / "b.ome.zarr/labels/cells/.zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ValueError, match="leads elsewhere"):
        masks.read(tmp_path, "b")


@pytest.mark.parametrize("packer", [numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.GZip(), numcodecs.Zlib()])
def test_a_chunk_expands_to_no_more_than_it_should(tmp_path, packer):
    of_version_2(tmp_path / "a.ome.zarr", packer)
    chunk = tmp_path / "a.ome.zarr/labels/cells/s0/0.0.0.0"
    chunk.write_bytes(packer.encode(np.zeros(2**20, np.uint8)))
    with pytest.raises(ValueError, match=r"a\.ome\.zarr.*(expands to more than 1024 bytes|1025 or more)"):
        masks.read(tmp_path, "a")
    chunk.write_bytes(b"\x02\x01\x01\x01" + b"\xff" * 30)
    with pytest.raises(ValueError, match=r"a\.ome\.zarr"):
        masks.read(tmp_path, "a")


def test_the_length_of_a_zstd_stream_is_read_from_its_header():
    for length in (1, 255, 256, 65_791, 65_792, 300_000):
        packed = numcodecs.Zstd().encode(np.zeros(length, np.uint8))
        assert zarr_planes._size_of_zstd(packed) == length


@pytest.mark.parametrize("separator", ["/../../../x/", "", None])
@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_s_name_leads_nowhere_else(tmp_path, separator, version):
    folder = tmp_path / "a.ome.zarr"
    of_version_2(folder, None) if version == 2 else of_version_3(folder, "auto")
    path = folder / "labels/cells" / ("s0/.zarray" if version == 2 else "0/zarr.json")
    told = json.loads(path.read_text())
    if version == 2:
        told["dimension_separator"] = separator
    else:
        told["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": separator}}
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"must have \. or / between the numbers of a chunk"):
        masks.read(tmp_path, "a")


@pytest.mark.parametrize("data", [b"", b"\x28\xb5\x2f\xfd", bytes(40), b"\x00" * 4 + b"\x20\x05" + bytes(30)])
def test_what_is_no_zstd_stream_is_told(data):
    with pytest.raises(ValueError, match="it is no zstd stream"):
        zarr_planes._size_of_zstd(data)


BLOSC_LIES = {
    "longer than it is": (12, 2**20, "it says that it has 1048576 bytes"),
    "of more pixels": (4, 2**20, "it expands to more than 1440 bytes"),
    "of fewer pixels": (4, 2, "it must expand to 1440 bytes, it expands to 2"),
    "of no block": (8, 0, "in blocks of 0"),
    "blocks elsewhere": (16, 2**30, "its blocks begin outside of it"),
}


@pytest.mark.parametrize("lie", BLOSC_LIES)
def test_a_blosc_chunk_that_lies_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, lie):
    place, value, told = BLOSC_LIES[lie]
    zarr.create_array(
        tmp_path / "labels/cells/0",
        data=np.arange(720, dtype=np.uint16).reshape(24, 30) % 9,
        zarr_format=2,
        compressors=numcodecs.Blosc(),
        chunks=(24, 30),
    )
    chunk = tmp_path / "labels/cells/0/0.0"
    content = bytearray(chunk.read_bytes())
    struct.pack_into("<I", content, place, value)
    assert ome.read_zarr(tmp_path, "cells").shape == (24, 30)
    chunk.write_bytes(bytes(content))
    monkeypatch.setattr(numcodecs.Blosc, "decode", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ValueError, match=told) as error:
        ome.read_zarr(tmp_path, "cells")
    assert str(tmp_path) in str(error.value)


def described(folder, told):
    """Writes what the labels' metadata say of them."""
    for name in ("cells", "nuclei"):
        zarr.open_group(folder / "labels" / name, mode="r+").attrs["multiscales"] = [{"version": "0.4", **told}]


def test_the_largest_of_several_resolutions_is_taken_wherever_it_stands(tmp_path):
    of_version_2(tmp_path / "a.ome.zarr", None)
    for name, plane in (("cells", CELLS), ("nuclei", NUCLEI)):
        group = zarr.open_group(tmp_path / "a.ome.zarr" / "labels" / name, mode="r+")
        group.create_array("s1", data=plane[::2, ::2])
    described(tmp_path / "a.ome.zarr", {"datasets": [{"path": "s1"}, {"path": "s0"}]})
    assert_read(tmp_path)


@pytest.mark.parametrize("axes", [["x", "y"], [{"name": "x"}, {"name": "y"}], [{"name": "y"}, {"name": "c"}]])
def test_axes_in_another_order_are_refused_and_not_mirrored(tmp_path, axes):
    of_version_2(tmp_path / "a.ome.zarr", None)
    described(tmp_path / "a.ome.zarr", {"axes": axes, "datasets": [{"path": "s0"}]})
    with pytest.raises(
        ValueError, match=r"a\.ome\.zarr/labels/cells has the axes .*; write it so that y and x come last"
    ):
        masks.read(tmp_path, "a")
