import logging
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tifffile

from hpax.data import PairBatches, Source, build, preprocess
from hpax.data.cell_crops import dummy
from hpax.data.splits import split_of
from hpax.formats import fields


def test_the_builder(crops, check_data_set):
    check_data_set(crops)
    assert crops.info.features["image"].shape == (16, 16, 3)
    assert crops.table["protein"].value_counts().to_dict() == {"ABC1": 11, "AAAS": 9, "DEF2": 7, "GHI3": 5, "TP53": 5}
    assert crops.table["field"].nunique() == 7  # eight cells to a field
    builder = tfds.builder_from_directory(crops.info.data_dir)
    for split in crops.splits:
        assert {split_of(protein) for protein in Source(builder, split).table["protein"]} == {split}


def test_the_yeast_builder(tmp_path, check_data_set):
    dummy.write(tmp_path / "source", "yeast", size=16)
    cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source", organism="yeast", size=16)
    check_data_set(cells)
    assert cells.table["group_id"].value_counts().to_dict() == dummy.IMAGES["yeast"]
    assert cells.info.features["image"].shape == (16, 16, 2)


def test_channels_follow_the_atlas_and_keep_their_values(tmp_path):
    dummy.write(tmp_path / "source", "human", {"X_1_A1": 5}, size=64)
    cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source")
    image = cells.table.index.get_loc("X_1_A1_1_3")
    for channel, colour in enumerate(("green", "blue", "red")):
        stored = tifffile.imread(tmp_path / "source" / "X_1_A1" / f"1_A1_1_3_{colour}.tif")
        np.testing.assert_allclose(cells[image]["image"][..., channel] / 65535, stored, atol=1e-5)


def test_small_images_are_left_out_as_published_and_counted(tmp_path, caplog):
    dummy.write(tmp_path / "source", "human", {"X_1_A1": 5, "Y_2_A1": 4, "Z_3_A1": 1}, size=8)
    with caplog.at_level(logging.WARNING):
        cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source", size=8)
    assert set(cells.table["group_id"]) == {"X_1_A1"}
    assert "left out 2 images with fewer than 5 cells" in caplog.text
    everything = build("cell_crops", tmp_path / "data", source=tmp_path / "source", size=8, min_cells=1)
    assert len(everything) == 10
    with pytest.raises(ValueError, match="1 of 3 images have 1; build the data set with min_cells=2"):
        PairBatches(everything, 2)


def break_channel(folder):
    (folder / "X_1_A1" / "1_A1_1_0_blue.tif").unlink()


def break_size(folder):
    tifffile.imwrite(folder / "X_1_A1" / "1_A1_1_0_blue.tif", np.zeros((9, 8), np.float32))


def break_nan(folder):
    tifffile.imwrite(folder / "X_1_A1" / "1_A1_1_0_blue.tif", np.full((8, 8), np.nan, np.float32))


def break_file(folder):
    (folder / "X_1_A1" / "1_A1_1_4_red.tif").write_bytes(b"")


def break_names(folder):
    (folder / "X_1_A1").rename(folder / "X")
    (folder / "Y_2_A1").rename(folder / "Y")


def break_all(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (break_names, "not named as a human image"),
        (break_all, "holds no files"),
    ],
)
def test_bad_folders_are_named_and_leave_nothing_behind(tmp_path, breaks, told):
    dummy.write(tmp_path / "source", "human", {"X_1_A1": 5, "Y_2_A1": 6}, size=8)
    breaks(tmp_path / "source")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        build("cell_crops", tmp_path / "deep" / "data", source=tmp_path / "source")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (break_channel, "cell 0 of field 1 in .*X_1_A1 lacks its blue channel"),
        (break_size, "squares of one size"),
        (break_nan, "1_A1_1_0_blue.tif has 64 NaN"),
        (break_file, "1_A1_1_4_red.tif is empty"),
    ],
)
def test_a_bad_crop_is_left_out_and_named(tmp_path, breaks, told):
    dummy.write(tmp_path / "source", "human", {"X_1_A1": 5, "Y_2_A1": 6}, size=8)
    breaks(tmp_path / "source")
    cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source", min_cells=1)
    assert (len(cells), len(cells.failures)) == (10, 1)
    assert re.search(told, next(iter(cells.failures.values())))


def test_an_organism_is_human_or_yeast(tmp_path):
    dummy.write(tmp_path / "source", "human", size=8)
    with pytest.raises(ValueError, match="one of human, yeast, got 'fly'"):
        build("cell_crops", tmp_path / "data", source=tmp_path / "source", organism="fly")


@pytest.mark.real
@pytest.mark.parametrize(("organism", "count", "channels"), [("human", 56, 3), ("yeast", 918, 2)])
def test_real_crops(real_data, tmp_path, organism, count, channels):
    folder = real_data / "paired_cell_inpainting_crops" / organism
    cells = build("cell_crops", tmp_path, source=folder, organism=organism)
    assert len(cells) == count
    batch = PairBatches(cells, 16, prepare=getattr(preprocess, organism))[0]
    assert batch["source"].shape == (16, 64, 64, channels)
    assert batch["source"].min() == 0
    assert batch["source"][..., 0].max() == 1
    if organism == "yeast":
        stored = fields.read_channel(folder / "AAC1" / "AAC1_1_rfp_10_gfp.tif")
        row = cells.table.index.get_loc("AAC1_1_10")
        np.testing.assert_array_equal(cells[row]["image"][..., 0], stored)


def test_a_folder_of_another_name_is_left_out_and_named(tmp_path):
    dummy.write(tmp_path / "source", "human", {"X_1_A1": 5, "Y_2_A1": 6}, size=8)
    (tmp_path / "source" / "X_1_A1").rename(tmp_path / "source" / "X")
    cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source", min_cells=1)
    assert len(cells) == 6
    assert list(cells.failures) == ["X"]
    assert "X is not named as a human image" in cells.failures["X"]
