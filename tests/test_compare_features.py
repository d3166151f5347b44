"""Features from elsewhere enter every benchmark by file."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import compare_features

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


def test_every_benchmark_has_a_value_with_its_interval(tables):
    command = ["--h5ad", str(tables / "theirs.csv"), "--against", str(tables / "ours.h5ad"), *FEW]
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 0
    folder = tables / "run" / "default" / "seed0"
    record = json.loads((folder / "result.json").read_text())
    metrics, scores = record["metrics"], pd.read_csv(folder / "scores.csv")
    assert record["counts"] == {"cells": 100, "groups": 10, "classes": 2, "left out": 20}
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
    assert compare_features.main([*command, "--workdir", str(tables / "run")]) == 1
    assert "it lacks 2: 0_5, 3_30" in capsys.readouterr().err
    assert compare_features.main([*command, "--missing", "drop", "--workdir", str(tables / "drop")]) == 0
    record = json.loads((tables / "drop" / "default" / "seed0" / "result.json").read_text())
    assert (record["counts"]["cells"], record["counts"]["left out"]) == (98, 22)
    assert compare_features.main([*command, "--label", "gene", "--workdir", str(tables / "no")]) == 1
    assert "it lacks gene" in capsys.readouterr().err
