"""Anyone's folder of labelled fields, from its table to models, labels and a page: on fields drawn by code."""

import csv
import json
import logging
import pathlib

import anndata
import numpy as np
import pytest
import tyro
from PIL import Image

from experiments import combine_labels
from hpax import atlas, data, models
from hpax.data import mask_sources, splits
from hpax.data.hpa_fields import dummy
from hpax.fields import Field
from hpax.formats import kaggle, label_images
from hpax.formats import masks as mask_files
from hpax.recipes import classify, data_configs, datasets, folder_study, localize

SIZE = 128  # pixels; four cells to a field
FIELDS = 13
UNLABELLED = f"{FIELDS - 1:08x}-bb9b-11e8"
GENES = {0: "GENE0", 1: "GENE0"}  # two fields of one protein
FLAGS = ["--masks", "classical", "--um-per-pixel", str(dummy.UM_PER_PIXEL)]
FLAGS += ["--field.window", "32", "--field.um-per-pixel", "1.28", "--cell.resolution", "32"]
FLAGS += ["--field.optimizer.steps", "2", "--cell.optimizer.steps", "2", "--field.tta", "1", "--cell.tta", "1"]


def draw(folder, fields, seed, labels):
    """A folder as Kaggle ships it: pictures in `train`, and beside it `train.csv`, if there are labels."""
    dummy.write(folder / "draft", kaggle=fields, proteinatlas=0, size=SIZE, seed=seed)
    (folder / "draft" / "kaggle").rename(folder / "train")
    (folder / "draft" / "fields.csv").unlink()
    (folder / "draft").rmdir()
    if labels is not None:
        with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["ID", "Label", "gene"], *labels])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirteen fields, the last without a label."""
    rows = []
    for number in range(FIELDS - 1):
        label = f"{number % 3}|16" if number % 4 == 0 else str(number % 3)
        rows.append([f"{number:08x}-bb9b-11e8", label, GENES.get(number, "")])
    return draw(tmp_path_factory.mktemp("fields"), FIELDS, 0, rows)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Two other fields without a table."""
    return draw(tmp_path_factory.mktemp("others"), 2, 9, None)


@pytest.fixture(scope="module")
def truth(others, tmp_path_factory):
    """The cells of these as the segmenter finds them, as a solution lists them: all of class 0."""
    shared = tmp_path_factory.mktemp("shared")
    source = datasets.open_folder(
        datasets.Data(fields=others, um_per_pixel=dummy.UM_PER_PIXEL, masks="classical", data_dir=shared),
        labelled=False,
    )
    path = shared / "truth.csv"
    with kaggle.writing(path) as add:
        for field in source:
            shown = np.zeros((len(field.found), len(atlas.LOCATIONS)), np.uint8)
            shown[:, 0] = 1
            add(label_images.listing(field.id, field.found.cells, label_images.truth_scores(shown)))
    return path


@pytest.fixture(scope="module")
def run(folder, others, truth, tmp_path_factory):
    """The folder of a cross-validated run that labels another folder, and what it warned of."""
    workdir = tmp_path_factory.mktemp("run")
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        asked = ["--fields", str(folder), "--cross-validate", "2", "--test", str(others), "--truth", str(truth)]
        asked += [*FLAGS, "--data-dir", str(workdir / "data"), "--workdir", str(workdir)]
        assert combine_labels.main(asked) == 0
    finally:
        logging.getLogger().removeHandler(handler)
    return workdir / "default" / "seed1", told


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_field_without_a_label_is_left_out_counted_and_warned_of(run):
    folder, told = run
    counts = json.loads((folder / "result.json").read_text())["counts"]
    assert counts["fields"] == FIELDS - 1
    assert counts["test fields"] == 2
    assert any(f"1 of {FIELDS} fields" in line and "have no label" in line for line in told), told
    assert UNLABELLED not in {row["id"] for row in rows(folder / "split.csv")}


