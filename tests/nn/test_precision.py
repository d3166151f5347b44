"""bfloat16 where asked for: parameters, statistics, losses and answers stay float32, numbers stay close."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import properties
import pytest

from hpax import train
from hpax.nn import conv
from hpax.nn.backbones import BACKBONES
from hpax.nn.embedder import Autoencoder, Projector
from hpax.nn.inpainter import Inpainter
from hpax.nn.unet import DualPathUNet, LightUNet
from hpax.tasks.inpaint import PairedInpainting
from hpax.train.update import update

NETWORKS = ("efficientnet-tiny", "inception-tiny", "densenet-tiny", "se-resnext-tiny", "plain-tiny")


def images(b=4, side=16, c=3, seed=0):
    return np.random.default_rng(seed).random((b, side, side, c), np.float32)


def pairs(b=4):
    return {"source": images(b), "target": images(b, seed=1), "mask": np.ones(b, np.float32)}


def apart(found, expected):
    """‖found − expected‖ / ‖expected‖ over all leaves."""
    found, expected = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def all_float32(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}


def convolutions(function, *arguments):
    """The types of what is convolved, where `function` is compiled for a GPU."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    return re.findall(r"stablehlo\.convolution.*?: \(tensor<\S*x(\w+)>, tensor<\S*x(\w+)>\)", text)


@pytest.fixture(scope="module")
def tasks():
    return [PairedInpainting(Inpainter(0.1, dtype=dtype)) for dtype in (None, jnp.bfloat16)]


@pytest.fixture(scope="module")
def fresh(tasks):
    return properties.drawn(tasks[0].init, pairs())


def test_the_inpainter_agrees_with_float32(tasks, fresh):
    exact, rough = ((jax.jit(task.evaluate)(*fresh, pairs()), jax.jit(task.encode)(*fresh, images())) for task in tasks)
    assert all_float32(rough)
    assert apart(rough[0]["loss"], exact[0]["loss"]) < 0.01
    for layer, features in exact[1].items():
        assert 0 < apart(rough[1][layer], features) < 0.01


@pytest.mark.slow
def test_an_update_moves_masters_of_float32_as_far_and_the_same_way(tasks, fresh):
    state = train.State(jnp.zeros((), jnp.int32), *fresh, optax.sgd(0.1).init(fresh[0]))
    after = [jax.jit(partial(update, task, optax.sgd(0.1)))(state, pairs(), 0) for task in tasks]
    (exact, told), (rough, rough_told) = after
    assert all_float32((rough.params, rough.model_state))
    assert apart(rough_told["loss"], told["loss"]) < 0.01
    assert apart(rough.model_state, exact.model_state) < 0.01
    moves = [jax.tree.map(np.subtract, each.params, state.params) for each in (rough, exact)]
    assert apart(*moves) < 0.15  # most of it from ReLUs that rounding turns on or off


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_float32(name):
    x = images(2, 96, 4)
    exact, rough = (BACKBONES[name](dtype=dtype) for dtype in (None, jnp.bfloat16))
    variables = properties.drawn(exact.init, x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, jax.eval_shape(rough.init, jax.random.key(0), x)
    )
    answers = [jax.jit(network.apply)(variables, x) for network in (rough, exact)]
    assert all_float32(answers)
    assert 0 < apart(*answers) < 0.03
    kinds = convolutions(rough.apply, variables, x)
    assert kinds
    assert set(kinds) == {("bf16", "bf16")}


SMALL = {
    "light-unet": LightUNet(widths=(8, 12)),
    "dpn-unet": DualPathUNet(4, (16, 24), (4, 4), (1, 1), 8, 4),
    "projector": Projector(5, hidden=8, width=0.1),
    "autoencoder": Autoencoder(3, width=0.1),
}
"""Networks of segmentation, and of the rivals of inpainting."""


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_every_recipe_agree_with_float32(name):
    exact, rough, x = SMALL[name], SMALL[name].clone(dtype=jnp.bfloat16), images(2, 32, 3)
    variables = properties.drawn(exact.init, x)
    answers = [
        jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))(variables, x) for network in (rough, exact)
    ]
    assert all_float32(answers)
    assert 0 < apart(*(answer for answer, _ in answers)) < 0.05
    assert apart(*(state for _, state in answers)) < 0.05
    kinds = convolutions(rough.apply, variables, x)
    assert kinds
    assert set(kinds) == {("bf16", "bf16")}


def test_gpus_take_plain_convolutions_in_training(tasks, fresh):
    """Of 14 layers: once forward, once by the kernel, and once by the image but for the two that see images."""
    state = train.State(jnp.zeros((), jnp.int32), *fresh, optax.sgd(0.1).init(fresh[0]))
    kinds = convolutions(partial(update, tasks[1], optax.sgd(0.1)), state, pairs(), 0)
    assert len(kinds) == 14 * 3 - 2
    assert set(kinds) == {("bf16", "bf16")}


def test_a_doubled_image_is_convolved_alike_everywhere():
    x, small = images(2, 6, 5), np.random.default_rng(2).normal(size=(2, 2, 2, 2, 5, 3)).astype(np.float32)

    def both(way):
        return way(x, small), jax.grad(lambda *each: jnp.square(way(*each)).sum(), (0, 1))(x, small)

    found, expected = both(conv._together), both(conv._one_by_one)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)
