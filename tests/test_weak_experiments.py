"""Weak supervision from its command lines: models are trained, combined and scored, and label a folder of fields."""

import csv
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import anndata
import jax
import numpy as np
import pytest

import hpax
from experiments import classify_cells, combine_labels, label_cells, localize_cells
from hpax import atlas, launch, models
from hpax.data.hpa_fields import dummy
from hpax.formats import kaggle
from hpax.metrics import counting, detection
from hpax.recipes import classify, datasets, distil, localize, scoring, weak_labels, weak_report, weak_study
from hpax.recipes.configs import Backbone

ROOT = pathlib.Path(hpax.__file__).parents[1]
SMALL = ["--atlas.proteins", "57", "--atlas.size", "128", "--masks", "true"]
WINDOW = ["--field.window", "32", "--field.um-per-pixel", "1.28", "--cell.resolution", "32"]
STEPS = ["--field.optimizer.steps", "2", "--cell.optimizer.steps", "2"]
TINY = {"atlas.proteins": 57, "atlas.size": 128, "masks": "true", "folds": 0}
TINY |= {"field.window": 32, "field.um_per_pixel": 1.28, "cell.resolution": 32}
TINY |= {"field.optimizer.steps": 2, "cell.optimizer.steps": 2}
FILES = (combine_labels.STUDENT_FILE, classify.FILE)


def command(data_dir, workdir):
    return [*SMALL, "--data-dir", str(data_dir), "--workdir", str(workdir)]


@pytest.fixture(scope="module")
def split(atlases):
    small = datasets.Atlas(proteins=57, size=128)
    return datasets.open_fields(datasets.Data(masks="true", data_dir=atlases, atlas=small), seed=1)


@pytest.fixture(scope="module")
def combined(atlases, tmp_path_factory):
    """The folder of a tiny run of combine_labels."""
    workdir = tmp_path_factory.mktemp("combined")
    assert combine_labels.main([*command(atlases, workdir), *WINDOW, *STEPS, "--folds", "0"]) == 0
    return workdir / "default" / "seed1"


def test_every_strategy_is_scored_and_the_submission_is_the_ensemble_s(combined):
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
    assert not kaggle.Table(combined / "submission.csv").defects


def test_the_page_shows_strategies_cells_variation_calibration_and_classes(combined):
    text = (combined / "index.html").read_text()
    assert text.count("<img") == 3
    for told in ("labels × ceiling", "Nuclear speckles", "gap closed, labels copied"):
        assert told in text


def test_what_is_left_is_what_was_scored(combined, split):
    """The folder of models and the two networks beside it give the probabilities that were submitted, to the bit."""
    ensemble = models.load(combined / "models")
    names = [combined / name for name in (localize.FILE, classify.FILE)]
    alone = models.Ensemble.load(names, **ensemble.views)
    cells = anndata.read_h5ad(combined / "cells.h5ad")
    rows = [ensemble.predict(field).cells for field in split.test]
    np.testing.assert_array_equal(np.concatenate(rows).astype(np.float32), cells.obsm["prob"])
    np.testing.assert_array_equal(alone.predict(split.test[0]).cells, rows[0])
    assert not (combined / combine_labels.STUDENT_FILE).exists()  # nothing was distilled


@pytest.mark.slow
def test_arms_that_share_a_network_train_it_once_and_without_a_ceiling_say_nothing_of_one(combined, atlases):
    shelf = combined.parents[1] / "models"
    ends = "*/checkpoints/latest/*/commit_success.txt"
    before = {path: path.stat().st_mtime_ns for path in shelf.glob(ends)}
    assert len({path.parents[3] for path in before}) == 3
    other = {"data_dir": atlases, "field.pooling": "average", "ceiling": False}
    config = launch.replaced(combine_labels.Config(), {**TINY, **other})
    workdir = combined.parents[1] / "no-ceiling" / "seed1"
    workdir.mkdir(parents=True)
    result = combine_labels.run(config, workdir)
    after = {path: path.stat().st_mtime_ns for path in shelf.glob(ends)}
    assert len({path.parents[3] for path in after}) == 4
    assert {path: after[path] for path in before} == before
    assert not [name for name in result.metrics if "ceiling" in name or "gap closed" in name]
    assert "mAP, labels × cell" in result.headline
    assert "ceiling" not in (workdir / "index.html").read_text()


def test_fields_are_split_by_how_many_of_their_cells_differ(split):
    share = weak_study.Study(split, {}, {}).variation
    for field, found in zip(split.test, share, strict=True):
        differ = [row.tolist() != field.labels.tolist() for row in field.cell_labels]
        assert found == pytest.approx(np.mean(differ))
    inside = [(share > low) & (share <= high) for low, high in weak_study.VARIATION.values()]
    assert (np.sum(inside, axis=0) == 1).all()


