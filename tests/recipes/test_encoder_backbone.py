"""A cell-level model that begins with an inpainting encoder sees what it sees; frozen, it stays what it was."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
import pytest

from hpax import atlas, images, models, train
from hpax.analysis import attention
from hpax.data.cell_crops import dummy
from hpax.recipes import cells as cells_recipe
from hpax.recipes import classify, inpaint, localize
from hpax.recipes.configs import Backbone
from hpax.recipes.optimizers import Adam, Optimizer

TINY = classify.Config(
    backbone=Backbone(name="lu2019-quarter", dropout=0.0),
    resolution=64,
    optimizer=Optimizer(steps=3, batch_size=8),
    tta=1,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder of three channels, barely trained."""
    folder = tmp_path_factory.mktemp("encoder")
    dummy.write(folder / "crops", "human")
    cells = cells_recipe.open_cells(cells_recipe.Data(cells="human", folder=folder / "crops", data_dir=folder / "data"))
    config = inpaint.Config(network=inpaint.Network(width=0.25), optimizer=Adam(batch_size=16, steps=2))
    inpaint.train_model(config, cells, folder / "run")
    return folder / "run" / inpaint.FILE


def begun(split, config):
    run = classify.build(config, split.training, split.validation.part([]))
    return run, run.initial()


@pytest.mark.parametrize("frozen", [False, True])
def test_it_begins_with_the_features_of_the_encoder(split, encoder, frozen):
    run, state = begun(split, dataclasses.replace(TINY, init_from=encoder, frozen=frozen))
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 4), np.uint8)
    found = run.task.encode(state.params, state.model_state, images.as_float(crops))["penultimate"]
    known = models.load(encoder).features(crops[..., :3])
    np.testing.assert_allclose(found, np.concatenate(list(known.values()), -1), rtol=1e-4, atol=1e-5)


def test_frozen_it_stays_what_it_was_and_learnt_further_it_does_not(split, encoder, tmp_path):
    for frozen in (True, False):
        config = dataclasses.replace(TINY, init_from=encoder, frozen=frozen)
        folder = tmp_path / str(frozen)
        model = classify.train_model(config, split.training, split.validation.part([]), folder, kind="simulated")
        run, first = begun(split, config)
        last = train.fit(run, folder)
        kept, learnt = (jax.device_get(state.params["backbone"]["source"]) for state in (first, last))
        assert (kept["conv5"]["kernel"] == learnt["conv5"]["kernel"]).all() == frozen
        if frozen:
            jax.tree.map(np.testing.assert_array_equal, kept, learnt)
            statistics = (state.model_state["batch_stats"]["backbone"] for state in (first, last))
            close = functools.partial(np.testing.assert_allclose, rtol=1e-6)  # means over devices round
            jax.tree.map(close, *statistics)
        assert (np.asarray(first.params["classifier"]["kernel"]) != last.params["classifier"]["kernel"]).any()
        field = split.test[0]
        again = models.load(folder / classify.FILE)
        assert again.network.options.get("standardised", False) == frozen
        np.testing.assert_array_equal(dataclasses.replace(again, tta=1).predict(field), model.predict(field))


def test_what_a_frozen_backbone_taught_may_be_learnt_further(split, encoder, tmp_path):
    config = dataclasses.replace(TINY, init_from=encoder, frozen=True)
    donor = classify.train_model(config, split.training, split.validation.part([]), tmp_path, kind="simulated")
    run, state = begun(split, dataclasses.replace(TINY, init_from=tmp_path / classify.FILE))
    crops = np.random.default_rng(0).random((3, 64, 64, 4), np.float32)
    known = jax.jit(donor.network.model.apply)(donor.network.variables, crops).logits
    found = jax.jit(run.task.model.apply)({"params": state.params, **state.model_state}, crops).logits
    np.testing.assert_array_equal(found, known)
    with pytest.raises(ValueError, match="learnt to read standardised features"):
        localize.build(
            localize.Config(window=32, init_from=tmp_path / classify.FILE), split.training, split.validation.part([])
        )
    looked = attention.Attention.of(donor, layer=attention.finest_layer(donor))
    bytes_ = (crops * 255).astype(np.uint8)
    assert np.ptp(looked.own_maps(bytes_, np.array([0, 1, 2])), axis=(1, 2)).max() > 0
    with pytest.raises(ValueError, match="must give a map of several places, 'backbone' gives one"):
        attention.Attention.of(donor).maps(bytes_)
    with pytest.raises(ValueError, match="these are standardised"):
        looked.maps(bytes_, kind="cam")


def test_a_channel_that_the_encoder_never_saw_counts_for_nothing_at_first(split, encoder):
    run, state = begun(split, dataclasses.replace(TINY, init_from=encoder))
    assert state.params["backbone"]["source"]["conv1"]["kernel"].shape[2] == len(atlas.CHANNELS)
    crops = np.random.default_rng(1).random((2, 64, 64, 4), np.float32)
    other = np.concatenate([crops[..., :3], 1 - crops[..., 3:]], -1)
    one, two = (run.task.predict(state.params, state.model_state, image) for image in (crops, other))
    np.testing.assert_array_equal(one, two)


def test_any_backbone_may_be_frozen(split, tmp_path):
    config = dataclasses.replace(TINY, backbone=Backbone(dropout=0.0), resolution=32)
    classify.train_model(config, split.training, split.validation.part([]), tmp_path / "donor", kind="simulated")
    donor = tmp_path / "donor" / classify.FILE
    frozen = dataclasses.replace(config, init_from=donor, frozen=True)
    model = classify.train_model(frozen, split.training, split.validation.part([]), tmp_path / "own", kind="simulated")
    known = models.load_network(donor)
    jax.tree.map(np.testing.assert_array_equal, model.network.params["backbone"], known.params["backbone"])


def test_what_does_not_fit_is_refused(split, encoder):
    with pytest.raises(ValueError, match="a frozen backbone must have learnt before"):
        dataclasses.replace(TINY, frozen=True)
    with pytest.raises(ValueError, match=r"crops have 1\.28, it learnt at 0\.64; change the resolution"):
        begun(split, dataclasses.replace(TINY, init_from=encoder, resolution=32))
    wide = dataclasses.replace(TINY, init_from=encoder, backbone=Backbone(name="lu2019-half"))
    with pytest.raises(ValueError, match=r"norm1/mean must have shape \(48,\), got \(24,\)"):
        begun(split, wide)
    with pytest.raises(ValueError, match=r"must have learnt from protein, nucleus, .*, got protein, marker"):
        begun(split, dataclasses.replace(TINY, init_from=pathlib.Path("encode-yeast")))
    with pytest.raises(ValueError, match="must make a map to say where classes are, lu2019 does not"):
        localize.Config(backbone=Backbone(name="lu2019"))
