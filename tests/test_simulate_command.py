"""`hpax simulate`: fields that anyone can draw, whose truth the scorer takes."""

import pathlib

import numpy as np
import pytest

import hpax
from hpax import simulate
from hpax.commands import main
from hpax.metrics import counting, detection


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "fields"
    assert main.main(["simulate", "--fields", str(folder), "--count", "3", "--size", "192", "--seed", "5"]) == 0
    return folder


def test_the_fields_are_those_of_the_atlas_with_their_labels(folder):
    proteins = simulate.proteome(proteins=3, seed=5, balanced=True)
    read = list(hpax.read_folder(folder, um_per_pixel=0.32))
    assert len(read) == 3
    for field, protein, line in zip(read, proteins, simulate.CELL_LINES, strict=False):
        true = simulate.field(protein, line, 0, seed=5, size=192)
        np.testing.assert_array_equal(field.image, true.image)
        np.testing.assert_array_equal(field.labels, true.labels)


def test_the_truth_scores_itself_in_full(folder):
    counts, _ = counting.from_csv(folder / "truth.csv", folder / "truth.csv")
    assert detection.score(counts).mean("present") == pytest.approx(1.0)


def test_the_same_options_draw_the_same_bytes(folder, tmp_path):
    assert main.main(["simulate", "--fields", str(tmp_path), "--count", "3", "--size", "192", "--seed", "5"]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()
    }


def test_no_field_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.main(["simulate", "--fields", str(tmp_path), "--count", "0"])
    assert "count must be at least 1" in capsys.readouterr().err
