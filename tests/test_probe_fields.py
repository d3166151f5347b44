"""Real fields, cross-validated: no group is on both sides, nothing is chosen by the fields asked about."""

import json

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score

from experiments import localize_cells, probe_fields
from hpax import data, models, train
from hpax.data.hpa_fields import dummy
from hpax.nn.heads import CamNet
from hpax.nn.plain import Plain
from hpax.tasks.localize import Localization


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight fields."""
    folder = tmp_path_factory.mktemp("fields")
    dummy.write(folder, kaggle=8, proteinatlas=0, size=64, seed=3)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network's file, as localize_cells leaves it."""
    batch = {"image": np.zeros((8, 32, 32, 4), np.float32), "mask": np.ones(8, np.float32)}
    state = train.create(Localization(CamNet(Plain())), localize_cells.optimizer(probe_fields.Config()), batch, seed=9)
    path = tmp_path_factory.mktemp("trained") / "localize.safetensors"
    localize_cells.keep(localize_cells.Config(), jax.tree.map(np.asarray, state), path, "cam-net", 32, 1.0)
    return path


def config(folder, tmp_path, **changes):
    sizes = {"resolution": 32, "folds": 2, "least": 1, "steps": 1, "batch_size": 8}
    return probe_fields.Config(folder=folder, data_dir=tmp_path / "data", **(sizes | changes))


