"""One field is seen alike whatever the bits of the camera, and pixel sizes are those that files state."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from hpax import atlas, images
from hpax.formats import fields, pictures
from hpax.formats.fields import FullScale

SCENE = np.random.default_rng(0).gamma(2, 0.1, (4, 40, 50)).clip(0, 0.999)
SCENE[:, 0, 0] = 1


def save(folder, planes, id="a", suffix=".tif", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for channel, plane in zip(atlas.CHANNELS, planes, strict=True):
        path = folder / f"{id}_{atlas.COLOURS[channel]}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, plane, **options)
        else:
            Image.fromarray(plane).save(path, **options)


def with_bits(bits, scene=SCENE, dtype=None):
    return np.rint(scene * (2**bits - 1)).astype(dtype or (np.uint8 if bits == 8 else np.uint16))


def seen(folder, bits=0):
    found = fields.find_fields(folder)
    scale = fields.full_scale(found, bits=bits)
    return [images.as_bytes(fields.read_field(files, full_scale=scale)) for files in found], scale


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_one_field_of_8_to_16_bits_gives_one_answer(tmp_path, suffix):
    expected = np.moveaxis(with_bits(8), 0, -1).astype(int)
    for bits in (8, 10, 12, 14, 16):
        save(tmp_path / str(bits), with_bits(bits), suffix=suffix)
        (image,), scale = seen(tmp_path / str(bits))
        assert np.abs(image - expected).max() <= 1
        assert scale.integers == (2**bits - 1 if bits > 8 else 2**16 - 1)
    save(tmp_path / "8 of 16", with_bits(8, dtype=np.uint16), suffix=suffix)
    (image,), _ = seen(tmp_path / "8 of 16")
    np.testing.assert_array_equal(image, expected)


def test_floats_are_of_0_to_1_or_count_as_a_camera_does(tmp_path):
    expected = np.moveaxis(with_bits(8), 0, -1).astype(int)
    for name, planes in {"unit": SCENE, "counts": with_bits(12), "parts": SCENE * 4095}.items():
        save(tmp_path / name, planes.astype(np.float32))
        (image,), _ = seen(tmp_path / name)
        assert np.abs(image - expected).max() <= 1


def test_floats_of_0_to_1_among_others_need_a_word(tmp_path):
    save(tmp_path, SCENE.astype(np.float32), "unit")
    save(tmp_path, with_bits(8).astype(np.float32), "counts")
    with pytest.raises(ValueError, match=r"floats reach 255, but those of .*unit_green.tif at most 1; scale all"):
        fields.full_scale(fields.find_fields(tmp_path))
    save(tmp_path, np.eye(40, dtype=np.float32)[None].repeat(4, 0), "unit")  # whole numbers may be counts
    assert fields.full_scale(fields.find_fields(tmp_path)).floats == 255


def test_the_range_is_that_of_the_whole_set(tmp_path):
    save(tmp_path, with_bits(12), "bright")
    save(tmp_path, with_bits(12, SCENE / 5), "dim")
    (bright, dim), scale = seen(tmp_path)
    assert scale.integers == 4095
    assert bright.max() == 255
    assert abs(int(dim.max()) - 51) <= 1
    assert "12 bits, the fewest that hold the brightest" in scale.remark


def test_hot_pixels_do_not_darken_a_set(tmp_path):
    save(tmp_path, with_bits(12), "clean")
    hot = with_bits(12)
    hot[:, 3, 5] = 65535
    save(tmp_path, hot, "hot")
    (clean, other), scale = seen(tmp_path)
    assert scale.integers == 4095
    assert "4 hot pixels of up to 65535 are cut off" in scale.remark
    assert (clean != other).sum() <= 4


def test_fields_of_several_cameras_need_a_word(tmp_path):
    save(tmp_path, with_bits(10), "ten")
    save(tmp_path, with_bits(16), "sixteen")
    with pytest.raises(ValueError, match=r"1 of 2 fields .* such as ten with 1023; state the camera's bits"):
        seen(tmp_path)
    (_, ten), scale = seen(tmp_path, bits=16)
    assert scale == FullScale.of_bits(16)
    assert ten.max() == 4


def test_a_stated_range_that_is_too_small_is_refused(tmp_path):
    save(tmp_path, with_bits(12))
    with pytest.raises(ValueError, match=r"a_green.tif lies beyond its full scale of 255 .* state more bits"):
        seen(tmp_path, bits=8)
    with pytest.raises(ValueError, match="bits must be 1 to 16, got 32"):
        seen(tmp_path, bits=32)


def test_pictures_of_8_bits_are_not_decoded(tmp_path, monkeypatch):
    save(tmp_path, with_bits(8), suffix=".png")
    monkeypatch.setattr(fields, "read", lambda path: pytest.fail(f"read {path}"))
    assert fields.full_scale(fields.find_fields(tmp_path)) == FullScale()


def test_a_damaged_field_does_not_hide_the_range_of_the_others(tmp_path):
    save(tmp_path, with_bits(12), "good")
    save(tmp_path, with_bits(16), "bad")
    (tmp_path / "bad_red.tif").write_bytes(b"II*\0")
    scale = fields.full_scale(fields.find_fields(tmp_path))
    assert scale.integers == 4095
    assert scale.remark.endswith("; 1 fields that cannot be read do not count")
    assert fields.depth(fields.find_fields(tmp_path)) == 16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_cannot_be_read_does_not_decide_how_many_bits_are_kept(tmp_path, caplog, dtype):
    save(tmp_path, with_bits(8).astype(dtype), "good")
    save(tmp_path, with_bits(8), "also")
    assert fields.depth(fields.find_fields(tmp_path)) == 8 * np.dtype(dtype).itemsize
    (tmp_path / "also_red.tif").write_bytes(b"II*\0")
    assert fields.depth(fields.find_fields(tmp_path)) == 8 * np.dtype(dtype).itemsize
    assert ("also_red.tif; 8 are taken" in caplog.text) == (dtype == np.uint8)


RESOLUTIONS = {
    "imagej": {"imagej": True, "resolution": (1 / 0.32, 1 / 0.32), "metadata": {"unit": "um"}},
    "cm": {"resolution": (1e4 / 0.32, 1e4 / 0.32), "resolutionunit": "CENTIMETER"},
    "inch": {"resolution": (25400 / 0.32, 25400 / 0.32), "resolutionunit": "INCH"},
}
for _unit, _size in {"µm": 0.32, "μm": 0.32, "nm": 320.0, "mm": 0.00032}.items():
    _sizes = {f"PhysicalSize{axis}": _size for axis in "XY"} | {f"PhysicalSize{axis}Unit": _unit for axis in "XY"}
    RESOLUTIONS[f"ome {_unit}"] = {"ome": True, "metadata": {"axes": "YX", **_sizes}}


@pytest.mark.parametrize("kind", RESOLUTIONS)
def test_a_stated_pixel_size_is_used_and_contradicted_aloud(tmp_path, kind):
    save(tmp_path, with_bits(8), **RESOLUTIONS[kind])
    (files,) = fields.find_fields(tmp_path)
    assert fields.stated_um_per_pixel(files) == pytest.approx(0.32)
    size = fields.pixel_size(files, (40, 50))
    assert (size.um_per_pixel, size.source) == (pytest.approx(0.32), "file")
    other = fields.pixel_size(files, (40, 50), 0.16)
    assert (other.um_per_pixel, other.source) == (0.16, "option")
    assert "state 0.32 µm per pixel, but 0.16 was asked for" in other.remark
    assert fields.pixel_size(files, (40, 50), 0.321).remark == ""


@pytest.mark.parametrize("options", [{}, {"resolution": (72, 72)}, {"imagej": True}])
def test_without_a_statement_the_longer_side_is_the_last_resort(tmp_path, options):
    save(tmp_path, with_bits(8), **options)
    (files,) = fields.find_fields(tmp_path)
    assert fields.stated_um_per_pixel(files) is None
    sizes = [fields.pixel_size(files, shape) for shape in ((40, 2048), (2048, 40))]
    assert sizes[0] == sizes[1]
    assert (sizes[0].um_per_pixel, sizes[0].source) == (0.08, "width")
    assert "no pixel size is stated; 0.08 µm is guessed from 2048 pixels" in sizes[0].remark


PIXELS = '<Image ID="Image:0"><Pixels ID="Pixels:0" {}><Channel ID="Channel:0:0"/></Pixels></Image>'
STATED = {
    "comment": '<!-- PhysicalSizeX="0.5" PhysicalSizeY="0.5" -->' + PIXELS.format('PhysicalSizeX="0.32"'),
    "quotes": PIXELS.format("PhysicalSizeX = '0.32' PhysicalSizeY = '0.32'"),
    "x only": PIXELS.format('PhysicalSizeX="0.32"'),
    "another image": PIXELS.format('PhysicalSizeX="0.32"') + PIXELS.format('PhysicalSizeX="0.5" PhysicalSizeY="0.5"'),
    "prefix": PIXELS.format('PhysicalSizeX="320" PhysicalSizeXUnit="nm"').replace("Pixels ", "ome:Pixels "),
    "none": PIXELS.format("") + PIXELS.format('PhysicalSizeX="0.5"') + '<Old PhysicalSizeX="0.5" PhysicalSizeY="0.5"/>',
}


@pytest.mark.parametrize("kind", STATED)
def test_ome_xml_states_the_size_of_its_first_image(tmp_path, kind):
    xml = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{STATED[kind]}</OME>'
    tifffile.imwrite(tmp_path / "a.tif", with_bits(8)[0], description=xml, metadata=None)
    expected = None if kind == "none" else pytest.approx(0.32)
    assert pictures.stated_um_per_pixel(tmp_path / "a.tif") == expected


def test_a_side_that_is_another_s_thousandfold_is_no_square_pixel(tmp_path):
    sizes = {"PhysicalSizeX": 0.08, "PhysicalSizeY": 80.0}
    tifffile.imwrite(tmp_path / "a.tif", with_bits(8)[0], ome=True, metadata={"axes": "YX", **sizes})
    with pytest.raises(ValueError, match=r"a.tif states pixels of 0.08 by 80 µm"):
        pictures.stated_um_per_pixel(tmp_path / "a.tif")


def test_comments_cost_no_more_than_their_length():
    assert pictures.without_comments("a<!-- b <!-- c -->d<!---->e<!-- f") == "ade"
    assert pictures.without_comments("<!--" * 2**18) == ""


def test_statements_that_disagree_are_errors(tmp_path):
    save(tmp_path, with_bits(8), **RESOLUTIONS["cm"])
    tifffile.imwrite(tmp_path / "a_red.tif", with_bits(8)[0], resolution=(1e4, 1e4), resolutionunit="CENTIMETER")
    (files,) = fields.find_fields(tmp_path)
    with pytest.raises(ValueError, match=r"field a state different µm per pixel \(.*a_red.tif 1"):
        fields.pixel_size(files, (40, 50))
    assert fields.pixel_size(files, (40, 50), 0.5).um_per_pixel == 0.5
    tifffile.imwrite(tmp_path / "a_red.tif", with_bits(8)[0], resolution=(1e4, 2e4), resolutionunit="CENTIMETER")
    with pytest.raises(ValueError, match=r"a_red.tif states pixels of 1 by 0.5 µm; they must be square"):
        fields.stated_um_per_pixel(files)
