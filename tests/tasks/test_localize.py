"""Localisation: every option's loss by its definition, padding that counts as nothing, one device and eight."""

from functools import partial

import fakes
import jax
import numpy as np
import optax
import properties
import pytest

from hpax import train
from hpax.nn.heads import CamNet
from hpax.ops import cam, losses, mix
from hpax.tasks.localize import Localization
from hpax.train.update import update

KEY = jax.random.key(0)
CLASSES, SIDE = 5, 16


def _task(axis_name=None, pooling="average", **options):
    return Localization(CamNet(fakes.Backbone(axis_name=axis_name), CLASSES, pooling), **options)


EVERYTHING = {"puzzle": 2.0, "equivariance": 1.5, "mix": "cutmix"}
ARMS = {"plain": {}, "everything": EVERYTHING, "mixup": {"mix": "mixup"}}
each_arm = pytest.mark.parametrize("options", ARMS.values(), ids=ARMS)


def _batch(b=4, seed=0, side=SIDE):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.random((b, side, side, 4), np.float32),
        "labels": (rng.random((b, CLASSES)) < 0.4).astype(np.float32),
        "mask": np.ones(b, np.float32),
    }


def _losses(task, fresh, batch, key=KEY):
    return jax.jit(partial(task.loss, key=key))(*fresh, batch)


@pytest.fixture(scope="module")
def fresh():
    """Fresh variables: all arms but those of GeM share them."""
    return properties.drawn(_task().init, _batch())


def _look(fresh, images):
    """What the network says in training, with the batch's own statistics."""
    variables = {"params": fresh[0], **fresh[1]}
    return _task().model.apply(variables, images, train=True, mutable=["batch_stats"])[0]


