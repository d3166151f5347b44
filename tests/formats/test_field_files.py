import collections
import os
import struct
import unicodedata
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from hpax import atlas
from hpax.formats import fields, ranges

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack")
    else:
        Image.fromarray(pixels).save(path)
    return path


def save_field(folder, id="one", extension="png", **changed):
    for level, channel in enumerate(atlas.CHANNELS):
        colour = atlas.COLOURS[channel]
        pixels = changed.get(colour, np.full((6, 8), 10 * (level + 1), np.uint8))
        if pixels is not None:
            save(folder / f"{id}_{colour}.{extension}", pixels)


def read_only_field(folder, **options):
    (files,) = fields.find_fields(folder)
    return fields.read_field(files, **options)


@pytest.mark.parametrize("extension", ["png", "tif", "jpg", "PNG"])
def test_channels_come_in_the_order_of_the_atlas(tmp_path, extension):
    save_field(tmp_path, extension=extension)
    image = read_only_field(tmp_path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8([10, 20, 30, 40]), (6, 8, 4)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_folder_without_er_is_taken_with_black_in_its_place_and_that_is_told(tmp_path, caplog, dtype):
    for id in ("one", "two"):
        stains = {colour: np.full((6, 8), level, dtype) for level, colour in enumerate(("green", "blue", "red"), 7)}
        save_field(tmp_path, id=id, extension="tif", **stains, yellow=None)
    first, second = fields.find_fields(tmp_path)
    fields.find_fields(tmp_path)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: no field has ER (yellow), so black stands for it: "
        "labels hardly need it, the outlines of cells do a little"
    ]
    assert [path.name for path in first.paths] == ["one_green.tif", "one_blue.tif", "one_red.tif"]
    image = fields.read_field(first)
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, np.broadcast_to(np.array([7, 8, 9, 0], dtype), (6, 8, 4)))
    assert any("er is flat, every pixel is 0" in remark for remark in fields.remarks(second, image))
    save(tmp_path / "two_yellow.tif", np.full((6, 8), 3, dtype))  # now the other one lacks what it needs
    survey = fields.survey(tmp_path)
    assert [files.id for files in survey.fields] == ["two"]
    assert "field one" in str(survey.faults["one"])
    assert "lacks its er (yellow) channel" in str(survey.faults["one"])


@pytest.mark.parametrize("colour", ["green", "blue", "red"])
def test_what_cannot_be_done_without_is_missed_in_a_folder_without_er(tmp_path, colour):
    save_field(tmp_path, yellow=None, **{colour: None})
    with pytest.raises(FileNotFoundError, match=rf"field one .* lacks its .*\({colour}\), er \(yellow\) channel"):
        fields.find_fields(tmp_path)


@pytest.mark.parametrize("planes", [[0, 1, 2], [0], [1], [2], [0, 1]])
def test_a_picture_in_grey_or_in_its_own_colour_gives_its_signal(tmp_path, planes):
    coloured = np.zeros((6, 8, 3), np.uint8)
    coloured[..., planes] = GREY[..., None]
    np.testing.assert_array_equal(fields.read_channel(save(tmp_path / "a.png", coloured)), GREY)


def test_a_picture_of_several_channels_is_no_channel(tmp_path):
    both = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"a_red.png shows several colours"):
        fields.read_channel(save(tmp_path / "a_red.png", both))
    both[...] = both.max(-1, keepdims=True)
    shade = (both * [0.2, 0.5, 1]).astype(np.uint8)
    np.testing.assert_array_equal(fields.read_channel(save(tmp_path / "a_red.png", shade)), both[..., 0])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bits_survive(tmp_path, extension):
    deep = GREY.astype(np.uint16) * 200 + 7
    read = fields.read_channel(save(tmp_path / f"a.{extension}", deep))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, deep)


def test_one_channel_of_16_bits_lifts_the_others_to_the_same_range(tmp_path):
    save_field(tmp_path, red=np.full((6, 8), 65535, np.uint16))
    assert read_only_field(tmp_path)[0, 0].tolist() == [10 * 257, 20 * 257, 65535, 40 * 257]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_span_16_bits(tmp_path, dtype):
    read = fields.read_channel(save(tmp_path / "a.tif", np.array([[0, 0.25, 1]], dtype)))
    assert read.dtype == np.uint16
    assert read.tolist() == [[0, 16384, 65535]]


