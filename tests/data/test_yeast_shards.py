"""Shards of simulated yeast, alone and joined with published crops."""

import dataclasses

import numpy as np
import pytest

from hpax.data import Joined, PairBatches, Part, build, preprocess
from hpax.data.cell_crops import dummy
from hpax.recipes import cells as cells_recipe
from hpax.recipes.data_configs import CellData, YeastAtlas
from hpax.simulate import yeast

SMALL = {"proteins": 34, "cells": 3, "seed": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("yeast")
    dummy.write(folder / "crops", "yeast")
    return folder


@pytest.fixture(scope="module")
def simulated(folder):
    return build("simulated_yeast", folder / "data", **SMALL)


@pytest.fixture(scope="module")
def crops(folder):
    return build("cell_crops", folder / "data", source=folder / "crops", organism="yeast")


def test_the_builder(simulated, check_data_set):
    check_data_set(simulated)
    assert len(simulated) == 34 * 3


def test_an_example_is_the_simulator_s(simulated):
    example = simulated[simulated.table.index.get_loc("YSIM0007_2")]
    protein = yeast.proteome(proteins=34, seed=2)[6]
    np.testing.assert_array_equal(example["image"], yeast.crops(protein, count=3, seed=2)[2])
    assert example["locations"] == "|".join(protein.locations)


def test_joined_sources_are_one_after_the_other_and_no_group_is_shared(simulated, crops):
    both = Joined([simulated, crops])
    assert len(both) == len(simulated) + len(crops)
    places = [len(both) - 1, 0, len(simulated), len(simulated) - 1, 0]
    own = [crops[len(crops) - 1], simulated[0], crops[0], simulated[len(simulated) - 1], simulated[0]]
    for example, expected in zip(both.__getitems__(places), own, strict=True):
        assert example["id"] == expected["id"]
        np.testing.assert_array_equal(example["image"], expected["image"])
    assert both.table.index.tolist() == [*simulated.table.index, *crops.table.index]
    assert (both.table["locations"] == "").sum() == len(crops)
    groups = both.groups
    assert not set(groups[: len(simulated)]) & set(groups[len(simulated) :])
    assert len(np.unique(groups)) == len(np.unique(simulated.groups)) + len(np.unique(crops.groups))
    assert Part(both, [len(both) - 1])[0]["id"] == own[0]["id"]
    with pytest.raises(IndexError, match="got -1"):
        both[-1]


def test_pairs_of_joined_sources_stay_within_their_group(simulated, crops):
    both = Joined([simulated, crops])
    batch = PairBatches(both, 16, seed=0, prepare=preprocess.yeast, flip=False)[0]
    np.testing.assert_array_equal(both.groups[batch["index"]], both.groups[batch["target_index"]])


def test_sources_of_other_shapes_are_not_joined(simulated, folder):
    small = build("cell_crops", folder / "data", source=folder / "crops", organism="yeast", size=32)
    with pytest.raises(ValueError, match="one shape and dtype"):
        Joined([simulated, small])


def test_real_crops_are_learnt_from_but_not_asked_about(folder, crops):
    atlas = YeastAtlas(proteins=34, per_protein=3)
    config = CellData(cells="simulated-yeast", data_dir=folder / "data", yeast=atlas)
    alone = cells_recipe.open_cells(config)
    joined = cells_recipe.open_cells(dataclasses.replace(config, folder=folder / "crops"))
    assert len(joined.training) == len(alone.training) + len(crops)
    assert joined.name != alone.name
    assert joined.held.table.index.tolist() == alone.held.table.index.tolist()
    assert not set(joined.held.table["protein"]) & set(joined.training.table["protein"])
    locations = joined.everything.table["locations"].to_numpy(str)
    assert "" in joined.labels
    assert set(joined.labels) <= {"", *yeast.LOCATIONS}
    assert all(label == ("" if "|" in told else told) for label, told in zip(joined.labels, locations, strict=True))


def test_a_folder_that_nobody_reads_is_refused(folder):
    with pytest.raises(ValueError, match=r"simulated cells read no folder, got .*crops; say what it holds by --cells"):
        CellData(folder=folder / "crops")
