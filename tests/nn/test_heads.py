"""Heads: one classifier for every place, poolings that agree with their definitions, antibodies as directions."""

import fakes
import jax
import numpy as np
import pytest

from hpax.nn.heads import CamNet, CellNet
from hpax.ops import cam

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((3, 12, 20, 4), np.float32)


def _seen(net, **options):
    variables = jax.jit(net.init)(KEY, IMAGES)
    return variables, jax.jit(lambda variables: net.apply(variables, IMAGES, **options))(variables)


def _classified(variables, features):
    weights = variables["params"]["classifier"]
    return features @ weights["kernel"] + weights["bias"]


def test_average_pooling_commutes_with_the_classifier():
    variables, seen = _seen(CamNet(fakes.Backbone()))
    np.testing.assert_allclose(seen.maps, _classified(variables, seen.features), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.logits, seen.maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.logits, _classified(variables, seen.features.mean((1, 2))), rtol=1e-5, atol=1e-6)


def test_the_other_poolings():
    variables, seen = _seen(CamNet(fakes.Backbone(), pooling="lse"))
    np.testing.assert_allclose(seen.logits, cam.log_mean_exp(_classified(variables, seen.features)), rtol=1e-4)
    variables, seen = _seen(CamNet(fakes.Backbone(), pooling="gem"))
    assert variables["params"]["power"] == 3
    np.testing.assert_allclose(seen.logits, _classified(variables, cam.gem(seen.features, 3.0)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(seen.maps, _classified(variables, seen.features), rtol=1e-5, atol=1e-6)


def test_gems_power_learns():
    net = CamNet(fakes.Backbone(), pooling="gem")
    variables, _ = _seen(net)
    slopes = jax.jit(jax.grad(lambda variables: net.apply(variables, IMAGES).logits.sum()))(variables)
    assert abs(slopes["params"]["power"]) > 1e-4


@pytest.mark.parametrize("pooling", ["average", "gem", "lse"])
def test_what_is_said_of_features_is_what_is_said_of_the_images_they_are_of(pooling):
    net = CamNet(fakes.Backbone(), pooling=pooling)
    variables, seen = _seen(net)
    read = net.apply({"params": variables["params"]}, seen.features, method="read")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), read, seen)


def test_dropout_takes_a_channel_from_every_place_and_only_in_training():
    net = CamNet(fakes.Backbone(width=64), dropout=0.5)
    variables, still = _seen(net)
    features = np.ones((2, 3, 4, 64), np.float32)
    maps = net.apply(variables, features, train=True, method="read", rngs={"dropout": KEY}).maps
    np.testing.assert_allclose(maps, np.broadcast_to(maps[:, :1, :1], maps.shape), rtol=1e-5, atol=1e-6)
    assert not np.allclose(maps[0], maps[1])
    np.testing.assert_array_equal(_seen(net)[1].logits, still.logits)


def test_features_of_a_cell_are_those_the_classifier_sees():
    variables, seen = _seen(CellNet(fakes.Backbone()))
    np.testing.assert_allclose(seen.logits, _classified(variables, seen.features), rtol=1e-5, atol=1e-6)
    assert seen.cosines is None


def test_cosines_with_antibodies_know_directions_only():
    net = CellNet(fakes.Backbone(), antibodies=7)
    variables, seen = _seen(net)
    directions = np.asarray(variables["params"]["antibodies"])
    features = np.asarray(seen.features)
    lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(seen.cosines, features @ directions / lengths, rtol=1e-4, atol=1e-5)
    longer = {**variables, "params": {**variables["params"], "antibodies": 9 * directions}}
    np.testing.assert_allclose(net.apply(longer, IMAGES).cosines, seen.cosines, rtol=1e-4, atol=1e-6)
    blank = jax.jit(lambda images: net.apply(variables, images))(0 * IMAGES)
    assert np.isfinite(blank.cosines).all()


@pytest.mark.parametrize("head", [CamNet, CellNet])
def test_the_backbone_hears_of_padding_and_training(head):
    net = head(fakes.Backbone())
    variables = jax.jit(net.init)(KEY, IMAGES)
    mask = np.array([1, 1, 0], np.float32)
    seen = [
        net.apply(variables, images, mask=mask, train=True, mutable=["batch_stats"])
        for images in (IMAGES, np.concatenate([IMAGES[:2], 9 * IMAGES[2:]]))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), seen[0][1], seen[1][1])
    np.testing.assert_allclose(seen[0][0].logits[:2], seen[1][0].logits[:2], rtol=1e-5)
    assert not np.allclose(seen[0][0].logits, net.apply(variables, IMAGES).logits)
