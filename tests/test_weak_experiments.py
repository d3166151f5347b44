"""Weak supervision from its command lines: models are trained, combined and scored, and label a folder of fields."""

import csv
import dataclasses
import json

import anndata
import jax
import numpy as np
import pytest

from experiments import classify_cells, combine_labels, label_cells, localize_cells
from hpax import atlas, data, models
from hpax.data import segmented
from hpax.data.hpa_fields import dummy
from hpax.formats import kaggle
from hpax.metrics import counting, detection

SMALL = ["--proteins", "57", "--size", "128", "--masks", "true"]
STEPS = ["--image-resolution", "32", "--cell-resolution", "32", "--image-steps", "2", "--cell-steps", "2"]
TINY = {"proteins": 57, "size": 128, "masks": "true", "folds": 0}
TINY |= {"image_resolution": 32, "cell_resolution": 32, "image_steps": 2, "cell_steps": 2}
FILES = (combine_labels.STUDENT_FILE, combine_labels.CELL_FILE)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def combined(shards, tmp_path_factory):
    """The folder of a tiny run of combine_labels."""
    workdir = tmp_path_factory.mktemp("combined")
    command = [*SMALL, *STEPS, "--folds", "0", "--data-dir", str(shards), "--workdir", str(workdir)]
    assert combine_labels.main(command) == 0
    return workdir / "default" / "seed1"


def fields(shards):
    return localize_cells.open_fields(localize_cells.Atlas(data_dir=shards, proteins=57, size=128, masks="true"))


