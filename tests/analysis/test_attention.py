"""Grad-CAM is what its definition says, sees what a network was made to see, and random weights do not."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hpax
from hpax import simulate
from hpax.analysis import attention
from hpax.analysis.attention import Attention
from hpax.nn.heads import CamNet, CellNet
from hpax.nn.plain import Plain


@pytest.fixture(scope="module")
def nets():
    def made(net):
        variables = dict(net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 4))))
        return Attention(net, variables.pop("params"), variables)

    return {"cell": made(CellNet(Plain(widths=(4, 6)))), "field": made(CamNet(Plain(widths=(4, 6))))}


def pictures(count=3, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 4), np.uint8)


@pytest.mark.parametrize("kind", ["cell", pytest.param("field", marks=pytest.mark.slow)])
def test_at_the_last_layer_of_an_averaging_network_it_is_the_class_activation_map(nets, kind):
    images = pictures()
    slopes, maps = (nets[kind].maps(images, kind=name) for name in ("grad-cam", "cam"))
    places = maps.shape[1] * maps.shape[2]
    np.testing.assert_allclose(slopes * places, maps, rtol=1e-4, atol=1e-6)
    assert slopes.shape == (3, *maps.shape[1:3], 19)
    assert (slopes >= 0).all()


def test_at_any_layer_it_is_the_definition(nets):
    """The slope of a logit by finite differences: adding to a channel everywhere changes it by the channel's weight."""
    net = nets["cell"]
    image = pictures(1).astype(np.float32) / 255
    variables = {"params": net.params, **net.model_state}
    path = ("backbone", "level0b")
    _before, features = attention._run(net.model, variables, path, image)
    cam = np.asarray(attention._grad_cam(net.model, variables, path, image))[0]
    step, places = 1e-2, features.shape[1] * features.shape[2]
    weights = []
    for channel in range(features.shape[-1]):
        added = jnp.zeros(features.shape).at[..., channel].set(step)
        after, _ = attention._run(net.model, variables, path, image, added)
        down, _ = attention._run(net.model, variables, path, image, -added)
        weights.append(np.asarray(after - down)[0] / (2 * step) / places)
    by_hand = np.maximum(np.einsum("yxk,kn->yxn", np.asarray(features)[0], np.array(weights)), 0)
    np.testing.assert_allclose(cam, by_hand, atol=0.05 * by_hand.max())


def test_a_batch_is_its_images_and_unknown_things_are_refused(nets):
    images = pictures(17)
    whole = nets["cell"].maps(images)
    np.testing.assert_allclose(whole[16], nets["cell"].maps(images[16:])[0], rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="'nowhere' is none"):
        dataclasses.replace(nets["cell"], layer="nowhere").maps(images)
    with pytest.raises(ValueError, match="grad-cam or cam, got 'x'"):
        nets["cell"].maps(images, kind="x")
    fresh = nets["cell"].randomised(1).maps(images)
    assert fresh.shape == whole.shape
    assert not np.allclose(fresh, whole)


def test_the_overlap_is_that_of_areas():
    lit = np.zeros((3, 8, 8), bool)
    lit[:2, :4, :4] = True
    maps = np.zeros((3, 8, 8), np.float32)
    maps[0, :4, :2] = 1  # half of it
    np.testing.assert_allclose(attention.iou(maps, lit), [0.5, 0, np.nan])
    proteins = np.zeros((2, 8, 8), np.uint8)
    proteins[0] = 10
    proteins[0, 2:4, 2:4] = 200
    proteins[0, 0] = 0
    found = attention.signal(proteins)
    assert found[0].sum() == 4
    assert not found[1].any()


@pytest.mark.slow
def test_the_shipped_network_looks_at_the_protein_and_one_of_random_weights_does_less():
    classifier = hpax.load("label-cells")
    protein = simulate.Protein("P", 0, (2,), ("A",))
    field = simulate.field(protein, "U-2 OS", 0, seed=11)
    crops = classifier.crops(field)
    looked = Attention.of(classifier)
    lit = attention.signal(crops[..., 0])
    trained = np.nanmean(attention.iou(looked.maps(crops)[..., 2], lit))
    control = np.nanmean(attention.iou(looked.randomised(0).maps(crops)[..., 2], lit))
    assert trained > control


def test_the_map_of_one_class_is_that_of_all_maps(nets):
    images, labels = pictures(attention.BATCH + 1), np.arange(attention.BATCH + 1) % 19
    own = nets["cell"].own_maps(images, labels)
    every = nets["cell"].maps(images)
    np.testing.assert_allclose(own, every[np.arange(len(images)), :, :, labels], rtol=1e-4, atol=1e-7)
    assert nets["cell"].own_maps(images[:0], labels[:0]).shape == (0, *every.shape[1:3])
    assert nets["cell"].maps(images[:0]).shape == (0, *every.shape[1:])


@pytest.mark.usefixtures("untyped")
def test_the_finest_layer_is_a_map_of_its_network():
    classifier = hpax.load("label-cells")
    layer = attention.finest_layer(classifier)
    assert layer == "backbone/level0a"
    found = Attention.of(classifier, layer=layer).own_maps(np.zeros((1, 64, 64, 4), np.uint8), np.zeros(1, int))
    assert found.shape[1:] == (32, 32)
    other = types.SimpleNamespace(network=types.SimpleNamespace(params={"backbone": {"stem": 0}}))
    assert attention.finest_layer(other) == "backbone"
