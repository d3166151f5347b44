"""The command that scores: what it writes, how it ends, and that parts add up."""

import json

import numpy as np
import pytest

from experiments import score, simulate_submission
from hpax import atlas
from hpax.commands import scoring
from hpax.formats import kaggle
from hpax.metrics import counting, detection

CONFIG = simulate_submission.Config(images=5, cells=31, size=96)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    result = simulate_submission.run(CONFIG, folder)
    assert result.counts == {"images": 5, "cells": 31, "detections": 31 * 19}
    return folder / "truth.csv", folder / "submission.csv"


def scored(files, workdir, *more):
    truth, submission = files
    command = ["--truth", str(truth), "--submission", str(submission), "--workdir", str(workdir), *more]
    assert score.main(command) == 0
    return json.loads((workdir / "result.json").read_text())


def test_simulated_cells_are_whole_and_disjoint(files):
    for path in files:
        assert kaggle.report(path) == []
    cells = [listing.masks for listing in kaggle.strict(files[1])]
    assert sum(cells) == 31
    assert min(cells) > 0


def test_the_result_and_the_pictures(files, tmp_path, capsys):
    record = scored(files, tmp_path, "--iou", "0.6", "0.8", "--bootstrap", "20")
    expected = detection.score(counting.from_csv(*files)[0], iou=(0.6, 0.8))
    assert record["map_fixed"] == expected.mean()
    assert record["map_present"] == expected.mean("present")
    assert [record["ap"][name] for name in atlas.LOCATIONS] == [None if np.isnan(ap) else ap for ap in expected.ap[0]]
    assert None in record["ap"].values()
    assert (record["images"], record["predicted_objects"]) == (5, 31 * 19)
    assert record["truth_objects"] == expected.truths.sum() > 31
    assert record["by_iou"][1]["map_fixed"] == expected.mean(threshold=1) <= record["map_fixed"]
    assert record["bootstrap"]["map_fixed"]["low"] <= record["map_fixed"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "result.json",
        "average_precision.png",
        "precision_recall.png",
        "index.html",
    }
    printed = capsys.readouterr().out
    assert f"mean over 19 classes{' ' * 20}  {record['map_fixed']:.4f}" in printed
    assert "true cells matched" in printed
    for name in ("fixed", "present"):
        low, high = (record["bootstrap"][f"map_{name}"][end] for end in ("low", "high"))
        assert f"mAP ({name}) over resampled images: {low:.4f} to {high:.4f} (95%)" in printed


def test_verified_classes_and_parts_from_files(files, tmp_path):
    ids = list(kaggle.Table(files[0]).entries)
    (tmp_path / "verified.csv").write_text("ID,Classes\n" + "".join(f"{id},\n" for id in ids))
    (tmp_path / "split.csv").write_text("ID,Usage\n" + "".join(f"{id},P{n % 2}\n" for n, id in enumerate(ids)))
    by_file = scored(files, tmp_path / "a", "--verified", str(tmp_path / "verified.csv"))
    by_truth = scored(files, tmp_path / "b", "--verified", "truth", "--split", str(tmp_path / "split.csv"))
    assert by_file["ap"] == by_truth["ap"]
    assert by_file["ignored_objects"] == by_truth["ignored_objects"] > 0
    assert {name: part["images"] for name, part in by_truth["split"].items()} == {"P0": 3, "P1": 2}
    assert sum(part["truth_objects"] for part in by_truth["split"].values()) == by_truth["truth_objects"]


def test_a_submission_against_itself(files, tmp_path):
    record = scored(files, tmp_path, "--against", str(files[1]), "--bootstrap", "10")
    assert record["against"]["difference"]["value"] == record["against"]["difference"]["high"] == 0


def test_damage_ends_with_status_2_and_nothing_written(files, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_bytes(files[1].read_bytes().replace(b" eN", b" eM", 1))
    command = ["--truth", str(files[0]), "--submission", str(bad), "--workdir", str(tmp_path / "out")]
    assert score.main(command) == 2
    assert "row 2, ID 'simulated_00000', triple 1: the mask is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert score.main([*command, "--check"]) == 1
    assert "1 defects" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["ID,Classes\na,19\n", "ID,Classes\na,x\n", "ID,Other\na,1\n"])
def test_damaged_class_files_are_named(tmp_path, text):
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(ValueError, match=r"v.csv line 2 must be an ID and classes"):
        scoring.read_classes(tmp_path / "v.csv")


@pytest.mark.real
def test_the_sample_submission_scores_zero(real_data, tmp_path):
    sample = real_data / "tables" / "kaggle2021_sample_submission.csv"
    block = np.array([[0, 0], [10, 5000], [90, 5080]], np.int32)
    one = {"score": np.ones(1), "mask": np.zeros(1, np.int32), "runs": block, "masks": 1}
    sizes = kaggle.sizes(kaggle.Table(sample))
    listings = (
        kaggle.Listing(id, *size, label=np.array([number % 19], np.int32), **one)
        for number, (id, size) in enumerate(sizes.items())
    )
    kaggle.write(tmp_path / "truth.csv", listings)
    scores = detection.score(counting.from_csv(tmp_path / "truth.csv", sample)[0])
    assert (scores.images, scores.truths.sum(), scores.detections.sum()) == (559, 559, 0)
    assert (scores.mean("fixed"), scores.mean("present")) == (0, 0)
