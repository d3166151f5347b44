"""Whatever is in a file, the answer is a value or a ValueError that names it: tables, lists, pictures and masks."""

import io
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from hpax.formats import fields, label_images, masks, mutants, pictures, proteinatlas, tables

PIXELS = np.random.default_rng(0).integers(0, 9, (24, 30)).astype(np.uint16)
PIXELS[2:12, 3:20] = 7


def png(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", **options)
    return out.getvalue()


def jpg():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS.astype(np.uint8)).save(out, format="JPEG", exif=exif)
    return out.getvalue()


def tif(pixels, lzw=False, **options):
    out = io.BytesIO()
    if lzw:
        Image.fromarray(pixels).save(out, format="TIFF", compression="tiff_lzw")
    else:
        tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def read_picture(path):
    pictures.stated_um_per_pixel(path)
    pictures.orientation(path)
    pictures.is_8_bit(path)
    return fields.read_channel(path, max_pixels=10**6)


TABLE = b'id,label,gene\na1,"0|16",TP53\nb2,[3; 4],"x ""y"""\nc3,Cytosol,\n'
LIST = b"image,label,sha256_red\n6872/8_G3_1_red.jpg,0|16,\nhttps://x.org/7/9_G3_2,,\n"
OME = {"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3}}
SEEDS = {
    "table": ("a.csv", TABLE, fields.read_annotations),
    "list": ("a.csv", LIST, proteinatlas.read_list),
    "png": ("a_red.png", png(PIXELS.astype(np.uint8)), read_picture),
    "deep png": ("a_red.png", png(PIXELS), read_picture),
    "jpg": ("a_red.jpg", jpg(), read_picture),
    "tif": ("a_red.tif", tif(PIXELS, compression="zlib"), read_picture),
    "ome": ("a_red.tif", tif(PIXELS, **OME), read_picture),
    "float": ("a_red.tif", tif(PIXELS / 9), read_picture),
    "mask png": ("a.png", png(PIXELS), label_images.read),
    "mask tif": ("a.tif", tif(PIXELS, compression="zlib"), label_images.read),
    "mask lzw": ("a.tif", tif(PIXELS, lzw=True), label_images.read),
    "mask float": ("a.tif", tif(PIXELS.astype(np.float32)), label_images.read),
}
MUTANTS = 150


def mutant(data, rng):
    """Some bytes flipped, cut, doubled or put in."""
    for _ in range(rng.integers(1, 4)):
        data = mutants.bytes_changed(data, rng)
    return data


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files_are_named(tmp_path, kind):
    name, data, read = SEEDS[kind]
    path = tmp_path / name
    rng = np.random.default_rng(1)
    for _ in range(MUTANTS):
        path.write_bytes(mutant(data, rng))
        told = outcome(read, path)
        assert told is None or (str(path) in told and len(told) < 2000)


def outcome(read, path):
    """What the ValueError says, None if there is none; other exceptions pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except ValueError as error:
            return str(error)
    return None


def test_seeds_are_sound(tmp_path):
    for name, data, read in SEEDS.values():
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name) is not None


def test_an_html_answer_under_any_name_is_named(tmp_path):
    page = b'<!doctype html>\n<html><body>404, not "found"</body></html>\n' * 50
    for name, _, read in SEEDS.values():
        (tmp_path / name).write_bytes(page)
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read(tmp_path / name)


def test_a_split_mask_pair_names_the_damaged_file(tmp_path):
    (tmp_path / "a_cells.png").write_bytes(png(PIXELS))
    (tmp_path / "a_nuclei.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a_nuclei\.png"):
        masks.read(tmp_path, "a")


def test_tables_keep_their_bound(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,label\n" + b"a,0\n" * 10)
    assert len(list(tables.read(tmp_path / "a.csv"))) == 10
