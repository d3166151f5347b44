"""Features from elsewhere enter every benchmark by file."""

import dataclasses
import json

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import compare_features
from hpax import launch
from hpax.features import benchmarks

FEW = ["--k", "5", "--trees", "10"]


@pytest.fixture
def tables(tmp_path):
    """Ours, which knows the class; theirs, in another order, which knows nothing; 120 cells of 12 proteins."""
    rng = np.random.default_rng(0)
    protein = np.repeat(np.arange(12), 10)
    obs = pd.DataFrame(
        {"label": np.array(["er", "golgi", ""])[np.where(protein > 9, 2, protein % 2)], "protein": protein.astype(str)},
        index=[f"{own}_{number}" for number, own in enumerate(protein)],
    ).assign(cell_line=np.array(["U2OS", "A431"])[protein // 2 % 2], group_id=protein.astype(str))
    ours = (protein % 2)[:, None] * 3.0 + rng.normal(size=(120, 4))
    var = pd.DataFrame({"layer": ["conv1", "conv1", "conv2", "conv2"]}, index=list("abcd"))
    anndata.AnnData(ours.astype(np.float32), obs=obs, var=var).write_h5ad(tmp_path / "ours.h5ad")
    order = rng.permutation(120)
    pd.DataFrame(rng.normal(size=(120, 3)), index=obs.index[order]).to_csv(tmp_path / "theirs.csv")
    return tmp_path


def test_every_benchmark_has_a_value_with_its_interval(tables, capsys):
    command = ["--h5ad", str(tables / "theirs.csv"), "--against", str(tables / "ours.h5ad"), *FEW]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 0
    assert "note: fields are not ranked, as ours has no 0/1 labels" in capsys.readouterr().out
    folder = tables / "run" / "default" / "seed0"
    record = json.loads((folder / "result.json").read_text())
    metrics, scores = record["metrics"], pd.read_csv(folder / "scores.csv")
    assert record["counts"] == {"cells": 100, "groups": 10, "classes": 2, "left out": 20}
    ahead = scores[scores["features"].str.contains(" minus ")]
    assert len(ahead) == 2  # the best of three minus each other, over the same proteins
    assert ahead["features"].str.endswith("minus theirs").any()
    layer = ahead["features"][~ahead["features"].str.endswith("minus theirs")].item()
    shown = [name for name in record["headline"] if " minus " in name]
    assert shown, "the best set of all is compared with the best layer of each other table"
    assert all(name.partition(", ")[0].endswith("minus theirs") for name in shown)
    assert f"{layer}, kNN k 5" in metrics
    assert (ahead["low"] > 0.2)[ahead["features"].str.endswith("minus theirs")].all()
    scores = scores.drop(ahead.index)
    assert set(scores["features"]) == {"ours conv1", "ours conv2", "theirs"}
    assert len(scores) == 3 * 6
    assert ((scores["low"] <= scores["value"]) & (scores["value"] <= scores["high"])).mean() > 0.9
    assert metrics["ours conv1, kNN k 5"] > 0.9 > 0.7 > metrics["theirs, kNN k 5"]
    assert metrics["ours conv1, logistic regression"] > metrics["theirs, logistic regression"]
    assert metrics["ours conv2, pairwise distance"] < -0.2 < -0.1 < metrics["theirs, pairwise distance"]
    assert "ours conv2" in (folder / "index.html").read_text()


def test_missing_cells_are_named_or_dropped(tables, capsys):
    theirs = pd.read_csv(tables / "theirs.csv", index_col=0)
    theirs.drop(index=["3_30", "0_5"]).to_csv(tables / "theirs.csv")
    command = ["--h5ad", str(tables / "theirs.csv"), "--against", str(tables / "ours.h5ad"), *FEW, "--no-classifiers"]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 2
    told = capsys.readouterr().err
    assert "it lacks 2: 0_5, 3_30" in told
    assert "--missing drop" in told
    assert compare_features.main([*command, "--missing", "drop", "--workdir", str(tables / "drop")]) == 0
    record = json.loads((tables / "drop" / "default" / "seed0" / "result.json").read_text())
    assert (record["counts"]["cells"], record["counts"]["left out"]) == (98, 22)
    assert compare_features.main([*command, "--label", "gene", "--workdir", str(tables / "no")]) == 2
    assert "it lacks gene" in capsys.readouterr().err


def test_classes_of_one_group_each_cannot_be_told_and_the_way_out_is_named(tables, capsys):
    command = ["--against", str(tables / "ours.h5ad"), *FEW, "--no-classifiers", "--workdir", str(tables / "run")]
    assert compare_features.main([*command, "--protocol", "label"]) == 2
    told = capsys.readouterr().err
    assert "a class must occur in two groups by label to be told, none of 2 does" in told
    assert "--protocol, such as field" in told


def test_what_is_not_known_is_no_class_and_no_group(tables, capsys):
    obs = pd.DataFrame({"label": ["er", np.nan, "golgi"], "protein": ["a", "b", None], "cell_line": ["x", "x", np.nan]})
    with pytest.raises(ValueError, match="every cell needs a class, 1 have none"):
        benchmarks.Known.of(obs, protocol="protein")
    with pytest.raises(ValueError, match="every cell needs a protein, 1 have none"):
        benchmarks.Known.of(obs[obs["label"].notna()], protocol="protein")
    obs["label"], obs["protein"] = pd.Categorical(["er", "er", "golgi"]), ["a", "b", "c"]
    assert benchmarks.Known.of(obs, protocol="protein").lines is None
    table = anndata.read_h5ad(tables / "ours.h5ad")
    table.obs["label"] = table.obs["label"].astype(object).where(table.obs["label"] != "", np.nan)
    table.obs.loc[table.obs_names[:2], "protein"] = np.nan
    table.write_h5ad(tables / "ours.h5ad")
    command = ["--h5ad", str(tables / "theirs.csv"), "--against", str(tables / "ours.h5ad"), *FEW, "--no-classifiers"]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 1
    assert "every cell needs a protein, 2 have none" in capsys.readouterr().err


def test_without_images_a_group_in_a_cell_line_is_one():
    rng = np.random.default_rng(0)
    protein = np.arange(64) // 4 % 8
    obs = pd.DataFrame({"label": np.array(["er", "golgi"])[protein % 2], "protein": protein.astype(str)})
    known = benchmarks.Known.of(obs.assign(cell_line=np.repeat(["x", "y"], 32)), protocol="protein")
    assert len(np.unique(known.images)) == 16
    scores = benchmarks.far("theirs", rng.normal(size=(64, 3)), known)
    assert [score.benchmark.removeprefix("pairwise distance") for score in scores] == [
        "",
        ", same cell line",
        ", different cell lines",
    ]
    assert benchmarks.Known.of(obs, protocol="protein").images.tolist() == protein.astype(str).tolist()


def test_images_of_one_protein_are_not_held_against_each_other():
    """Each protein has its own spot in both of its images; its class means nothing."""
    rng = np.random.default_rng(1)
    protein = np.arange(160) // 5 % 16
    obs = pd.DataFrame({"label": np.array(["er", "golgi"])[protein % 2], "protein": protein.astype(str)})
    obs["group_id"] = (np.arange(160) // 5).astype(str)
    features = rng.normal(size=(16, 4))[protein] + 0.01 * rng.normal(size=(160, 4))
    known = benchmarks.Known.of(obs, protocol="protein")
    (score,) = benchmarks.far("theirs", features, known)
    (spoilt,) = benchmarks.far("theirs", features, dataclasses.replace(known, groups=known.images))
    assert spoilt.interval.value < score.interval.value - 0.05


def test_tables_of_one_name_are_told_apart_by_their_folders(tables, capsys):
    names = []
    for folder in ("mine", "yours"):
        (tables / folder).mkdir()
        names.append(tables / folder / "features.h5ad")
        names[-1].write_bytes((tables / "ours.h5ad").read_bytes())
    command = ["--h5ad", str(names[0]), "--against", str(names[1]), *FEW, "--no-classifiers"]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 0
    scores = pd.read_csv(tables / "run" / "default" / "seed0" / "scores.csv")
    assert {"mine conv1", "yours conv2"} <= set(scores["features"])
    assert compare_features.distinct(names) == ["mine", "yours"]
    with pytest.raises(launch.LaunchError, match="two are mine"):
        compare_features.distinct([names[0], names[0]])


@pytest.mark.parametrize("name", ["theirs [2]", "o'theirs", "t" * 120])
def test_names_that_no_result_can_have_are_refused_before_anything_is_asked(tables, name, capsys):
    (tables / "theirs.csv").rename(tables / f"{name}.csv")
    command = ["--h5ad", str(tables / f"{name}.csv"), "--against", str(tables / "ours.h5ad"), *FEW]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 2
    assert "cannot name a metric" in capsys.readouterr().err
    assert not list((tables / "run").rglob("scores.csv"))


def test_fields_of_several_classes_are_ranked_by_all_cells(tables):
    """Those of no single class are asked about, too; of the cells that all tables have."""
    ours = anndata.read_h5ad(tables / "ours.h5ad")
    protein = ours.obs["protein"].to_numpy(int)
    ours.obs["field"] = ours.obs["protein"]
    ours.obsm["labels"] = np.stack([protein % 2 == 0, protein % 2 == 1, protein > 9], axis=1).astype(np.uint8)
    ours.write_h5ad(tables / "ours.h5ad")
    theirs = pd.read_csv(tables / "theirs.csv", index_col=0)
    theirs[~theirs.index.str.startswith("3_")].to_csv(tables / "theirs.csv")
    command = ["--h5ad", str(tables / "theirs.csv"), "--against", str(tables / "ours.h5ad"), *FEW, "--no-classifiers"]
    assert compare_features.main([*command, "--missing", "drop", "--workdir", str(tables / "run")]) == 0
    folder = tables / "run" / "default" / "seed0"
    scores = pd.read_csv(folder / "scores.csv")
    scores = scores[scores["benchmark"] == "field mAP k 5"].set_index("features")
    assert len(scores) == 3 + 2
    assert (scores["groups"] == 11).all()
    assert (scores["classes"] == 2).all()  # the third one is shown by two fields
    assert (scores["cells"] == 110).all()
    best = max(("ours conv1", "ours conv2"), key=lambda name: scores["value"][name])
    assert scores["value"][best] > 0.9
    assert scores["low"][f"{best} minus theirs"] > 0
    assert "field mAP k 5" in (folder / "index.html").read_text()
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["theirs, field mAP k 5"] == pytest.approx(scores["value"]["theirs"])


def test_labels_of_cells_are_no_labels_of_fields():
    obs = pd.DataFrame({"field": ["a", "a", "b"]})
    of_fields = np.array([[1, 1], [1, 1], [0, 1]])
    assert benchmarks.FieldLabels.of(obs, of_fields) is not None
    assert benchmarks.FieldLabels.of(obs, np.array([[1, 1], [0, 1], [0, 1]])) is None  # cells of a field differ
    assert benchmarks.FieldLabels.of(obs, np.array([[1, 0], [1, 0], [0, 1]])) is None  # one class each
    assert benchmarks.FieldLabels.of(obs.assign(field=["a", "a", ""]), of_fields) is None
    assert benchmarks.FieldLabels.of(obs.drop(columns="field"), of_fields) is None
    assert benchmarks.FieldLabels.of(obs, None) is None
    known = benchmarks.FieldLabels.of(obs.assign(protein=["p", "p", "q"]), of_fields)
    assert known.groups.tolist() == ["p", "p", "q"]
    for proteins in (["p", "q", "q"], ["p", "p", ""]):  # a field of two proteins; one that is not known
        assert benchmarks.FieldLabels.of(obs.assign(protein=proteins), of_fields).groups.tolist() == ["a", "a", "b"]
