"""`hpax simulate`: fields that anyone can draw, whose truth the scorer takes."""

import json
import pathlib

import numpy as np
import pytest

import hpax
from hpax import simulate
from hpax.commands import main
from hpax.data import folders
from hpax.metrics import counting, detection
from hpax.recipes import data_configs


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


def test_the_folder_says_that_it_is_simulated_and_results_and_cards_say_so_too(folder, tmp_path):
    told = json.loads((folder / "simulated.json").read_text())
    assert told == {"seed": 5, "realism": "plain", "version": hpax.__version__}
    assert folders.kind(folder) == data_configs.Data(fields=folder).kind == "simulated"
    command = ["segment", "--segmenter", "classical", "--no-shards"]
    assert main.main([*command, "--fields", str(folder), "--workdir", str(tmp_path / "drawn")]) == 0
    assert json.loads((tmp_path / "drawn" / "result.json").read_text())["data"] == "simulated"
    assert "Cells of the simulated fields" in (tmp_path / "drawn" / "index.html").read_text()


def test_a_folder_without_that_file_is_real(folder, tmp_path):
    for path in folder.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert folders.kind(tmp_path) == data_configs.Data(fields=tmp_path).kind == "real"


def test_no_field_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.main(["simulate", "--fields", str(tmp_path), "--count", "0"])
    assert "count must be at least 1" in capsys.readouterr().err
