"""Segmentation: its loss against an oracle, padding that counts as nothing, one device and eight."""

from functools import partial

import jax
import numpy as np
import optax
import properties
import pytest
from flax import linen as nn

from hpax import train
from hpax.nn.unet import LightUNet
from hpax.ops.dice import dice
from hpax.tasks.segment import Segmentation
from hpax.train.update import update

TASK = Segmentation(LightUNet(widths=(4, 6)))
KEY = jax.random.key(0)

evaluate, predict = map(jax.jit, (TASK.evaluate, TASK.predict))


class Echo(nn.Module):
    """Answers with its input as logits."""

    @nn.compact
    def __call__(self, images, *, mask=None, train=False):
        return images


def _batch(b=4, seed=0, side=8):
    generator = np.random.default_rng(seed)
    image = generator.random((b, side, side, 3), dtype=np.float32)
    maps = (generator.random((b, side, side, 2)) < [0.1, 0.5]).astype(np.float32)
    return {"image": image, "maps": maps, "mask": np.ones(b, np.float32)}


@pytest.fixture(scope="module")
def fresh():
    return properties.drawn(TASK.init, _batch())


def _by_hand(p, t, valid):
    """Cross-entropy and Dice of one image, map by map and pixel by pixel."""
    losses = []
    for k in range(2):
        pixels = [(p[i, j, k], t[i, j, k]) for i, j in np.argwhere(valid)]
        entropy = np.mean([-np.log(p if t else 1 - p) for p, t in pixels])
        overlap = (2 * sum(p * t for p, t in pixels) + 1) / (sum(p + t for p, t in pixels) + 1)
        losses.append(entropy + 1 - overlap)
    return np.mean(losses)


def test_loss_is_cross_entropy_and_dice_of_each_example(fresh):
    batch = _batch()
    batch["valid"] = (np.random.default_rng(1).random((4, 8, 8)) < 0.7).astype(np.float32)
    p = np.asarray(predict(*fresh, batch["image"]), float)
    expected = [_by_hand(*each) for each in zip(p, batch["maps"], batch["valid"], strict=True)]
    np.testing.assert_allclose(evaluate(*fresh, batch)["loss"], expected, rtol=1e-4)


def test_dice_of_maps_cut_at_a_half(fresh):
    batch = _batch()
    cut = np.asarray(predict(*fresh, batch["image"])) > 0.5
    numbers = evaluate(*fresh, batch)
    for k, name in enumerate(("border", "object")):
        a, b = cut[..., k].reshape(4, -1), batch["maps"][..., k].reshape(4, -1) > 0
        np.testing.assert_allclose(numbers[f"dice {name}"], (2 * (a & b).sum(1) + 1) / (a.sum(1) + b.sum(1) + 1))


def test_a_perfect_prediction_costs_nothing_and_empty_targets_are_finite():
    batch = _batch()
    batch["maps"][1] = 0
    perfect = {**batch, "image": 60 * (batch["maps"] - 0.5)}
    numbers = Segmentation(Echo()).evaluate({}, {}, perfect)
    np.testing.assert_allclose(numbers["loss"], np.zeros(4), atol=1e-6)
    np.testing.assert_array_equal(numbers["dice border"], np.ones(4))
    wrong = Segmentation(Echo()).evaluate({}, {}, {**perfect, "image": -30 * perfect["image"]})
    assert np.isfinite(wrong["loss"]).all()
    assert (wrong["loss"] > 100).all()
    gradient = jax.grad(lambda x: Segmentation(Echo()).evaluate({}, {}, {**perfect, "image": x})["loss"].sum())
    assert np.isfinite(gradient(perfect["image"])).all()


def test_where_nothing_is_to_be_painted_cross_entropy_counts_alone(fresh):
    batch = _batch()
    batch["maps"][1, ..., 0] = 0
    p, t = np.asarray(predict(*fresh, batch["image"]), float)[1], batch["maps"][1]
    entropy = -np.log(np.where(t > 0, p, 1 - p)).mean((0, 1))
    overlap = (2 * (p[..., 1] * t[..., 1]).sum() + 1) / (p[..., 1].sum() + t[..., 1].sum() + 1)
    expected = (entropy.sum() + 1 - overlap) / 2
    np.testing.assert_allclose(evaluate(*fresh, batch)["loss"][1], expected, rtol=1e-4)


def test_dice_counts_pixels_by_their_weight():
    one, zero = np.ones((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    weights = np.array([[[1, 1], [0, 0]]], np.float32)
    assert dice(one, one, weights) == 1
    assert dice(zero, zero, weights) == 1
    assert dice(one, zero, weights) == pytest.approx(1 / 3)


def test_pixels_that_do_not_count_change_nothing(fresh):
    batch = _batch()
    batch["valid"] = np.ones((4, 8, 8), np.float32)
    batch["valid"][:, 5:] = 0
    other = {**batch, "maps": batch["maps"].copy()}
    other["maps"][:, 5:] = 1 - other["maps"][:, 5:]
    jax.tree.map(np.testing.assert_array_equal, evaluate(*fresh, batch), evaluate(*fresh, other))
    nothing = {**batch, "valid": np.zeros((4, 8, 8), np.float32)}
    np.testing.assert_array_equal(evaluate(*fresh, nothing)["loss"], np.zeros(4))


def test_padding_influences_nothing(fresh):
    properties.assert_padding_influences_nothing(TASK, fresh, _batch(3), atol=1e-5)


def test_one_and_eight_devices_agree_on_a_ragged_batch():
    task = Segmentation(LightUNet(widths=(4, 6), axis_name=train.AXIS))
    properties.assert_one_and_eight_devices_agree(task, _batch, "down0a/kernel", "head/kernel")


def test_learns_bright_squares():
    """Bright squares on noise: after a few dozen steps, the object map overlaps them nearly wholly."""
    generator = np.random.default_rng(0)
    maps = np.zeros((8, 16, 16, 2), np.float32)
    for each, (y, x) in zip(maps, generator.integers(0, 10, (8, 2)), strict=True):
        each[y : y + 6, x : x + 6, 1] = 1
    image = (0.5 * maps[..., 1:] + generator.uniform(0, 0.3, (8, 16, 16, 1))).astype(np.float32)
    batch = {"image": image, "maps": maps, "mask": np.ones(8, np.float32)}
    task, optimizer = Segmentation(LightUNet(widths=(8, 8), momentum=0.8)), optax.adam(1e-2)
    state = train.create(task, optimizer, batch, seed=0)
    step = jax.jit(partial(update, task, optimizer))
    for _ in range(60):
        state, _ = step(state, batch, 0)
    numbers = jax.jit(task.evaluate)(state.params, state.model_state, batch)
    assert numbers["dice object"].min() > 0.9


def test_golden_step():
    """Three SGD steps on drawn images.

    These numbers change when the network, its initialisation, the loss or the update changes. If that was meant,
    say so in CHANGELOG.md and paste the numbers of the failure; if not, something broke.
    """
    optimizer = optax.sgd(0.01)
    state = train.create(TASK, optimizer, _batch(), seed=0)
    step, losses = jax.jit(partial(update, TASK, optimizer)), []
    for seed in range(3):
        state, report = step(state, _batch(seed=seed), 0)
        losses.append(float(report["loss"]))
    assert losses == pytest.approx([1.4861763, 1.5038455, 1.4796875], rel=1e-4), test_golden_step.__doc__