def test_transparency_and_palettes_are_understood(tmp_path):
    Image.fromarray(GREY).convert("LA").save(tmp_path / "grey.png")
    Image.fromarray(GREY).convert("RGBA").save(tmp_path / "rgb.png")
    Image.fromarray(GREY).convert("P").save(tmp_path / "palette.png")
    for name in ("grey", "rgb", "palette"):
        np.testing.assert_array_equal(fields.read_channel(tmp_path / f"{name}.png"), GREY)


def test_fields_are_found_below_in_order_and_the_rest_is_passed_over(tmp_path):
    save_field(tmp_path / "kaggle", "b")
    save_field(tmp_path / "proteinatlas", "a_1_2", extension="jpg")
    save(tmp_path / "proteinatlas" / "a_1_2_blue_red_green.jpg", GREY)
    save(tmp_path / "masks" / "b.png", GREY)
    assert [files.id for files in fields.find_fields(tmp_path)] == ["a_1_2", "b"]


def truncated(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def deep_colour(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def cut_short(path):
    truncated(save(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))


HOSTILE = {
    "truncated": (cut_short, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "no image": (lambda path: path.write_bytes(b"<html>404</html>"), "not an image"),
    "16-bit colour": (deep_colour, "16-bit colour"),
    "print planes": (lambda path: Image.new("CMYK", (4, 4)).save(path, format="TIFF"), "CMYK"),
    "too large": (lambda path: save(path, np.zeros((70, 70), np.uint8)), "more than the bound of 4096"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_picture_is_named_and_refused(tmp_path, kind):
    make, told = HOSTILE[kind]
    make(tmp_path / "a_red.png")
    with pytest.raises(ValueError, match=told) as error:
        fields.read_channel(tmp_path / "a_red.png", max_pixels=64**2)
    assert "a_red.png" in str(error.value)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.array([[0.5, np.nan], [np.inf, 0]], np.float32), "2 NaN or infinite"),
        (np.array([[0.5, np.nan]], np.float64), "1 NaN or infinite"),
        (np.array([[0.0, 200.0]], np.float32), r"floats in \[0, 200\]"),
        (np.array([[-1, 3]], np.int16), "int16|int32"),
        (np.zeros((3, 4, 5), np.uint8), "3 pages"),
        (np.zeros((2, 64, 64), np.float64), "2 pages"),
        (np.zeros((65, 64), np.float64), "more than the bound"),
    ],
)
def test_a_tiff_that_is_no_channel_is_refused(tmp_path, pixels, told):
    with pytest.raises(ValueError, match=told):
        fields.read_channel(save(tmp_path / "a.tif", pixels), max_pixels=64**2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_truncated_tiff_is_refused(tmp_path, dtype):
    path = save(tmp_path / "a.tif", np.zeros((64, 64), dtype))
    truncated(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="cannot be read"):
            fields.read_channel(path)


def test_a_bomb_is_refused_before_it_expands(tmp_path):
    huge = Image.new("L", (20000, 20000))  # 400 megapixels in 400 kB
    huge.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"20000x20000|exceeds limit"):
        fields.read_channel(tmp_path / "a.png")


def test_channels_must_agree_in_size(tmp_path):
    save_field(tmp_path, yellow=np.zeros((6, 9), np.uint8))
    with pytest.raises(ValueError, match=r"one_green.png 8x6.*one_yellow.png 9x6"):
        read_only_field(tmp_path)


def test_a_missing_channel_is_named(tmp_path):
    save_field(tmp_path, blue=None)
    with pytest.raises(FileNotFoundError, match=r"field one .* nucleus \(blue\)"):
        fields.find_fields(tmp_path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None, lambda path: path.write_text("x")])
def test_a_folder_without_fields_is_refused(tmp_path, make):
    make(tmp_path / "fields")
    with pytest.raises(FileNotFoundError, match="fields"):
        fields.find_fields(tmp_path / "fields")


def test_two_files_for_one_channel_are_refused(tmp_path):
    save_field(tmp_path / "a")
    save_field(tmp_path / "b")
    with pytest.raises(ValueError, match="same channel"):
        fields.find_fields(tmp_path)


def test_a_survey_goes_on_where_find_fields_stops(tmp_path):
    for id in ("good", "half", "twice"):
        save_field(tmp_path / "a", id, blue=None if id == "half" else np.zeros((6, 8), np.uint8))
    save_field(tmp_path / "b", "twice")
    found = fields.survey(tmp_path)
    assert [files.id for files in found.fields] == ["good"]
    assert {id: type(fault) for id, fault in found.faults.items()} == {"half": FileNotFoundError, "twice": ValueError}
    with pytest.raises(FileNotFoundError, match="field half"):
        fields.find_fields(tmp_path)


def test_hidden_and_stray_files_are_nobody_s(tmp_path):
    save_field(tmp_path, "one")
    for colour in atlas.COLOURS.values():
        (tmp_path / f"._one_{colour}.png").write_bytes(bytes(100))
    for stray in (".ipynb_checkpoints", "__MACOSX", "Thumbnails", "inner/.hidden"):
        save_field(tmp_path / stray, "one")
    save(tmp_path / "inner" / "red_red.png" / "note.txt.tif", GREY)
    assert [files.id for files in fields.find_fields(tmp_path)] == ["one"]


def test_ids_that_end_in_a_colour_survive_and_composites_do_not(tmp_path):
    for id in ("siRNA_red", "x"):
        save_field(tmp_path, id)
    for composite in ("x_blue_red_green", "x_red_green", "x_blue_red", "x_blue_green", "y_blue_red"):
        save(tmp_path / f"{composite}.png", GREY)
    found = fields.survey(tmp_path)
    assert [files.id for files in found.fields] == ["siRNA_red", "x"]
    assert not found.faults
    save_field(tmp_path, "ctrl_green", blue=None)
    assert "ctrl_green" in fields.survey(tmp_path).faults


def test_names_of_ome_tiffs_links_and_other_layouts(tmp_path):
    save_field(tmp_path / "ome", "x", extension="ome.tif")
    assert [files.id for files in fields.find_fields(tmp_path / "ome")] == ["x"]
    assert read_only_field(tmp_path / "ome").shape == (6, 8, 4)
    (tmp_path / "ome" / "x_red.ome.tif").unlink()
    (tmp_path / "ome" / "x_red.ome.tif").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"x_red.ome.tif is a link to a file that is not there"):
        read_only_field(tmp_path / "ome")
    save(tmp_path / "stack" / "x.tif", GREY)
    with pytest.raises(FileNotFoundError, match=r"a channel each, not like x.tif"):
        fields.find_fields(tmp_path / "stack")


