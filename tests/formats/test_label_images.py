"""Index images: files and submissions give back what went in, and pictures that are no index images are refused."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from hpax.formats import label_images, rle

images = arrays.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 5))


@settings(deadline=None)
@given(images)
def test_runs_are_those_of_each_cell_alone(image):
    runs, indices = label_images.runs(image)
    assert indices.tolist() == sorted(set(image.ravel().tolist()) - {0})
    for mask, index in enumerate(indices):
        np.testing.assert_array_equal(runs[1:, runs[0] == mask], rle.of_mask(image == index)[1:])


@settings(deadline=None)
@given(images)
def test_painting_undoes_runs(image):
    runs, indices = label_images.runs(image)
    painted = label_images.paint(runs, len(indices), *image.shape)
    np.testing.assert_array_equal(np.concatenate([[0], indices])[painted], image)


@settings(deadline=None)
@given(images, st.integers(0, 2**32 - 1))
def test_a_row_of_a_submission_gives_the_image_back(image, seed):
    image = np.unique(image, return_inverse=True)[1].reshape(image.shape)  # indices without gaps
    scores = np.random.default_rng(seed).random((image.max(), 19))
    scores[scores < 0.3] = np.nan
    back, found = label_images.unlisting(label_images.listing("a", image, scores))
    np.testing.assert_array_equal(back, image)
    np.testing.assert_array_equal(found, scores)


LARGE = np.arange(70_000, dtype=np.uint32).reshape(200, 350)


@pytest.mark.parametrize(("name", "image"), [("a.png", LARGE[:2]), ("a.png", LARGE[:100]), ("a.tif", LARGE)])
def test_files_keep_every_index(tmp_path, name, image):
    label_images.write(tmp_path / name, image)
    back = label_images.read(tmp_path / name)
    np.testing.assert_array_equal(back, image)
    assert back.dtype.kind == "u"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_png_refuses_what_it_would_wrap(tmp_path):
    with pytest.raises(ValueError, match="up to 65535, the highest is 69999"):
        label_images.write(tmp_path / "a.png", LARGE)


def test_more_masks_than_sixteen_bits_hold():
    runs, indices = label_images.runs(LARGE)
    np.testing.assert_array_equal(label_images.paint(runs, len(indices), *LARGE.shape), LARGE)


def test_pictures_are_refused(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "float.tif", np.full((3, 3), 0.5, np.float32))
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 3, 3), np.uint16), photometric="minisblack")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.tif").write_text("no picture")
    whole = tmp_path / "whole.png"
    label_images.write(whole, LARGE[:100])
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:500])
    for name in ("rgb.png", "float.tif", "stack.tif", "text.png", "text.tif", "cut.png"):
        with pytest.raises(ValueError, match=name):
            label_images.read(tmp_path / name)


def test_overlapping_masks_fit_no_index_image():
    with pytest.raises(ValueError, match="must not share pixels"):
        label_images.paint(np.array([[0, 1], [0, 3], [4, 6]], np.int32), 2, 2, 4)


def test_a_cell_without_a_row_is_an_error():
    with pytest.raises(ValueError, match=r"\(2 or more, 19\), got \(1, 19\)"):
        label_images.listing("a", np.array([[0, 2]]), np.zeros((1, 19)))
