"""Averages of batch normalisation are those of the images, whatever their batches, and half of them is half way."""

import dataclasses

import jax
import numpy as np
import pytest
import saved

from hpax import models
from hpax.fields import Field, Masks
from hpax.models import adapt
from hpax.tasks.classify import Classification

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    kinds = ("cam-net", "cell-net")
    return [models.load_network(saved.labeller(folder / f"{kind}.safetensors", kind, 0)) for kind in kinds]


def images_of(network, count, seed=0):
    size = network.size or 32
    shape = (count, size, size, len(network.channels))
    return np.random.default_rng(seed).random(shape, np.float32) * np.float32(0.5)


def flat(network):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(network.model_state)}


def logits(network, images):
    return Classification(network.model).predict(network.params, network.model_state, images)


def test_a_share_of_one_sees_dark_images_as_it_sees_bright_ones(networks):
    cells = networks[1]
    images = images_of(cells, 16)
    dark = adapt.with_averages(cells, [images / 2], share=1)
    bright = adapt.with_averages(cells, [images], share=1)
    np.testing.assert_allclose(logits(dark, images / 2), logits(bright, images), rtol=0.05, atol=0.02)
    assert np.abs(logits(bright, images / 2) - logits(bright, images)).max() > 0.05


def test_batches_of_unlike_size_add_up(networks):
    images = images_of(networks[1], 12)
    whole = flat(adapt.with_averages(networks[1], [images], share=1))
    parts = flat(adapt.with_averages(networks[1], [images[:3], images[3:]], share=1))
    first = [name for name in whole if "level0a" in name or name == min(whole)]
    for name in first:  # what later layers see depends on the batch
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4, atol=1e-6)


def test_half_a_share_is_half_way_and_none_is_the_same_network(networks):
    images = images_of(networks[0], 4)
    own, all = flat(networks[0]), flat(adapt.with_averages(networks[0], [images], share=1))
    half = flat(adapt.with_averages(networks[0], [images], share=0.5))
    assert any(np.abs(own[name] - all[name]).max() > 1e-3 for name in own)
    for name in own:
        np.testing.assert_allclose(half[name], (own[name] + all[name]) / 2, rtol=1e-5, atol=1e-6)
    assert adapt.with_averages(networks[0], [images], share=0) is networks[0]


def test_an_ensemble_adapts_both_kinds_to_fields_of_any_shape(networks):
    fields = []
    for number, size in enumerate((64, 96, 64)):
        cells = np.zeros((size, size), np.uint16)
        cells[8:40, 8:40] = 1
        image = RNG.integers(0, 90, (size, size, 4), dtype=np.uint8)
        fields.append(Field(str(number), image, 0.32, masks=Masks(cells, np.where(cells, 1, 0).astype(np.uint16))))
    ensemble = models.Ensemble.of(networks, tta=1)
    found = models.adapted(ensemble, fields, share=1)
    assert found.views == ensemble.views
    for before, after in zip(ensemble.networks, found.networks, strict=True):
        assert any(not np.array_equal(flat(before)[name], flat(after)[name]) for name in flat(before))
    assert np.isfinite(found.predict(fields[1]).cells).all()


def test_what_cannot_be_adapted_is_said(networks):
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share must be from 0"):
            adapt.with_averages(networks[0], [], share=share)
    with pytest.raises(ValueError, match="averages need images, got none"):
        models.adapted(models.Ensemble.of(networks), [], share=0.5)
    bare = dataclasses.replace(networks[0], model_state={})
    with pytest.raises(ValueError, match="must have batch normalisation, this one has none"):
        adapt.with_averages(bare, [images_of(bare, 1)], share=0.5)