def test_names_that_are_spelt_alike_are_one_field(tmp_path):
    one, other = (unicodedata.normalize(form, "Zölle") for form in ("NFC", "NFD"))
    save_field(tmp_path, other)
    assert [files.id for files in fields.find_fields(tmp_path)] == [one]
    save_field(tmp_path, one)
    assert list(fields.survey(tmp_path).faults) == [one]


def test_a_name_that_is_no_text_is_told_beside_the_others(tmp_path):
    for id in ("x", "ok"):
        save_field(tmp_path, id)
    for colour in atlas.COLOURS.values():
        source, target = (
            tmp_path / f"x_{colour}.png",
            os.fsencode(tmp_path) + b"/Zell\xe4_" + colour.encode() + b".png",
        )
        os.rename(source, target)
    found = fields.survey(tmp_path)
    assert [files.id for files in found.fields] == ["ok"]
    (fault,) = found.faults.values()
    assert "is not UTF-8; rename" in str(fault)


def test_remarks_say_what_to_know_before_the_numbers_are_believed(tmp_path):
    levels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    blue, red = np.stack([levels[::-1]] * 3, -1), np.zeros((6, 8), np.uint8)
    save_field(tmp_path, green=levels, blue=blue, red=red, yellow=levels[:, ::-1])
    (files,) = fields.find_fields(tmp_path)
    image = fields.read_field(files)
    coloured = "the brightest plane was taken of one_blue.png, stored in colour"
    assert fields.remarks(files, image) == [coloured, "microtubules is flat, every pixel is 0"]
    image[:3, :, 3] = 255
    assert fields.remarks(files, image)[2] == "er is saturated in 50% of the pixels"
    assert fields.remarks(files, image.astype(np.uint16))[0] == "stored with 16 bits"