def test_a_field_s_network_starts_from_that_of_cells(combined, split):
    start = combined / classify.FILE
    config = localize.Config(window=32, um_per_pixel=1.28, init_from=start)
    run, known = localize.build(config, split.training, split.validation), models.load_network(start)
    initial = run.initial()
    jax.tree.map(np.testing.assert_array_equal, initial.params, known.params)
    jax.tree.map(np.testing.assert_array_equal, initial.model_state, known.model_state)
    pooled = localize.build(dataclasses.replace(config, pooling="gem"), split.training, split.validation)
    params = dict(pooled.initial().params)
    assert params.pop("power") == 3
    jax.tree.map(np.testing.assert_array_equal, params, known.params)
    with pytest.raises(ValueError, match="backbones must be one"):
        weak_labels.Config(cell=classify.Config(backbone=Backbone("efficientnet-tiny")))


def test_no_protein_is_on_two_sides(split):
    sides = [set(distil.groups(part)) for part in split[:3]]
    assert not sides[0] & sides[1]
    assert not sides[2] & (sides[0] | sides[1])


def test_perfect_answers_score_one_and_true_masks_know_their_labels(split):
    truth = classify.true_labels(split.test)
    for field in split.test:
        np.testing.assert_array_equal(truth[field.id], field.cell_labels)
    assert scoring.score_cells(split.test, truth.values()).mean("present") == 1


def test_a_part_of_a_source_is_its_fields(split):
    source = split.training
    places = [5, 2, 9]
    part = source.part(places)
    assert [field.id for field in part] == part.ids == [source.ids[place] for place in places]
    np.testing.assert_array_equal(part.labels, source.labels[places])
    assert list(part.table["group_id"]) == list(source.table["group_id"].iloc[places])
    assert part.part([2])[0].id == source[9].id
    assert part.name != source.part([5, 9, 2]).name
    np.testing.assert_array_equal(part[0].found.cells, source[5].truth.cells)


def test_names_of_networks_know_config_data_and_start(split, tmp_path):
    shelf = weak_labels.Shelf(tmp_path, "simulated")
    config = localize.Config()
    folders = [
        shelf.folder("field", config, split.training, split.validation, ""),
        shelf.folder("field", dataclasses.replace(config, seed=2), split.training, split.validation, ""),
        shelf.folder("field", config, split.training.part([0, 1]), split.validation, ""),
        shelf.folder("field", config, split.training, split.test, ""),
        shelf.folder("field", config, split.training, split.validation, "cell a"),
        shelf.folder("ceiling", config, split.training, split.validation, ""),
    ]
    assert len(set(folders)) == len(folders)
    assert folders[0] == shelf.folder("field", localize.Config(), split.training, split.validation, "")


def test_localize_cells_reads_cells_off_maps(atlases, tmp_path):
    own = ["--recipe.window", "32", "--recipe.um-per-pixel", "1.28", "--recipe.optimizer.steps", "2"]
    assert localize_cells.main([*command(atlases, tmp_path), *own, "--recipe.tta", "1"]) == 0
    folder = tmp_path / "default" / "seed1"
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    ways = ("maps", "maps by strength in the field", "maps by sigmoid", "field copied")
    assert set(metrics) == {"field mAP", *(f"cell mAP, {name}" for name in ways)}
    assert isinstance(models.load(folder / localize.FILE), models.FieldClassifier)


def test_classify_cells_learns_what_each_cell_shows(atlases, tmp_path):
    own = ["--recipe.resolution", "32", "--recipe.optimizer.steps", "2", "--recipe.tta", "1"]
    assert classify_cells.main([*command(atlases, tmp_path), *own, "--recipe.labels", "cells"]) == 0
    folder = tmp_path / "default" / "seed1"
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert 0 < metrics["cell mAP"] < 1
    assert metrics["matched IoU"] == 1
    assert isinstance(models.load(folder / classify.FILE), models.CellClassifier)


@pytest.mark.parametrize("module", [localize_cells, classify_cells, combine_labels])
def test_every_arm_of_every_sweep_and_preset_is_a_config(module):
    arms = [arm for differences in module.SWEEPS.values() for arm in differences]
    for difference in [*arms, *getattr(module, "PRESETS", {}).values()]:
        config = launch.replaced(module.Config(), difference)
        assert launch.replaced(config, difference) == config


