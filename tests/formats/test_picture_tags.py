"""Tags mean the same in every format: orientation, min-is-white, and the planes of a picture in its stain's colour."""

import dataclasses

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from scipy import ndimage

from hpax import atlas, simulate
from hpax.formats import fields, pictures, strangers

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
WRITERS = ("jpg", "png", "tif", "bytes", "deep", "float")


def tagged(path, pixels, orientation, writer):
    exif = Image.Exif()
    exif[274] = orientation
    if writer in ("jpg", "png"):
        path = path.with_suffix(f".{writer}")
        Image.fromarray(pixels).save(path, exif=exif, **({"quality": 100} if writer == "jpg" else {}))
        return path
    path = path.with_suffix(".tif")
    if writer == "tif":
        Image.fromarray(pixels).save(path, compression="tiff_lzw", tiffinfo={274: orientation})
    else:
        deep = {"bytes": pixels, "deep": pixels.astype(np.uint16) * 257, "float": pixels.astype(np.float64) / 255}
        extra = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, deep[writer], extratags=extra, photometric="minisblack")
    return path


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed_alike_by_all_formats(tmp_path, writer, orientation):
    picture = Image.fromarray(GREY)
    picture.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    read = fields.read_channel(tagged(tmp_path / "a", GREY, orientation, writer))
    read = read // 257 if read.dtype == np.uint16 else read
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).max() <= (4 if writer == "jpg" else 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_black_is_0_even_where_a_file_has_it_as_white(tmp_path, dtype, compression):
    pixels = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.iinfo(dtype).max - pixels, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(fields.read_channel(path), pixels)


def test_min_is_white_of_floats_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"a.tif shows the lowest of its float32 values as white"):
        fields.read_channel(tmp_path / "a.tif")


