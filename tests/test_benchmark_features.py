"""One command describes cells by every baseline and asks every benchmark."""

import dataclasses
import json

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import benchmark_features
from hpax import launch, models
from hpax.data.cell_crops import dummy
from hpax.recipes import configs
from hpax.recipes.cells import Data, open_cells


def _result(folder):
    return json.loads((folder / "default" / "seed0" / "result.json").read_text())


@pytest.mark.slow
def test_every_baseline_is_asked_every_benchmark(tmp_path):
    names = ["inpainting", "intensity", "classic", "supervised"]
    command = ["--fast", "--features", *names, "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]
    assert benchmark_features.main(command) == 0
    record, folder = _result(tmp_path / "run"), tmp_path / "run" / "default" / "seed0"
    metrics, scores = record["metrics"], pd.read_csv(folder / "scores.csv")
    assert record["data"] == "simulated"
    values = [name for name in record["headline"] if "95%" not in name]
    assert {f"{name}, {kind}" for name in names for kind in ("logistic regression", "random forest")} <= set(values)
    assert all(name in metrics for name in values)
    assert set(names) == {name.removeprefix("best ") for name in values if name.startswith("best ")}
    first = max(names, key=lambda name: metrics[f"best {name}"])
    for name in set(names) - {first}:
        lead = metrics[f"best {first}"] - metrics[f"best {name}"]
        assert metrics[f"ahead of {name}"] == pytest.approx(lead)
        assert metrics[f"ahead of {name}, low (95%)"] <= lead <= metrics[f"ahead of {name}, high (95%)"]
    asked = set(scores[scores["features"] == "classic"]["benchmark"])
    asked -= {"pairwise distance, same cell line"}  # so few proteins may share no line
    assert asked == {
        "kNN k 1",
        "kNN k 11",
        "logistic regression",
        "random forest",
        "pairwise distance",
        "pairwise distance, different cell lines",
        *(f"linear, {share}% of labels" for share in (1, 5, 10, 100)),
        "half the gain",
        "blur of 1 pixel",
        "bleed-through of 0.3",
        "another cell line",
    }
    assert metrics["best inpainting"] == max(metrics[f"inpainting {layer}, kNN k 11"] for layer in configs.LAYERS)
    knn = scores[scores["benchmark"].str.startswith("kNN")]
    assert ((knn["low"] <= knn["value"]) & (knn["value"] <= knn["high"])).mean() > 0.8
    # of stretched crops a lower gain changes nothing but rounding; brightness it does change
    gain = scores.set_index(["features", "benchmark"])["value"]
    assert gain["intensity", "half the gain"] != gain["intensity", "kNN k 11"]
    tables = [anndata.read_h5ad(folder / f"{name}.h5ad") for name in names]
    for table in tables:
        assert (table.obs_names == tables[0].obs_names).all()
        assert table.obsm["spatial"].shape == (table.n_obs, 2)
        assert np.isfinite(table.obsm["spatial"]).all()
        assert list(table.uns["label_columns"]) == ["label"]
    assert "Classes" in (folder / "index.html").read_text()


def test_real_cells_leave_the_ceiling_out_and_wrong_requests_are_told(tmp_path, capsys):
    dummy.write(tmp_path / "crops", "yeast")
    command = ["--fast", "--cells", "yeast", "--folder", str(tmp_path / "crops"), "--data-dir", str(tmp_path / "data")]
    command += ["--features", "pixels", "supervised", "--no-classifiers", "--no-robustness"]
    assert benchmark_features.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    assert "supervised is left out" in capsys.readouterr().out
    record = _result(tmp_path / "run")
    assert record["data"] == "real"
    assert "best supervised" not in record["metrics"]
    with pytest.raises(ValueError, match="features must be of"):
        benchmark_features.Config(features=("magic",))


def test_an_encoder_of_cells_prepared_in_another_way_is_refused(tmp_path):
    """Its features would be finite, and wrong."""
    dummy.write(tmp_path / "crops", "human")
    cells = open_cells(Data(cells="human", folder=tmp_path / "crops", data_dir=tmp_path / "data"))
    assert benchmark_features.fitting("encode-cells", cells).size == cells.size
    network = models.load_network("encode-cells")
    masked = dataclasses.replace(network, masked=True).save(tmp_path / "masked.safetensors")
    with pytest.raises(launch.LaunchError, match=r"with their neighbours.*hpax embed"):
        benchmark_features.fitting(str(masked), cells)
    with pytest.raises(launch.LaunchError, match="must see protein, nucleus, microtubules at 64"):
        benchmark_features.fitting("label-cells", cells)


def test_encoders_of_one_name_are_refused(tmp_path):
    """Before, the second one took the place of the first, without a word."""
    dummy.write(tmp_path / "crops", "human")
    cells = open_cells(Data(cells="human", folder=tmp_path / "crops", data_dir=tmp_path / "data"))
    copied = models.load_network("encode-cells").save(tmp_path / "encode-cells.safetensors")
    config = benchmark_features.Config(features=(), encoders=("encode-cells", str(copied)))
    with pytest.raises(launch.LaunchError, match=r"two are encode-cells; rename"):
        benchmark_features.described(config, cells, tmp_path)


@pytest.mark.slow
def test_scanpy_takes_a_table_as_it_is(tmp_path):
    scanpy = pytest.importorskip("scanpy", reason="scanpy is no dependency")
    command = ["--fast", "--features", "classic", "--data-dir", str(tmp_path / "data"), "--no-classifiers"]
    assert benchmark_features.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    table = scanpy.read_h5ad(tmp_path / "run" / "default" / "seed0" / "classic.h5ad")
    scanpy.pp.neighbors(table)
    scanpy.tl.umap(table)
    scanpy.tl.leiden(table, flavor="igraph")
    assert table.obsm["X_umap"].shape == (table.n_obs, 2)