def remarks_of(levels):
    """What is remarked of a field of these channels, shaped (4, h, w)."""
    return list(ranges.remarks(np.moveaxis(levels, 0, -1)))


def test_channels_that_hardly_use_their_range_are_told_of():
    levels = np.random.default_rng(0).integers(0, 2**12, (4, 6, 8)).astype(np.uint16)
    assert remarks_of(levels * 16) == []
    levels[1, :, :] = levels[1] // 4 + 2**15  # 10 bits with an offset, where others have 12
    levels[2] *= 16
    remarked = remarks_of(levels)
    assert [remark.split()[0] for remark in remarked] == ["protein", "nucleus", "er"]
    assert f"spans {levels[1].min()} to {levels[1].max()} of 65535 only; is the full scale" in remarked[1]


def test_a_channel_that_is_another_s_copy_is_told_of():
    levels = np.random.default_rng(0).integers(0, 256, (4, 6, 8)).astype(np.uint8)
    assert remarks_of(levels) == []
    levels[3] = levels[2]
    assert remarks_of(levels) == ["microtubules and er are one picture; is a file a copy?"]


def test_links_to_folders_lead_to_fields_and_loops_do_not_matter(tmp_path):
    save_field(tmp_path / "away", "one")
    save_field(tmp_path / "here", "two")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "away")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    assert [files.id for files in fields.find_fields(tmp_path / "here")] == ["one", "two"]


def test_a_folder_that_may_not_be_looked_into_is_told_of(tmp_path, caplog, monkeypatch):
    save_field(tmp_path, "one")
    save_field(tmp_path / "closed", "two")
    look = os.scandir

    def closed(path="."):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert [files.id for files in fields.find_fields(tmp_path)] == ["one"]
    assert "closed cannot be looked into (Permission denied), so its fields are left out" in caplog.text


def test_a_name_with_a_line_break_is_a_fault_and_not_passed_over(tmp_path):
    save_field(tmp_path, "one")
    save_field(tmp_path, "t\nwo")
    found = fields.survey(tmp_path)
    assert [files.id for files in found.fields] == ["one"]
    assert "'t\\nwo' has a line break or the like; rename its files" in str(found.faults["t\nwo"])


@pytest.mark.real
def test_the_real_fields_are_all_read(real_data):
    found = fields.find_fields(real_data / "hpa_fields")
    annotations = fields.read_annotations(real_data / "hpa_fields" / "fields.csv")
    sizes = collections.Counter(fields.read_field(files).shape[:2] for files in found if files.id in annotations)
    assert sizes == {(512, 512): 72, (2048, 2048): 4, (1728, 1728): 1}


@pytest.mark.parametrize(("count", "most", "places"), [(0, 3, []), (1, 3, [0]), (3, 9, [0, 1, 2]), (9, 3, [0, 4, 8])])
def test_some_of_many_are_evenly_spread(count, most, places):
    assert fields.spread(range(count), most) == places


def test_copies_by_name_are_told_of_and_counted(tmp_path, caplog):
    for id in ("a", "Copy of a", "b", "b (1)", "c - Copy", "Copy of d", "e (2)"):
        for colour in atlas.COLOURS.values():
            (tmp_path / f"{id}_{colour}.png").write_bytes(b"")
    assert len(fields.survey(tmp_path).fields) == 7
    told = [record.getMessage() for record in caplog.records if "copy" in record.getMessage()]
    assert [line.split(" is named")[0] for line in told] == ["field Copy of a", "field b (1)"]