def blobs(shape=(96, 128)):
    """Four channels alike: bright in one corner."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    blob = 200 * np.exp(-((y - 20) ** 2 + (x - 90) ** 2) / 500)
    noise = np.random.default_rng(0).integers(0, 20, (4, *shape))
    return (blob + noise).astype(np.uint8)


def save_field(folder, planes, tags, back=lambda plane: plane):
    """Each plane with its tag; those of another tag than 1 stored as `back` turns them."""
    for channel, plane, tag in zip(atlas.CHANNELS, planes, tags, strict=True):
        stored = back(plane) if tag != 1 else plane
        tagged(folder / f"a_{atlas.COLOURS[channel]}", np.ascontiguousarray(stored), tag, "png")
    (files,) = fields.find_fields(folder)
    return files


def test_a_channel_that_is_stored_turned_is_turned_back(tmp_path):
    planes = blobs()
    files = save_field(tmp_path, planes, (1, 3, 1, 1), back=lambda plane: plane[::-1, ::-1])
    image = fields.read_field(files)
    np.testing.assert_array_equal(image, np.moveaxis(planes, 0, -1))
    assert any("orientation tags differ" in remark for remark in fields.remarks(files, image))


@pytest.mark.parametrize("tag", [3, 6])
def test_a_wrong_tag_on_one_channel_is_not_obeyed(tmp_path, tag):
    planes = blobs()
    files = save_field(tmp_path, planes, (1, tag, 1, 1))
    np.testing.assert_array_equal(fields.read_field(files), np.moveaxis(planes, 0, -1))


def test_the_tag_of_all_channels_is_obeyed(tmp_path):
    files = save_field(tmp_path, blobs(), (6, 6, 6, 6))
    np.testing.assert_array_equal(fields.read_field(files)[..., 0], np.rot90(blobs()[0], -1))


def test_where_the_pixels_do_not_tell_a_tag_is_refused(tmp_path):
    flat = np.full((4, 32, 32), 9, np.uint8)
    with pytest.raises(ValueError, match=r"a_green.png 1, a_blue.png 3.* do not tell"):
        fields.read_field(save_field(tmp_path, flat, (1, 3, 1, 1)))


def test_a_channel_of_another_field_is_told(tmp_path):
    image = np.moveaxis(blobs(), 0, -1).copy()
    files = save_field(tmp_path, blobs(), (1, 1, 1, 1))
    assert fields.remarks(files, image) == []
    image[..., 2] = image[::-1, ::-1, 2]
    (told,) = fields.remarks(files, image)
    assert "microtubules agrees with the other channels hardly better than turned or mirrored" in told


STAINS = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 1], "yellow": [1, 1, 0]}


@pytest.mark.parametrize("colour", STAINS)
def test_a_picture_in_its_stain_s_colour_gives_that_plane(tmp_path, colour):
    signal, other = np.random.default_rng(0).gamma(1, 40, (2, 64, 64, 1)).clip(0, 255)
    own = np.array(STAINS[colour])
    path = tmp_path / f"a_{colour}.png"
    Image.fromarray((signal * own + 0.4 * other * (1 - own)).astype(np.uint8)).save(path)
    np.testing.assert_array_equal(fields.read_channel(path), signal[..., 0].astype(np.uint8))
    assert 0.3 < pictures.read(path).leak < 0.5
    Image.fromarray((signal * own + 0.8 * other * (1 - own)).astype(np.uint8)).save(path)
    with pytest.raises(ValueError, match="shows several colours"):
        fields.read_channel(path)


@pytest.mark.real
@pytest.mark.slow
def test_another_laboratory_s_colour_pictures_are_all_read(real_data):
    found = fields.find_fields(real_data / "cm4ai_fields")
    assert len(found) == 10
    told = [fields.remarks(files, fields.read_field(files)) for files in found]
    assert sum("the plane of its own colour was taken" in " ".join(remarks) for remarks in told) == 3


def test_a_picture_in_several_colours_gives_its_own_plane_where_that_is_asked_for(tmp_path):
    planes = np.random.default_rng(0).integers(0, 200, (32, 32, 3)).astype(np.uint8)
    for colour in atlas.COLOURS.values():
        Image.fromarray(planes).save(tmp_path / f"a_{colour}.png")
    (files,) = fields.find_fields(tmp_path)
    with pytest.raises(ValueError, match=r"several colours.*planes own"):
        fields.read_field(files)
    own = dataclasses.replace(files, planes="own")
    image = fields.read_field(own)
    np.testing.assert_array_equal(image[..., 0], planes[..., 1])
    np.testing.assert_array_equal(image[..., 3], planes[..., :2].max(-1))
    assert "the plane of its own colour was taken of a_green.png" in " ".join(fields.remarks(own, image))


@pytest.fixture(scope="module")
def dark_nuclei():
    """A field whose other stains are dark in the nuclei: no channel is correlated with the nuclei."""
    protein = list(simulate.proteome(proteins=20, seed=0, balanced=True))[11]
    lines = simulate.cell_lines("plain")
    return simulate.field(protein, lines[11 % len(lines)], 0, seed=0, size=512).image


def test_nuclei_in_stains_that_are_dark_there_are_no_strangers(dark_nuclei):
    flat = [np.corrcoef(dark_nuclei[::8, ::8, 1].ravel(), dark_nuclei[::8, ::8, i].ravel())[0, 1] for i in (0, 2, 3)]
    assert max(flat) < 0.05
    assert list(strangers.remarks(dark_nuclei)) == []


@pytest.mark.parametrize("turn", [np.rot90, np.flipud, np.fliplr, np.transpose])
def test_nuclei_that_are_turned_are_told(dark_nuclei, turn):
    image = dark_nuclei.copy()
    image[..., 1] = turn(image[..., 1])
    assert [told.split()[0] for told in strangers.remarks(image)] == ["nucleus"]


def test_what_channels_foretell_is_what_least_squares_does_also_of_two_that_are_alike(dark_nuclei):
    first, nuclei, second, _ = (strangers.coarse(channel) for channel in np.moveaxis(dark_nuclei, -1, 0))
    nearly = first + 1e-7 * second
    for others in ([first, second], [first, first], [first, nearly], [np.zeros_like(first)]):
        smooth = [ndimage.gaussian_filter(other, strangers.AROUND) for other in others]
        planes = [each.ravel() for each in others + smooth]
        seen = np.stack([np.ones(nuclei.size), *planes, *(each**2 for each in planes)])
        views = [np.rot90(nuclei, turns) for turns in range(4)]
        views = [view for turned in views for view in (turned, turned[:, ::-1])]
        left = [
            view.ravel() - seen.T @ np.linalg.lstsq(seen.T, view.ravel(), rcond=strangers.DISTINCT**0.5)[0]
            for view in views
        ]
        expected = [1 - np.mean(each**2) for each in left]
        np.testing.assert_allclose(strangers._explained(nuclei, others), expected, atol=1e-9)


def colours(plane):
    """The plane as the blue one of three."""
    return np.stack([np.zeros_like(plane), np.zeros_like(plane), plane], axis=-1)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_a_palette_stands_for_its_colours_in_every_tiff(tmp_path, options):
    palette = np.stack([np.zeros(256), np.zeros(256), np.arange(255, -1, -1) * 257]).astype(np.uint16)
    stored = np.pad(255 - GREY, ((0, 10), (0, 8)))
    tifffile.imwrite(tmp_path / "a_blue.tif", stored, photometric="palette", colormap=palette, **options)
    np.testing.assert_array_equal(fields.read_channel(tmp_path / "a_blue.tif"), 255 - stored)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", [1, 6])
def test_planes_one_after_another_are_the_same_colours(tmp_path, dtype, orientation):
    grey = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    planes = np.moveaxis(colours(grey), -1, 0)
    tags = {"photometric": "rgb", "planarconfig": "separate", "extratags": [(274, "H", 1, orientation, True)]}
    tifffile.imwrite(tmp_path / "a_blue.tif", planes, **tags)
    read = fields.read_channel(tmp_path / "a_blue.tif")
    np.testing.assert_array_equal(read, pictures.turned(grey, orientation))
    assert pictures.stored_bits(tmp_path / "a_blue.tif") == 8 * grey.itemsize


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_packed_colours_of_16_bits_are_refused_and_never_halved(tmp_path, planar):
    planes = colours(GREY.astype(np.uint16) * 257)
    planes = planes if planar == "contig" else np.moveaxis(planes, -1, 0)
    options = {"photometric": "rgb", "planarconfig": planar, "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a_blue.tif", planes, **options)
    with pytest.raises(ValueError, match=r"a_blue.tif has 16-bit colour"):
        fields.read_channel(tmp_path / "a_blue.tif")
    assert not pictures.is_8_bit(tmp_path / "a_blue.tif")


@pytest.mark.parametrize(("mode", "compression"), [("LAB", None), ("LAB", "tiff_lzw"), ("YCbCr", None), ("CMYK", None)])
def test_colours_that_are_no_light_are_refused(tmp_path, mode, compression):
    Image.fromarray(colours(GREY)).convert(mode).save(tmp_path / "a_blue.tif", compression=compression)
    with pytest.raises(ValueError, match=r"a_blue.tif .*save it as grey or RGB"):
        fields.read_channel(tmp_path / "a_blue.tif")


def test_two_planes_of_which_none_is_transparency_are_two_channels(tmp_path):
    two = {"photometric": "minisblack", "planarconfig": "contig"}
    pixels = np.stack([GREY, 255 - GREY], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **two, extrasamples=["unspecified"])
    with pytest.raises(ValueError, match=r"a.tif .* two planes, neither of which is transparency; save one channel"):
        fields.read_channel(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", pixels, **two, extrasamples=["unassalpha"])
    np.testing.assert_array_equal(fields.read_channel(tmp_path / "a.tif"), GREY)


def test_min_is_white_of_12_bits_does_not_become_a_white_picture(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", 4095 - GREY.astype(np.uint16) * 16, photometric="miniswhite")
    with pytest.raises(ValueError, match=r"a.tif shows the lowest value as white, and has none above 4095"):
        fields.read_channel(tmp_path / "a.tif")


@pytest.mark.parametrize(("plane", "misnamed"), [(2, False), (1, True), (0, True)])
def test_a_colour_that_is_not_the_name_s_is_told_of(tmp_path, plane, misnamed):
    pixels = np.roll(colours(GREY), plane - 2, axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a_blue.png")
    picture = pictures.read(tmp_path / "a_blue.png")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.misnamed == misnamed
    for name in ("red", "green", "yellow"):
        Image.fromarray(np.stack([GREY] * 3, -1)).save(tmp_path / f"a_{name}.png")
    (files,) = fields.find_fields(tmp_path)
    told = any(
        each.startswith("a_blue.png show another colour") for each in fields.remarks(files, fields.read_field(files))
    )
    assert told == misnamed