def test_a_group_is_on_one_side(run):
    split = rows(run[0] / "split.csv")
    assert len(split) == FIELDS - 1
    folds = {}
    for row in split:
        folds.setdefault(row["group"], set()).add(row["split"])
    assert all(len(sides) == 1 for sides in folds.values())
    assert sorted({row["split"] for row in split}) == ["0", "1"]
    assert splits.read_split(run[0] / "split.csv") == {row["id"]: row["fold"] for row in rows(run[0] / "fields.csv")}
    group = {row["id"]: row["group"] for row in split}
    assert group["00000000-bb9b-11e8"] == group["00000001-bb9b-11e8"]
    assert len(set(group.values())) == FIELDS - 2


def test_cards_say_how_far_to_trust_each_class(run):
    ensemble = models.load(run[0] / "models")
    assert len(ensemble.networks) == 2
    for network in ensemble.networks:
        head, *table = models.card_table(network.card, "Classes")
        assert head == ["class", "fields", "chance", "AP, together", "AP, by itself", "trust"]
        assert [int(row[1]) for row in table[:4]] == sorted((int(row[1]) for row in table), reverse=True)[:4]
        assert len(table) == len(atlas.LOCATIONS)
        assert {row[-1] for row in table[:3]} <= {"good", "fair", "weak", "do not trust"}
        assert table[3][-1] == "too few fields to tell"
        assert {tuple(row[1:]) for row in table[4:]} == {("0", "0.00", "–", "–", "not known")}
    told = {row[0]: row for row in models.card_table(ensemble.fields[0].network.card, "Classes")}
    metrics = json.loads((run[0] / "result.json").read_text())["metrics"]
    known = [float(row[3]) for row in told.values() if row[3][:2] in ("0.", "1.")]
    assert np.mean(known) == pytest.approx(metrics["field mAP, ensemble"], abs=0.01)


def test_trust_is_what_chance_leaves_open():
    cases = {(8, 0.1, 0.75): "good", (8, 0.1, 0.5): "fair", (8, 0.1, 0.2): "weak", (8, 0.9, 0.905): "do not trust"}
    for (fields, chance, ap), word in cases.items():
        assert folder_study.trust(fields, chance, ap) == word
    assert folder_study.trust(3, 0.1, 1.0) == "too few fields to tell"
    assert folder_study.trust(0, 0.0, float("nan")) == "not known"
    assert folder_study.trust(12, 1.0, 1.0) == "do not trust"


def test_metrics_stand_beside_chance_and_what_they_rest_on(run):
    record = json.loads((run[0] / "result.json").read_text())
    metrics = record["metrics"]
    assert record["data"] == "real"
    for view in ("field", "cells", "ensemble"):
        name = f"field mAP, {view}"
        assert 0 < metrics[f"{name}, low (95%)"] <= metrics[name] <= metrics[f"{name}, high (95%)"] <= 1
    assert metrics["chance"] == pytest.approx((FIELDS - 1 + 3) / 4 / (FIELDS - 1))  # 15 labels of 4 classes
    assert record["counts"]["classes"] == 4
    assert record["counts"]["folds"] == 2


def test_the_submission_passes_the_strict_reader_with_every_cell(run):
    table, cells = kaggle.Table(run[0] / "submission.csv"), anndata.read_h5ad(run[0] / "cells.h5ad")
    assert not table.defects
    assert len(table.entries) == FIELDS - 1
    listed = [table.read(id)[0] for id in table.entries]
    assert sum(listing.masks for listing in listed) == cells.n_obs > 0
    of_fields = rows(run[0] / "fields.csv")
    assert [row["id"] for row in of_fields] == list(table.entries)
    said = np.array([[float(row[name]) for name in atlas.LOCATIONS] for row in of_fields])
    assert ((said >= 0) & (said <= 1)).all()


def test_models_load_and_say_what_was_submitted_of_the_test_folder(run, others):
    folder, _ = run
    ensemble = models.load(folder / "models")
    assert isinstance(ensemble, models.Ensemble)
    assert isinstance(models.load(folder / localize.FILE), models.FieldClassifier)
    assert isinstance(models.load(folder / classify.FILE), models.CellClassifier)
    assert "real fields" in ensemble.networks[0].card
    config = datasets.Data(
        fields=others,
        um_per_pixel=dummy.UM_PER_PIXEL,
        masks="classical",
        data_dir=folder.parents[1] / "data",
    )
    cells = anndata.read_h5ad(folder / "test" / "cells.h5ad")
    found = [ensemble.predict(field).cells for field in datasets.open_folder(config, labelled=False)]
    np.testing.assert_array_equal(np.concatenate(found).astype(np.float32), cells.obsm["prob"])


