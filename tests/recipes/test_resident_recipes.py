"""Recipes whose fields and cells live on devices: the same config, data and seed learn the same."""

import dataclasses
import itertools
import logging

import jax
import numpy as np
import pytest

from hpax import models, train
from hpax.data import (
    BagBatches,
    CopyPasteBatches,
    ImageBatches,
    ResidentBags,
    ResidentFields,
    ResidentPatches,
)
from hpax.recipes import classify, datasets, learning, localize, weak_labels
from hpax.recipes.optimizers import Optimizer
from hpax.train import resident
from hpax.train.identity import differences, identity

FEW = Optimizer(steps=4, batch_size=8)
FIELD = localize.Config(um_per_pixel=1.28, window=32, optimizer=FEW, resident="yes")
CELL = classify.Config(resolution=16, optimizer=FEW, resident="yes")
MIXED = dataclasses.replace(FIELD, copy_paste=True)
RECIPES = [(localize, FIELD), (classify, CELL)]
KINDS = [
    (localize, FIELD, ResidentFields, ImageBatches),
    (localize, MIXED, ResidentPatches, CopyPasteBatches),
    (classify, CELL, ResidentBags, BagBatches),
]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    atlas = datasets.Atlas(proteins=19, size=128)
    data = datasets.Data(masks="true", data_dir=tmp_path_factory.mktemp("data"), atlas=atlas)
    return datasets.open_fields(data, seed=1)


def build(recipe, config, split, **changes):
    run = recipe.build(dataclasses.replace(config, **changes), split.training, split.validation.part([]))
    return dataclasses.replace(run, devices=jax.local_devices()[:1])


def fit(run, folder):
    return train.fit(run, folder, log_every=1, evaluate_every=2, save_every=2)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(("recipe", "config", "of_devices", "of_host"), KINDS)
def test_batches_are_the_devices_where_it_says_so(recipe, config, of_devices, of_host, split):
    for resident_, kind in (("yes", of_devices), ("no", of_host), ("auto", of_host)):  # on CPUs
        assert isinstance(build(recipe, config, split, resident=resident_).batches, kind)


@pytest.mark.parametrize(("recipe", "config"), RECIPES)
def test_auto_is_settled_by_the_machine(recipe, config, monkeypatch):
    auto = dataclasses.replace(config, resident="auto")
    assert learning.settled(auto).resident == "no"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert learning.settled(auto).resident == "yes"
    assert learning.settled(dataclasses.replace(config, resident="no")).resident == "no"


class PowerError(Exception):
    """The power goes."""


@pytest.mark.parametrize(
    ("recipe", "config"), [(localize, FIELD), pytest.param(classify, CELL, marks=pytest.mark.slow)]
)
def test_a_run_that_was_stopped_ends_as_an_unbroken_one(recipe, config, split, tmp_path, monkeypatch):
    run = build(recipe, config, split)
    whole = fit(run, tmp_path / "whole")
    draws = type(run.batches).draws

    def failing(self, start=0):
        yield from itertools.islice(draws(self, start), 3)
        raise PowerError

    with monkeypatch.context() as patch:
        patch.setattr(type(run.batches), "draws", failing)
        with pytest.raises(PowerError):
            fit(build(recipe, config, split), tmp_path / "stopped")
    equal(whole, fit(build(recipe, config, split), tmp_path / "stopped"))


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "config"), RECIPES)
def test_without_room_the_same_is_learnt_and_it_is_said(recipe, config, split, monkeypatch, caplog):
    plan = dataclasses.replace(build(recipe, config, split), steps=2)

    def trained():
        *_, (_, state, _) = train.updates(plan, plan.initial())
        return train.parallel.unreplicate(state)

    held = trained()
    monkeypatch.setattr(resident, "free", lambda device: 1000)
    with caplog.at_level(logging.WARNING):
        read = trained()
    assert "GB of examples must fit into 50% of the free memory of 1 devices" in caplog.text
    assert "the host reads those of each batch" in caplog.text
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), held.params, read.params)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "config"), [*RECIPES, (localize, MIXED)])
def test_without_augmentation_devices_learn_what_the_host_does(recipe, config, split):
    states = []
    for where in ("yes", "no"):
        plan = build(recipe, config, split, augmentation="none", resident=where)
        *_, (_, state, _) = train.updates(plan, plan.initial())
        states.append(train.parallel.unreplicate(state))
    equal(*states)


@pytest.mark.parametrize(("recipe", "config"), RECIPES)
def test_a_run_of_the_other_side_is_another_run(recipe, config, split):
    sides = {}
    for where in ("yes", "no"):
        run = build(recipe, config, split, resident=where)
        sides[where] = identity(run, run.batches[0])
    assert differences(sides["yes"], sides["no"]) == ["augmented by is devices there, absent now"]
    assert differences(sides["no"], sides["yes"]) == ["augmented by is absent there, devices now"]
    older = {"made by": {}, **{part: sides["yes"][part] for part in ("seed", "batch", "augmented by")}}
    assert differences(older, sides["no"]) == ["augmented by is devices there, absent now"]
    assert "augmented by" not in sides["no"]  # as runs were named before devices augmented


def test_networks_are_shelved_by_the_side_that_augments(split, tmp_path, monkeypatch):
    shelf = weak_labels.Shelf(tmp_path, split.kind)
    auto = dataclasses.replace(FIELD, resident="auto")
    on_cpu = shelf.folder("field", auto, split.training)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert shelf.folder("field", auto, split.training) != on_cpu


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "config"), RECIPES)
def test_a_card_says_which_side_augmented(recipe, config, split, tmp_path):
    for where, said in (("yes", "yes"), ("auto", "no")):
        own = dataclasses.replace(config, resident=where, optimizer=Optimizer(steps=1, batch_size=8))
        model = recipe.train_model(own, split.training, split.validation.part([]), tmp_path / where, kind="simulated")
        assert isinstance(model, models.FieldClassifier | models.CellClassifier)
        assert f"| resident | {said} |" in model.network.card
