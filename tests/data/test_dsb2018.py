import numpy as np
import pytest
from PIL import Image
from skimage.measure import regionprops

from hpax.data import build
from hpax.data.dsb2018_nuclei import dsb2018_nuclei, dummy


@pytest.fixture
def folder(tmp_path):
    dummy.write(tmp_path / "source")
    return tmp_path / "source"


def save(folder, id, image, nuclei):
    Image.fromarray(image).save(folder / "images" / f"{id}.png")
    Image.fromarray(nuclei).save(folder / "masks" / f"{id}.png")


def test_the_builder_keeps_images_and_masks_and_spreads_widths_over_the_splits(folder, tmp_path):
    images = build("dsb2018_nuclei", tmp_path / "data", source=folder)
    assert sorted(images.table.index) == sorted(path.stem for path in (folder / "images").iterdir())
    for example in map(images.__getitem__, range(len(images))):
        for name, part in (("image", "images"), ("nuclei", "masks")):
            stored = np.asarray(Image.open(folder / part / f"{example['id']}.png"))
            np.testing.assert_array_equal(np.squeeze(example[name]), stored)
        assert example["um_per_pixel"] == images.table.loc[example["id"], "um_per_pixel"]
    for split, count in (("train", 4), ("validation", 1), ("test", 1)):
        part = build("dsb2018_nuclei", tmp_path / "data", source=folder, split=split)
        widths = [part[i]["image"].shape[1] for i in range(len(part))]
        assert sorted(widths) == [64] * count + [96] * count
    assert "CC0" in images.info.redistribution_info.license
    assert images.info.citation


def test_the_median_nucleus_of_every_image_has_the_median_area_of_human_cells(folder, tmp_path):
    images = build("dsb2018_nuclei", tmp_path / "data", source=folder)
    for example in map(images.__getitem__, range(len(images))):
        areas = [region.area * example["um_per_pixel"] ** 2 for region in regionprops(example["nuclei"])]
        assert np.median(areas) == pytest.approx(dsb2018_nuclei.NUCLEUS_AREA, rel=1e-5)


def test_an_image_without_nuclei_is_left_out(folder, tmp_path):
    save(folder, "blank", np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint16))
    images = build("dsb2018_nuclei", tmp_path / "data", source=folder)
    assert "blank" not in images.table.index
    assert len(images) == 12


def other_size(folder):
    Image.fromarray(np.ones((9, 9), np.uint16)).save(folder / "masks" / "image3.png")


def sixteen_bits(folder):
    Image.fromarray(np.ones((96, 96), np.uint16)).save(folder / "images" / "image3.png")


def coloured_mask(folder):
    Image.fromarray(np.ones((96, 96, 3), np.uint8)).save(folder / "masks" / "image3.png")


def lone_image(folder):
    (folder / "masks" / "image3.png").unlink()


def damaged(folder):
    (folder / "images" / "image3.png").write_bytes(b"no picture")


@pytest.mark.parametrize("break_it", [other_size, sixteen_bits, coloured_mask, lone_image, damaged])
def test_a_bad_file_is_left_out_and_named(folder, tmp_path, break_it):
    break_it(folder)
    nuclei = build("dsb2018_nuclei", tmp_path / "data", source=folder)
    assert list(nuclei.failures) == ["image3"]
    assert "image3" in nuclei.failures["image3"]
    assert "image3" not in nuclei.table.index


def test_an_empty_folder_says_what_to_give(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "readme.txt").write_text("images are elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no images/\*\.png"):
        build("dsb2018_nuclei", tmp_path / "data", source=tmp_path / "source")


@pytest.mark.real
def test_the_real_images(real_data, tmp_path):
    images = build("dsb2018_nuclei", tmp_path, source=real_data / "dsb2018_nuclei")
    assert len(images) == 80
    assert images.table["um_per_pixel"].between(0.2, 2.2).all()
    assert sum(len(np.unique(images[i]["nuclei"])) - 1 for i in range(80)) > 3000