@pytest.mark.parametrize(
    ("method", "init"), [("probe", "intensity"), ("probe", "fresh"), ("finetune", "fresh"), ("finetune", "file")]
)
def test_every_field_is_answered_for_and_nothing_is_left_on_disk(folder, trained, tmp_path, method, init):
    command = ["--folder", str(folder), "--method", method, "--init", init, "--file", str(trained)]
    command += ["--resolution", "32", "--folds", "2", "--least", "1", "--steps", "1", "--batch-size", "8"]
    assert probe_fields.main([*command, "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]) == 0
    arm = tmp_path / "run" / "default" / "seed0"
    assert {path.name for path in arm.iterdir()} == {"config.json", "result.json"}
    record = json.loads((arm / "result.json").read_text())
    counts, metrics = record["counts"], record["metrics"]
    assert record["data"] == "real"
    assert counts["fields"] == 8
    labels = data.build("hpa_fields", tmp_path / "data", source=folder).labels
    classes = {name: count for name, count in counts.items() if name.startswith("fields of ")}
    assert sorted(classes.values()) == sorted(labels.sum(0)[labels.sum(0) > 0].tolist())
    assert len(classes) == counts["classes"]
    assert 0 < metrics["low (95%)"] <= metrics["high (95%)"] <= 1


def test_folds_ask_about_every_field_once_and_share_no_group():
    group = np.random.default_rng(0).integers(0, 15, 60)
    for seed in range(5):
        sides = list(probe_fields.folds(probe_fields.Config(folds=4, seed=seed), group))
        assert sorted(np.concatenate([asked for _, asked in sides])) == list(range(60))
        for known, asked in sides:
            assert not set(group[known]) & set(group[asked])
            assert len(known) + len(asked) == 60


def test_answers_go_back_to_the_fields_that_were_asked_about():
    group = np.random.default_rng(1).permutation(20)
    found = probe_fields.cross_validated(probe_fields.Config(), group, lambda known, asked: asked[:, None] / 20)
    np.testing.assert_array_equal(found[:, 0], np.arange(20) / 20)


def test_a_probe_is_blind_to_fields_of_the_same_group():
    config = probe_fields.Config(folds=4, strengths=(100.0,))
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(16), 2)
    known = rng.integers(0, 2, (16, 1))[group]
    twins = np.eye(16)[group]  # each group has a feature of its own: useless where the group is left out
    blind, sighted = (
        probe_fields.cross_validated(config, each, probe_fields.probed(config, twins, known, each))
        for each in (group, np.arange(32))
    )
    assert np.abs(sighted - known).mean() < 0.5 * np.abs(blind - known).mean()


def test_the_penalty_is_chosen_without_the_fields_asked_about():
    rng = np.random.default_rng(2)
    x, labels, group = rng.normal(size=(40, 6)), rng.integers(0, 2, (40, 2)), np.arange(40)
    known, asked = np.arange(30), np.arange(30, 40)
    config = probe_fields.Config(folds=3, strengths=(1e-3, 1.0))
    said = probe_fields.probed(config, x, labels, group)(known, asked)
    other = np.where(np.arange(40)[:, None] < 30, labels, 1 - labels)
    np.testing.assert_array_equal(probe_fields.probed(config, x, other, group)(known, asked), said)


def test_the_penalty_is_strong_for_noise_and_weak_where_only_that_tells_classes_apart():
    rng = np.random.default_rng(3)
    labels = np.repeat([[0], [1]], 30, axis=0)
    loud = rng.normal(size=(60, 1))
    faint = 1e-3 * (labels - 0.5 + 0.1 * rng.normal(size=(60, 1)))
    x = np.hstack([loud, loud + faint])  # the classes differ in the difference of two features that are nearly one
    free = probe_fields.Config(folds=3, strengths=(1e-4, 1e8))
    kept = dict.fromkeys(free.strengths, 0.0)
    for strength in kept:
        fixed = probe_fields.Config(folds=3, strengths=(strength,))
        prob = probe_fields.cross_validated(fixed, np.arange(60), probe_fields.probed(fixed, x, labels, np.arange(60)))
        kept[strength] = average_precision_score(labels, prob)
    chosen = probe_fields.cross_validated(free, np.arange(60), probe_fields.probed(free, x, labels, np.arange(60)))
    assert kept[1e8] > kept[1e-4] + 0.2
    assert average_precision_score(labels, chosen) == pytest.approx(kept[1e8])


def test_the_interval_is_scipy_s_where_each_field_is_its_own_group():
    rng = np.random.default_rng(4)
    labels = (rng.random((50, 3)) < [0.15, 0.3, 0.5]).astype(int)
    prob = np.clip(0.3 * labels + 0.7 * rng.random((50, 3)), 0, 1)

    def mean(rows):
        present = labels[rows].any(0)
        return average_precision_score(labels[rows][:, present], prob[rows][:, present])

    told = {"n_resamples": 1000, "method": "percentile", "rng": np.random.default_rng(5), "vectorized": False}
    expected = scipy.stats.bootstrap((np.arange(50),), mean, **told).confidence_interval
    found = probe_fields.scored(labels, prob, np.arange(50))
    assert found["field mAP"] == pytest.approx(mean(np.arange(50)))
    np.testing.assert_allclose([found["low (95%)"], found["high (95%)"]], expected, atol=0.02)


def test_fine_tuning_begins_with_the_file_and_learns_from_the_other_folds_alone(folder, trained, tmp_path, monkeypatch):
    asked_for = config(folder, tmp_path, init="file", file=trained)
    fields = data.build("hpa_fields", asked_for.data_dir, source=folder)
    there, state = models.load(trained), probe_fields.plan(asked_for, fields).initial()
    jax.tree.map(np.testing.assert_array_equal, {"params": state.params, **state.model_state}, dict(there.variables))

    seen, planned = [], probe_fields.plan

    def plan(config, part):
        seen.append(set(part.table.index))
        return planned(config, part)

    monkeypatch.setattr(probe_fields, "plan", plan)
    known, asked = np.arange(2, 8), np.arange(2)
    prob = probe_fields.finetuned(asked_for, fields, np.array([0, 3, 5]))(known, asked)
    assert seen == [set(fields.table.index[known])]
    assert prob.shape == (2, 3)


@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_fine_tuned_is_refused():
    with pytest.raises(ValueError, match="needs a network"):
        probe_fields.Config(method="finetune", init="intensity")
