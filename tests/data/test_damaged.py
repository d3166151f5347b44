"""Whatever is damaged of a data set is one error that says what to do."""

import pathlib
import shutil

import numpy as np
import pytest

from hpax.data import Source, build
from hpax.data.cell_crops import dummy


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("built")
    dummy.write(folder / "source", "human", {"ABC1_1_A1": 6, "ABC1_2_A2": 5, "DEF2_3_B1": 7}, size=16)
    open_(folder)
    return folder


@pytest.fixture
def copy(built, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(built, tmp_path / "copy"))


def open_(folder: pathlib.Path) -> Source:
    """The data set, built if it is not there, after everything in it was read."""
    cells = build("cell_crops", folder / "built", source=folder / "source", size=16)
    assert len(cells.table) == len([cells[place] for place in range(len(cells))]) == len(cells.groups)
    return cells


def file(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    return next((folder / "built").rglob(pattern))


PARTS = ("*train.array_record*", "index-train.npz", "dataset_info.json")
DAMAGE = {"cut": lambda data: data[: len(data) // 2], "emptied": lambda data: b"", "removed": None}


@pytest.mark.parametrize("pattern", PARTS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_one_error_with_its_folder_and_the_remedy(copy, pattern, damage):
    path = file(copy, pattern)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"the data set in .*cell_crops.* is damaged .*; delete that folder and build it"
    ):
        open_(copy)
    shutil.rmtree(path.parent)
    open_(copy)


def test_flipped_bits_are_noticed_or_mean_nothing(copy):
    whole = open_(copy)
    examples = [whole[place] for place in range(len(whole))]
    rng = np.random.default_rng(0)
    for pattern in ("*train.array_record*", "index-train.npz") * 12:
        path = file(copy, pattern)
        before = path.read_bytes()
        data = bytearray(before)
        data[rng.integers(min(len(data), 4000))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            cells = open_(copy)
        except ValueError as error:
            told = str(error)
        else:
            told = "is damaged"
            for place, example in enumerate(examples):
                np.testing.assert_array_equal(cells[place]["image"], example["image"])
            assert cells.table.equals(whole.table)
        assert "is damaged" in told
        path.write_bytes(before)


def test_an_example_beyond_the_last_is_no_damage(built):
    with pytest.raises(IndexError, match=r"0\.\.17, got 18"):
        open_(built)[18]
