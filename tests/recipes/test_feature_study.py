"""What a study of features asks: spoilt cells of clean voters, and other cell lines of other proteins."""

import anndata
import numpy as np
import pandas as pd
import pytest

from hpax.ops.corruptions import CORRUPTIONS
from hpax.recipes import feature_study
from hpax.recipes.cells import Cells


class _Crops:
    """Crops of one brightness each; counts how often one is read."""

    def __init__(self, values):
        self.values, self.read = values, 0

    def __getitems__(self, rows):
        self.read += len(rows)
        return [{"image": np.full((4, 4, 3), self.values[row], np.uint8)} for row in rows]


def _study(tmp_path, describers, protein, line, values):
    """Two classes, told apart by brightness; every cell is asked about."""
    labels = np.array(["er", "golgi"])[protein % 2]
    obs = pd.DataFrame({"label": labels, "protein": protein.astype(str), "cell_line": line, "query": True})
    source = _Crops(values)
    cells = object.__new__(Cells)  # no shards are needed
    cells.__dict__.update(everything=source, labels=labels, protocol="protein", obs=lambda: obs)
    study = feature_study.Study(cells, describers, tmp_path, k=(1,), best_by=1, seed=0)
    everything = np.stack([crop["image"] for crop in source.__getitems__(range(len(values)))])
    tables = {}
    for name, describe in describers.items():
        features = describe(everything)[name]
        var = pd.DataFrame({"layer": pd.Categorical([name] * features.shape[1])}, index=list("ab"))
        tables[name] = anndata.AnnData(features, obs=obs.set_axis(obs.index.astype(str)), var=var)
    study.__dict__["tables"] = tables
    source.read = 0
    return study, source


def _described(name):
    return lambda crops: {name: np.stack([crops[..., 0].mean((1, 2)), np.zeros(len(crops))], 1).astype(np.float32)}


def test_the_cells_that_vote_are_not_spoilt(tmp_path):
    """At half the gain a bright cell lies at the clean dark ones; among cells all spoilt it would not."""
    protein = np.arange(40) % 8
    values = np.where(protein % 2, 100, 50) + np.arange(40) // 8
    describers = {name: _described(name) for name in ("one", "two")}
    study, source = _study(tmp_path, describers, protein, np.full(40, "U2OS"), values)
    scores = {(score.features, score.benchmark): score.interval.value for score in study.robustness()}
    assert scores["one", "blur of 1 pixel"] == 1
    assert scores["one", "half the gain"] == scores["two", "half the gain"] == pytest.approx(0.5)
    assert source.read == len(CORRUPTIONS) * 40


def test_another_cell_line_is_of_another_protein_as_well(tmp_path):
    """Each protein has its own brightness in both lines: alone it tells a class by itself only."""
    rng = np.random.default_rng(0)
    protein = np.arange(96) % 12
    brightness = rng.permutation(12) * 20 + 10
    study, _ = _study(
        tmp_path,
        {"one": _described("one")},
        protein,
        np.array(["U2OS", "A431"])[np.arange(96) // 48],
        brightness[protein],
    )
    (score,) = [each for each in study.robustness() if each.benchmark == "another cell line"]
    assert score.interval.value < 0.8
    assert score.groups == 12
    assert score.interval.sd > 0


def test_classes_are_those_of_the_layers_search(tmp_path, monkeypatch):
    protein = np.arange(40) % 8
    study, _ = _study(tmp_path, {"one": _described("one")}, protein, np.full(40, "U2OS"), 50 * (protein % 2) + 50)
    (score,) = study.layers
    monkeypatch.setattr(feature_study.neighbours, "benchmark", None)
    names, recall = study.classes()["one"]
    assert names == ("er", "golgi")
    assert recall.mean() == score.interval.value


def test_fields_are_asked_where_they_show_several_classes(tmp_path):
    """All cells count, those of no single class as well."""
    field = np.arange(60) % 12
    labels = np.zeros((60, 19), np.uint8)
    labels[:, :3] = np.stack([field % 2 == 0, field % 2 == 1, field < 6], axis=1)
    describers = {"one": _described("one"), "noise": _described("noise")}
    study, _ = _study(tmp_path, describers, field, np.full(60, "U2OS"), 50 * (field % 2) + 50)
    assert study.fields == {}
    assert feature_study.of_fields(study) == {}
    study, _ = _study(tmp_path, describers, field, np.full(60, "U2OS"), 50 * (field % 2) + 50)
    for table in study.tables.values():
        table.obs["field"], table.obs["label"] = field.astype(str), np.where(field < 6, "", "er")
        table.obsm["labels"] = labels
    study.tables["noise"].X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    values = feature_study.of_fields(study)
    assert study.fields["one"].cells == 60
    assert study.fields["one"].ap[1][:2].tolist() == [1, 1]
    assert values["fields, best one"] > values["fields, best noise"]
    lead = values["fields, best one"] - values["fields, best noise"]
    assert values["fields, ahead of noise"] == pytest.approx(lead)
    assert values["fields, ahead of noise, low (95%)"] > 0
    assert 0 < values["fields, chance"] < 1
    assert {score.benchmark for score in study.of_fields} == {"field mAP k 1"}