def test_every_way_is_scored_and_the_submission_is_the_ensemble_s(combined):
    record = json.loads((combined / "result.json").read_text())
    assert record["data"] == "simulated"
    assert record["metrics"]["mAP, labels copied"] > record["metrics"]["mAP, field copied"]
    found, _ = counting.from_csv(combined / "truth.csv", combined / "submission.csv")
    scores = detection.score(found)
    assert scores.mean() == pytest.approx(record["metrics"]["mAP of the submission, 19 classes"])
    assert scores.mean("present") == pytest.approx(record["metrics"]["mAP, ensemble"], abs=1e-6)
    with (combined / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(atlas.LOCATIONS)
    assert sum(int(row["true cells"]) for row in rows) == scores.truths.sum()


def test_the_page_shows_ways_cells_variation_calibration_and_classes(combined):
    text = (combined / "index.html").read_text()
    assert text.count("<img") == 3
    for told in ("labels × ceiling", "Nuclear speckles", "share of the way, labels copied"):
        assert told in text


def test_fields_are_split_by_how_many_of_their_cells_differ(shards):
    there = fields(shards)
    share = combine_labels.variation(there)
    for example, found in zip(localize_cells.examples(there.test), share, strict=True):
        differ = [row.tolist() != example["labels"].tolist() for row in example["cell_labels"]]
        assert found == pytest.approx(np.mean(differ))
    inside = [(share > low) & (share <= high) for low, high in combine_labels.VARIATION.values()]
    assert (np.sum(inside, axis=0) == 1).all()


def test_an_arm_without_a_ceiling_says_nothing_of_one(shards, tmp_path):
    command = [*SMALL, *STEPS, "--folds", "0", "--no-ceiling", "--data-dir", str(shards), "--workdir", str(tmp_path)]
    assert combine_labels.main(command) == 0
    record = json.loads((tmp_path / "default" / "seed1" / "result.json").read_text())
    assert not [name for name in record["metrics"] if "ceiling" in name or "share of the way" in name]
    assert "mAP, labels × cell" in record["headline"]
    assert not list((tmp_path / "models").glob("ceiling-*"))


def test_arms_that_share_a_network_train_it_once(combined, shards):
    models = combined.parents[1] / "models"
    before = {path: path.stat().st_mtime_ns for path in models.glob("*/checkpoints/latest/*/commit_success.txt")}
    assert len(before) == 3
    there = fields(shards)
    config = combine_labels.Config(**TINY, data_dir=shards, pooling="average")
    combine_labels.both(config, there, models)
    after = {path: path.stat().st_mtime_ns for path in models.glob("*/checkpoints/latest/*/commit_success.txt")}
    assert len(after) == 4
    assert {path: after[path] for path in before} == before


def test_a_field_s_network_starts_from_that_of_cells(combined, shards):
    start = combined / "classify.safetensors"
    config = localize_cells.Config(data_dir=shards, proteins=57, size=128, masks="true", resolution=32, start=start)
    initial, known = localize_cells.build(config, fields(shards)).initial(), models.load(str(start))
    jax.tree.map(np.testing.assert_array_equal, initial.params, known.params)
    jax.tree.map(np.testing.assert_array_equal, initial.model_state, known.model_state)
    pooled = localize_cells.build(dataclasses.replace(config, pooling="gem"), fields(shards)).initial().params
    assert pooled.pop("power") == 3
    jax.tree.map(np.testing.assert_array_equal, pooled, known.params)
    with pytest.raises(ValueError, match="backbones must be one"):
        combine_labels.Config(cell_backbone="efficientnet-tiny")


def test_no_protein_is_on_two_sides(shards):
    sides = [set(part.table["protein"]) for part in fields(shards)[:3]]
    assert not sides[0] & sides[1]
    assert not sides[2] & (sides[0] | sides[1])


def test_perfect_answers_score_one_and_true_masks_know_their_labels(shards):
    there = fields(shards)
    truth = classify_cells.true_labels(there.test, segmented.ground_truth)
    for example in localize_cells.examples(there.test):
        np.testing.assert_array_equal(truth[example["id"]], example["cell_labels"])
    assert localize_cells.scored(there.test, segmented.ground_truth, truth.values()).mean("present") == 1


def test_a_part_of_a_source_is_its_rows(shards):
    source = fields(shards).training
    places = [5, 2, 9]
    part = data.Part(source, places)
    assert [example["id"] for example in part.__getitems__(range(3))] == list(part.table.index)
    assert part[1]["id"] == source[2]["id"]
    np.testing.assert_array_equal(part.labels, source.labels[places])
    np.testing.assert_array_equal(part.groups, source.groups[places])
    assert data.Part(part, [2])[0]["id"] == source[9]["id"]


def test_label_cells_labels_every_cell_of_a_folder_and_names_what_is_broken(combined, tmp_path):
    folder, workdir = tmp_path / "fields", tmp_path / "labelled"
    dummy.write(folder, kaggle=2, proteinatlas=1, size=192, seed=3)
    broken = next(folder.glob("**/*_green.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    models = [str(combined / kind) for kind in ("localize.safetensors", "classify.safetensors")]
    command = ["--fields", str(folder), "--models", *models, "--um-per-pixel", str(dummy.UM_PER_PIXEL)]
    command += ["--turns", "1", "--segmenter", "classical", "--workdir", str(workdir)]
    assert label_cells.main(command) == 1
    table, cells = kaggle.Table(workdir / "submission.csv"), anndata.read_h5ad(workdir / "cells.h5ad")
    assert not table.defects
    assert len(table.entries) == 2
    assert set(cells.obs["field"]) == set(table.entries)
    listed = [table.read(id)[0] for id in table.entries]
    assert sum(listing.masks for listing in listed) == cells.n_obs > 0
    assert all(len(listing.label) == 19 * listing.masks for listing in listed)
    with (workdir / "refined.csv").open(newline="") as file:
        refined = list(csv.DictReader(file))
    assert len(refined) == cells.n_obs
    with (folder / "fields.csv").open(newline="") as file:
        labels = {row["id"]: row["labels"].split("|") for row in csv.DictReader(file) if "|" in row["labels"]}
    shown = {id: {"Negative", *(atlas.LOCATIONS[int(label)] for label in own)} for id, own in labels.items()}
    assert shown.keys() & {row["field"] for row in refined}
    assert all(set(row["locations"].split(";")) <= shown[row["field"]] for row in refined if row["field"] in shown)
    assert broken.name.split("_")[0] in (workdir / "index.html").read_text()
    assert len(list((workdir / "pictures").glob("*_maps.png"))) == 2
    before = {path: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()}
    assert label_cells.main(command) == 1
    assert {path: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()} == before
    assert anndata.read_h5ad(workdir / "cells.h5ad").obsm["prob"].tolist() == cells.obsm["prob"].tolist()


@pytest.mark.slow
def test_distillation_learns_from_proteins_left_out(shards, tmp_path):
    assert combine_labels.main([*SMALL, *STEPS, "--data-dir", str(shards), "--workdir", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "default" / "seed1" / "result.json").read_text())
    assert {"mAP, distilled", "mAP, ensemble, distilled", "mAP, labels × distilled"} <= set(record["metrics"])
    student, plain = (models.load(str(tmp_path / "default" / "seed1" / name)) for name in FILES)
    assert student.architecture == plain.architecture == "cell-net"
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), student.params, plain.params)
    assert not all(jax.tree.leaves(same))
