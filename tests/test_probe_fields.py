"""Real fields, cross-validated: no group is on both sides, nothing is chosen by the fields asked about."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from experiments import few_labels, probe_fields
from hpax import atlas, data, models, train
from hpax.data.hpa_fields import dummy
from hpax.nn.heads import CamNet
from hpax.nn.plain import Plain
from hpax.recipes import probe
from hpax.recipes.optimizers import Optimizer
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
    state = train.create(Localization(CamNet(Plain())), Optimizer().make(60), batch, seed=9)
    return models.save(
        tmp_path_factory.mktemp("trained") / "localize.safetensors",
        architecture="cam-net",
        options={"backbone": "plain-tiny", "pooling": "average"},
        channels=atlas.CHANNELS,
        um_per_pixel=0.32,
        state=jax.tree.map(np.asarray, state),
        card="",
        size=32,
    )


@pytest.mark.parametrize(
    ("method", "init"),
    [
        ("probe", "intensity"),
        ("probe", "fresh"),
        ("finetune", "file"),
        pytest.param("finetune", "fresh", marks=pytest.mark.slow),
    ],
)
def test_every_field_is_answered_for_and_a_network_is_left_where_one_was_trained(
    folder, trained, tmp_path, method, init
):
    command = ["--fields", str(folder), "--method", method, "--recipe.start.init", init]
    command += ["--recipe.start.file", str(trained), "--recipe.window", "32", "--folds", "2", "--least", "1"]
    command += ["--recipe.optimizer.steps", "1", "--recipe.optimizer.batch-size", "8"]
    assert probe_fields.main([*command, "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]) == 0
    arm = tmp_path / "run" / "default" / "seed0"
    left = {"network"} if method == "finetune" else set()
    assert {path.name for path in arm.iterdir()} == {"config.json", "made_of.json", "result.json"} | left
    if left:
        model = models.load(arm / "network" / probe.FILE)
        assert isinstance(model, models.FieldClassifier)
        network = model.network
        assert (network.architecture, network.size, network.channels) == ("cam-net", 32, atlas.CHANNELS)
    record = json.loads((arm / "result.json").read_text())
    counts, metrics = record["counts"], record["metrics"]
    assert record["data"] == "real"
    assert counts["fields"] == 8
    labels = data.build("hpa_fields", tmp_path / "data", source=folder).labels
    classes = {name: count for name, count in counts.items() if name.startswith("fields of ")}
    assert sorted(classes.values()) == sorted(labels.sum(0)[labels.sum(0) > 0].tolist())
    assert len(classes) == counts["classes"]
    assert 0 < metrics["low (95%)"] <= metrics["high (95%)"] <= 1


def cross_probed(x, labels, group, *, count, strengths):
    predict = probe.probed(probe.Seen(x), labels.astype(np.uint8), group, strengths=strengths, count=count, seed=0)
    return probe.cross_validated(group, predict, count=count, seed=0)


def test_folds_ask_about_every_field_once_and_share_no_group():
    group = np.random.default_rng(0).integers(0, 15, 60)
    for seed in range(5):
        sides = list(probe.folds(group, count=4, seed=seed))
        assert sorted(np.concatenate([asked for _, asked in sides])) == list(range(60))
        for known, asked in sides:
            assert not set(group[known]) & set(group[asked])
            assert len(known) + len(asked) == 60


def test_answers_go_back_to_the_fields_that_were_asked_about():
    group = np.random.default_rng(1).permutation(20)
    found = probe.cross_validated(group, lambda known, asked: asked[:, None] / 20, count=5, seed=0)
    np.testing.assert_array_equal(found[:, 0], np.arange(20) / 20)


def test_a_probe_is_blind_to_fields_of_the_same_group():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(16), 2)
    known = rng.integers(0, 2, (16, 1))[group]
    twins = np.eye(16)[group]  # each group has a feature of its own: useless where the group is left out
    blind, sighted = (cross_probed(twins, known, each, count=4, strengths=(100.0,)) for each in (group, np.arange(32)))
    assert np.abs(sighted - known).mean() < 0.5 * np.abs(blind - known).mean()


def test_the_penalty_is_chosen_without_the_fields_asked_about():
    rng = np.random.default_rng(2)
    x, group = probe.Seen(rng.normal(size=(40, 6))), np.arange(40)
    labels = rng.integers(0, 2, (40, 2)).astype(np.uint8)
    known, asked = np.arange(30), np.arange(30, 40)
    how = {"strengths": (1e-3, 1.0), "count": 3, "seed": 0}
    said = probe.probed(x, labels, group, **how)(known, asked)
    other = np.where(np.arange(40)[:, None] < 30, labels, 1 - labels)
    np.testing.assert_array_equal(probe.probed(x, other, group, **how)(known, asked), said)


def test_the_penalty_is_strong_for_noise_and_weak_where_only_that_tells_classes_apart():
    rng = np.random.default_rng(3)
    labels = np.repeat([[0], [1]], 30, axis=0)
    loud = rng.normal(size=(60, 1))
    faint = 1e-3 * (labels - 0.5 + 0.1 * rng.normal(size=(60, 1)))
    x = np.hstack([loud, loud + faint])  # the classes differ in the difference of two features that are nearly one
    kept = dict.fromkeys((1e-4, 1e8), 0.0)
    for strength in kept:
        prob = cross_probed(x, labels, np.arange(60), count=3, strengths=(strength,))
        kept[strength] = average_precision_score(labels, prob)
    chosen = cross_probed(x, labels, np.arange(60), count=3, strengths=tuple(kept))
    assert kept[1e8] > kept[1e-4] + 0.2
    assert average_precision_score(labels, chosen) == pytest.approx(kept[1e8])


def test_a_network_s_own_word_stands_where_labels_do_not_correct_it():
    rng = np.random.default_rng(6)
    labels = (rng.random((40, 2)) < 0.5).astype(np.uint8)
    labels[:, 1] = 0  # no example: nothing can be learnt
    logits = np.where(labels == 1, 1.0, -1.0) + 0.1 * rng.normal(size=(40, 2))
    noise = rng.normal(size=(40, 300))
    known, asked = np.arange(8), np.arange(8, 40)
    labels[known[:4], 0], labels[known[4:], 0] = 1, 0
    logits[known, 0] = np.where(labels[known, 0] == 1, 1.0, -1.0)
    strengths = (1e-5, 1.0)
    alone, told = (
        probe.probed(seen, labels, np.arange(40), strengths=strengths, count=4, seed=0)(known, asked)
        for seen in (probe.Seen(noise), probe.Seen(noise, logits))
    )
    assert average_precision_score(labels[asked, 0], told[:, 0]) == 1.0
    assert average_precision_score(labels[asked, 0], alone[:, 0]) < 0.8
    alike = probe.probed(probe.Seen(noise, logits), labels, np.arange(40), strengths=(1e-12,), count=4, seed=0)
    np.testing.assert_allclose(alike(known, asked), 1 / (1 + np.exp(-logits[asked])), atol=1e-6)


def test_corrections_are_those_of_a_penalised_regression():
    rng = np.random.default_rng(8)
    x, labels = rng.normal(size=(50, 4)), (rng.random(50) < 0.4).astype(np.uint8)
    own = rng.normal(size=50) * 3

    def gradient(weights, strength):
        design = np.column_stack([x, np.ones(50)])
        told = 1 / (1 + np.exp(-(own + design @ weights)))
        return design.T @ (told - labels) + weights / strength

    for strength in (1e-3, 1.0, 1e3):
        np.testing.assert_allclose(gradient(probe.corrections(x, own, labels, strength), strength), 0, atol=1e-5)
    theirs = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs.fit(np.column_stack([x, np.ones(50)]), labels)
    np.testing.assert_allclose(probe.corrections(x, 0 * own, labels, 2.0), theirs.coef_[0], atol=1e-4)


def test_a_share_of_the_labels_is_of_whole_groups_and_of_every_frequent_class():
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(50), 2)
    labels = (rng.random((50, 3)) < [0.5, 0.3, 0.3]).astype(np.uint8)[group]
    known = np.flatnonzero(group % 5)
    for share in (0.1, 0.25, 0.5):
        kept = probe.part_of(known, labels, group, share=share, seed=1)
        assert set(kept) <= set(known)
        assert not set(group[kept]) & set(group[np.setdiff1d(known, kept)])
        assert abs(len(kept) - share * len(known)) <= 4
        assert labels[kept].any(0).all()
    np.testing.assert_array_equal(probe.part_of(known, labels, group, share=1.0, seed=1), known)


def test_a_network_from_a_file_sees_at_the_pixel_size_that_it_learnt(trained):
    start = probe.Start(init="file", file=trained)
    assert probe.um_per_pixel(probe.Config(start=start)) == 0.32
    assert probe.um_per_pixel(probe.Config(start=start, um_per_pixel=1.28)) == 1.28
    assert probe.um_per_pixel(probe.Config()) == 0.64


@pytest.mark.slow
def test_few_labels_scores_every_beginning_at_every_share(folder, tmp_path):
    command = ["--fields", str(folder), "--beginnings", "shipped", "intensity", "--shares", "0.5", "1", "--folds", "2"]
    command += ["--least", "1", "--strengths", "0.01"]
    assert few_labels.main([*command, "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]) == 0
    arm = tmp_path / "run" / "default" / "seed0"
    rows = (arm / "labels.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        ["shipped", "0.0"],
        ["shipped", "0.5"],
        ["shipped", "1.0"],
        ["intensity", "0.5"],
        ["intensity", "1.0"],
    ]
    metrics = json.loads((arm / "result.json").read_text())["metrics"]
    assert {"field mAP, shipped, 0% of labels", "field mAP, intensity, 100% of labels", "chance"} <= set(metrics)
    assert (arm / "index.html").is_file()
    with pytest.raises(ValueError, match="shares must be above 0"):
        few_labels.Config(shares=(0.0,))


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
    config = probe.Config(
        start=probe.Start(init="file", file=trained),
        window=32,
        optimizer=Optimizer(batch_size=8, steps=1),
    )
    fields, _ = probe.open_fields(folder, tmp_path / "data")
    there, state = models.load_network(trained), probe.build(config, fields).initial()
    jax.tree.map(np.testing.assert_array_equal, {"params": state.params, **state.model_state}, dict(there.variables))
    half = probe.build(dataclasses.replace(config, dtype="bfloat16"), fields)
    assert half.task.model.backbone.dtype == "bfloat16"

    seen, built = [], probe.build

    def build(config, part, *, seed):
        seen.append(set(part.table.index))
        return built(config, part, seed=seed)

    monkeypatch.setattr(probe, "build", build)
    known, asked = np.arange(2, 8), np.arange(2)
    prob = probe.finetuned(config, fields, np.array([0, 3, 5]))(known, asked)
    assert seen == [set(fields.table.index[known])]
    assert prob.shape == (2, 3)


def test_a_field_without_a_label_is_left_out_and_counted(folder, tmp_path):
    some = shutil.copytree(folder, tmp_path / "some")
    (table,) = some.glob("*.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-3]) + "\n")
    fields, unlabelled = probe.open_fields(some, tmp_path / "data")
    assert (len(fields), unlabelled) == (5, 3)
    assert fields.labels.any(1).all()
    table.unlink()
    with pytest.raises(ValueError, match=r"there is no table; put one .* at the top of that folder"):
        probe.open_fields(some, tmp_path / "other")
    assert not (tmp_path / "other").exists()  # said before anything was built


@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_fine_tuned_is_refused():
    with pytest.raises(ValueError, match="needs a network"):
        probe_fields.Config(method="finetune", recipe=probe.Config(start=probe.Start(init="intensity")))


def test_a_network_is_read_once_until_its_file_changes(trained, tmp_path, monkeypatch):
    path, reads = shutil.copy(trained, tmp_path / "network.safetensors"), []
    monkeypatch.setattr(
        probe.models, "load_network", lambda path: reads.append(path) or models.store.load_network(path)
    )
    start = probe.Start(init="file", file=path)
    probe._loaded.cache_clear()
    first = probe.beginning(start)
    assert probe.beginning(start).model is first.model
    assert len(reads) == 1
    network = models.load_network(path)
    reads.clear()
    dataclasses.replace(network, um_per_pixel=0.5).save(path)
    assert probe.um_per_pixel(probe.Config(start=start)) == 0.5
    assert len(reads) == 1


def test_too_few_fields_or_groups_are_told():
    labels = np.eye(4, 19, dtype=np.uint8)[[0, 1, 2, 3, 3]]
    np.testing.assert_array_equal(probe.frequent(labels, 1), np.arange(4))
    with pytest.raises(
        ValueError, match=r"a class must have 5 fields to be scored, the most frequent has 2; .*--least"
    ):
        probe.frequent(labels, 5)
    assert len(list(probe.folds(np.arange(9) % 3, count=5, seed=0))) == 3
    with pytest.raises(ValueError, match="two folds of whole groups, got 1 groups"):
        probe.folds(np.zeros(9, int), count=5, seed=0)