def test_the_test_folder_is_scored_by_its_truth(run):
    metrics = json.loads((run[0] / "result.json").read_text())["metrics"]
    assert metrics["cell mAP of the test folder, 19 classes"] == pytest.approx(1 / 19)  # all cells are of one class
    assert not kaggle.Table(run[0] / "test" / "submission.csv").defects


def test_the_page_has_chance_and_every_class_that_is_there(run):
    text = (run[0] / "index.html").read_text(encoding="utf-8")
    assert "chance" in text
    assert text.count("<img") == 1
    for label in (0, 1, 2, 16):
        assert atlas.LOCATIONS[label] in text


def test_other_masks_are_taken_where_they_are_given(folder, tmp_path):
    source = data.labelled(folder)
    squares = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((SIZE // 2, SIZE // 2), int)).astype(np.uint16)
    (tmp_path / "masks").mkdir()
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    for files in source.fields:
        mask_files.write(tmp_path / "masks", files.id, squares, squares, image=image, um_per_pixel=0.32)
    found = mask_sources.from_folder(tmp_path / "masks")(Field(id=source.fields[0].id, image=image, um_per_pixel=0.32))
    np.testing.assert_array_equal(found.cells, squares)
    # the folder around them, as the workdir of `hpax segment` is
    config = datasets.Data(fields=folder, um_per_pixel=0.32, masks=tmp_path, data_dir=tmp_path / "data")
    split = datasets.open_fields(config, seed=1)
    assert [len(part) > 0 for part in split[:3]] == [True] * 3
    assert sum(map(len, split[:3])) == FIELDS - 1
    for field in split.test:
        np.testing.assert_array_equal(field.found.cells, squares)
    assert not (tmp_path / "data" / "masks").exists()


@pytest.mark.parametrize("table", [None, "ID,Label\n", "ID,Label\nelsewhere,3\n"])
def test_no_label_at_all_is_an_error_before_a_pixel_is_read(tmp_path, capsys, monkeypatch, table):
    draw(tmp_path / "fields", 2, 0, None)
    if table is not None:
        (tmp_path / "fields" / "train.csv").write_text(table, encoding="utf-8")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was read"))
    asked = ["--fields", str(tmp_path / "fields"), *FLAGS, "--data-dir", str(tmp_path / "data")]
    assert combine_labels.main([*asked, "--workdir", str(tmp_path / "run")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "none of 2 fields in" in told
    assert "table" in told
    assert not (tmp_path / "data").exists()


def test_folds_and_folders_that_make_no_sense_are_refused():
    for folds in (1, -1):
        with pytest.raises(ValueError, match="cross_validate must be 2 or more folds"):
            combine_labels.Config(cross_validate=folds)
    with pytest.raises(ValueError, match="give their folder with --fields"):
        combine_labels.Config(test=pathlib.Path("elsewhere"))
    with pytest.raises(ValueError, match="folds must be 2 or more"):
        combine_labels.Config(folds=1)
    with pytest.raises(ValueError, match="a folder has none"):
        datasets.Data(fields=pathlib.Path("somewhere"), masks="true")


def test_a_split_names_every_field_once(folder, tmp_path):
    found = data.labelled(folder)
    ids = [files.id for files, known in zip(found.fields, found.labelled, strict=True) if known]
    fold = splits.stratified_folds(ids, found.labels[found.labelled], 2, seed=1)
    assert np.bincount(fold).min() == 6
    for label in (0, 1, 2):
        assert set(fold[found.labels[found.labelled][:, label] > 0].tolist()) == {0, 1}


@pytest.mark.parametrize("own", [["networks"], ["classical"], ["runs/cells", "folder"]])
def test_masks_are_found_or_come_from_a_folder_by_one_option(own):
    told = tyro.cli(data_configs.Data, args=["--masks", own[0]])
    assert told.masks == (pathlib.Path(own[0]) if len(own) > 1 else own[0])