def test_the_loss_is_the_criterion_of_the_logits(fresh):
    batch = _batch()
    for criterion in (losses.bce, losses.focal_lovasz_bce):
        expected = criterion(_look(fresh, batch["image"]).logits, batch["labels"])
        found, _ = _losses(_task(criterion=criterion), fresh, batch)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def _in_quarters(fresh, images):
    """The logits and the maps of a field seen through its four quarters."""
    half = images.shape[1] // 2
    parts = [images[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    maps = np.split(np.asarray(_look(fresh, np.stack(parts, 1).reshape(-1, half, half, 4)).maps), len(images))
    maps = np.stack([np.concatenate([np.concatenate(row, 1) for row in (four[:2], four[2:])]) for four in maps])
    return maps.mean((1, 2)), maps


def test_a_puzzle_is_a_second_answer_and_their_disagreement(fresh):
    batch = _batch()
    whole = _look(fresh, batch["image"])
    logits, maps = _in_quarters(fresh, batch["image"])
    apart = (np.abs(whole.maps - maps) * batch["labels"][:, None, None]).mean((1, 2, 3))
    expected = losses.bce(whole.logits, batch["labels"]) + losses.bce(logits, batch["labels"]) + 4 * apart
    found, _ = _losses(_task(puzzle=4.0), fresh, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("side", "tiles"), [(18, 2), (13, 3)])
def test_fields_of_any_size_are_puzzles(fresh, side, tiles):
    batch = _batch(side=side)
    task = _task(puzzle=1.0, tiles=tiles)
    found, _ = _losses(task, fresh, batch)
    assert np.isfinite(found).all()
    assert (found > _losses(_task(), fresh, batch)[0]).all()


def test_twins_answer_twice_and_disagree_where_turning_matters(fresh):
    batch = _batch()
    turning = jax.random.split(KEY, 3)[1]
    ways = mix.turns(turning, 4)
    seen, other = _look(fresh, batch["image"]), _look(fresh, mix.turned(batch["image"], ways))
    apart = cam.cam_consistency(seen.maps, mix.unturned(other.maps, ways), batch["labels"])
    expected = losses.bce(seen.logits, batch["labels"]) + losses.bce(other.logits, batch["labels"]) + 3 * apart
    found, _ = _losses(_task(equivariance=3.0), fresh, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (apart > 1e-4).any()


def test_mixed_fields_answer_for_mixed_labels(fresh):
    batch = _batch()
    image, labels = mix.mixed("mixup", jax.random.split(KEY, 3)[0], batch["image"], batch["labels"], batch["mask"])
    expected, _ = _losses(_task(), fresh, {**batch, "image": image, "labels": labels})
    np.testing.assert_allclose(_losses(_task(mix="mixup"), fresh, batch)[0], expected, rtol=1e-4)
    assert not np.allclose(labels, batch["labels"])


def test_weights_rise_with_the_updates():
    batch, found = _batch(), []
    task = _task(puzzle=4.0, ramp=2)
    params, state = properties.drawn(task.init, batch)
    for _ in range(4):
        loss, after = _losses(task, (params, state), batch)
        found.append(np.asarray(loss))
        state = {**state, "ramp": after["ramp"]}
    none, full = (_losses(_task(puzzle=weight), (params, state), batch)[0] for weight in (1e-9, 4.0))
    np.testing.assert_allclose(found, [none, (none + full) / 2, full, full], rtol=1e-5)
    assert (full > none).any()


def test_probabilities_and_maps_of_fields(fresh):
    batch = _batch()
    probabilities, maps = _task().predict(*fresh, batch["image"])
    numbers = _task().evaluate(*fresh, batch)
    np.testing.assert_allclose(probabilities, jax.nn.sigmoid(maps.mean((1, 2))), rtol=1e-5)
    p, y = np.asarray(probabilities, float), batch["labels"]
    np.testing.assert_allclose(numbers["loss"], -np.log(np.where(y > 0, p, 1 - p)).mean(1), rtol=1e-4)


def _labelled(padded, junk):
    padded["labels"][3:] = junk > 0
    return padded


@each_arm
def test_padding_influences_nothing(fresh, options):
    properties.assert_padding_influences_nothing(_task(**options), fresh, _batch(3), spoil=_labelled)


def test_one_and_eight_devices_agree_on_a_ragged_batch():
    task = _task(train.AXIS, puzzle=2.0, ramp=4, pooling="gem")
    properties.assert_one_and_eight_devices_agree(task, _batch, "backbone/Conv_0/kernel", "classifier/kernel")


def test_finds_where_the_bright_channel_is():
    """Fields are bright in the left or in the right half, in one of two channels: labels of fields teach the place."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.2, (32, SIDE, SIDE, 2)).astype(np.float32)
    label, side = np.arange(32) % 2, np.arange(32) // 2 % 2
    for each, channel, half in zip(image, label, side, strict=True):
        each[:, 8 * half : 8 * half + 8, channel] += 0.7
    batch = {"image": image, "labels": np.eye(CLASSES, dtype=np.float32)[label], "mask": np.ones(32, np.float32)}
    task, optimizer = _task(puzzle=1.0), optax.adam(3e-2)
    state = train.create(task, optimizer, batch, seed=0)
    step = jax.jit(partial(update, task, optimizer))
    for _ in range(60):
        state, report = step(state, batch, 0)
    assert report["loss"] < 0.3
    _, maps = task.predict(state.params, state.model_state, image)
    halves = np.asarray(maps).reshape(32, 4, 2, 2, CLASSES).mean((1, 3))
    rows = np.arange(32)
    assert (halves[rows, side, label] > halves[rows, 1 - side, label] + 1).all()


def test_golden_step():
    """Three SGD steps on drawn fields.

    These numbers change when the network, its initialisation, the loss or the update changes. If that was meant,
    say so in CHANGELOG.md and paste the numbers of the failure; if not, something broke.
    """
    task, optimizer = _task(pooling="gem", criterion=losses.focal_lovasz_bce, **EVERYTHING), optax.sgd(0.01)
    state = train.create(task, optimizer, _batch(), seed=0)
    step, found = jax.jit(partial(update, task, optimizer)), []
    for seed in range(3):
        state, report = step(state, _batch(seed=seed), 0)
        found.append(float(report["loss"]))
    assert found == pytest.approx([5.2548447, 5.8705406, 5.3110561], rel=1e-4), test_golden_step.__doc__