def test_label_cells_labels_every_cell_of_a_folder_and_names_what_is_broken(combined, tmp_path):
    folder, workdir = tmp_path / "fields", tmp_path / "labelled"
    dummy.write(folder, kaggle=2, proteinatlas=1, size=192, seed=3)
    broken = next(folder.glob("**/*_green.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    networks = [str(combined / name) for name in (localize.FILE, classify.FILE)]
    asked = ["--fields", str(folder), "--models", *networks, "--um-per-pixel", str(dummy.UM_PER_PIXEL)]
    asked += ["--tta", "1", "--segmenter", "classical", "--no-explorer", "--workdir", str(workdir)]
    assert label_cells.main(asked) == 1
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
    assert label_cells.main(asked) == 1
    assert {path: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()} == before
    assert anndata.read_h5ad(workdir / "cells.h5ad").obsm["prob"].tolist() == cells.obsm["prob"].tolist()


def test_true_masks_take_the_place_of_those_that_were_found(split):
    found = split._replace(test=split.test.with_masks(lambda field: field.truth.resized(field.image.shape[:2])))
    exact = weak_study.with_masks(found)
    assert exact.test[0].masks is not None
    np.testing.assert_array_equal(exact.test[0].found.cells, found.test[0].truth.cells)
    assert exact.training is found.training


def test_a_submission_has_every_cell_and_is_all_or_nothing(split, tmp_path):
    truth = list(classify.true_labels(split.test).values())
    weak_report.submit(split.test, truth, tmp_path)
    assert weak_report.submission_map(split.test, tmp_path) == pytest.approx(
        scoring.score_cells(split.test, truth).mean()
    )
    with pytest.raises(ValueError, match="zip"):
        weak_report.submit(split.test, truth[:-1], tmp_path / "short")
    assert not (tmp_path / "short" / "submission.csv").exists()


@pytest.mark.slow
def test_distillation_learns_from_proteins_left_out(atlases, tmp_path):
    assert combine_labels.main([*command(atlases, tmp_path), *WINDOW, *STEPS]) == 0
    folder = tmp_path / "default" / "seed1"
    record = json.loads((folder / "result.json").read_text())
    assert {"mAP, distilled", "mAP, ensemble, distilled", "mAP, labels × distilled"} <= set(record["metrics"])
    assert len(list((tmp_path / "models").glob("cell-without-fold*-of-2-*"))) == 2
    student, plain = (models.load_network(folder / name) for name in FILES)
    assert student.architecture == plain.architecture == "cell-net"
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), student.params, plain.params)
    assert not all(jax.tree.leaves(same))


def link(real, folder, count):
    """The first real fields of 512 pixels as Kaggle ships them: `train`, and `train.csv` beside it."""
    (folder / "train").mkdir(parents=True)
    with (real / "fields.csv").open(newline="", encoding="utf-8") as file:
        known = [row for row in csv.DictReader(file) if (row["folder"], row["size"]) == ("kaggle", "512")][:count]
    for row in known:
        for colour in atlas.COLOURS.values():
            name = f"{row['id']}_{colour}.png"
            os.symlink(real / "kaggle" / name, folder / "train" / name)
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["ID", "Label"], *([row["id"], row["labels"]] for row in known)])
    return folder


STOPPING = """
from hpax.recipes import localize


def stopped(*_, **__):
    raise KeyboardInterrupt


localize.train_model = stopped
"""
"""Ends a study where it would train its image-level model."""


def on_one_device(arguments, before=""):
    """The exit status of `combine_labels` in a process of its own, whose one device allows small batches."""
    code = f"{before}\nfrom experiments import combine_labels\nraise SystemExit(combine_labels.main({arguments!r}))"
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False).returncode


@pytest.mark.slow
@pytest.mark.real
def test_the_published_preset_takes_steps_on_real_fields_and_goes_on_where_it_was_stopped(real_data, tmp_path):
    folder = link(real_data / "hpa_fields", tmp_path / "fields", 8)
    asked = ["--preset", "le2022", "--fields", str(folder), "--cross-validate", "0", "--masks", "classical"]
    for kind in ("field", "cell"):
        asked += [f"--{kind}.optimizer.epochs", "0", f"--{kind}.optimizer.steps", "3"]
        asked += [f"--{kind}.optimizer.batch-size", "2", f"--{kind}.tta", "1"]
    asked += ["--cell.cells", "1", "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]

    assert on_one_device(asked, STOPPING) == 130
    ends = "*/checkpoints/latest/*/commit_success.txt"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "models").glob(ends)}
    assert len({path.parents[3] for path in before}) == 1
    assert on_one_device(asked) == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "models").glob(ends)}
    assert len({path.parents[3] for path in after}) == 2
    assert {path: after[path] for path in before} == before
    ensemble = models.load(tmp_path / "run" / "default" / "seed1" / "models")
    assert [net.options["backbone"] for net in ensemble.networks] == ["efficientnet-b0", "inception-v3"]
    assert [net.size for net in ensemble.networks] == [512, 128]
