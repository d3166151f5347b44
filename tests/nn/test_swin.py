"""Swin: as large as published; its windows see what they should, by brute force and by what moves what."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hpax.nn.swin import Attention, Block, Swin, folded, together, unwindowed, windows

KEY = jax.random.key(0)


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _drawn(module, *args, seed=0, **options):
    """Variables whose every leaf is random, biases included."""
    shapes = jax.eval_shape(partial(module.init, **options), KEY, *args)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("channels", [3, 4])
def test_swin_t_has_the_published_number_of_parameters(channels):
    """28,288,354 for three channels, with a classifier of 1,000 classes; at 224 pixels, 7 × 7 places."""
    image = jnp.zeros((1, 224, 224, channels))
    out, variables = jax.eval_shape(Swin().init_with_output, KEY, image)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + 768 * 1000 + 1000 == 28_288_354 + (channels - 3) * 16 * 96
    assert out.shape == (1, 7, 7, 768)


def test_windows_are_taken_row_by_row_and_put_back():
    x = _random(2, 4, 6, 3)
    parts = windows(x, (2, 3))
    np.testing.assert_array_equal(parts[:, 1], x[:, :2, 3:].reshape(2, 6, 3))
    np.testing.assert_array_equal(unwindowed(parts, (4, 6), (2, 3)), x)
    np.testing.assert_array_equal(folded(x[:, :3, :5], 2)[:, 1, 2, :3], x[:, 2, 4])
    np.testing.assert_array_equal(folded(x[:, :3, :5], 2)[:, 1, 2, 3:], 0)


def _by_brute_force(params, x, heads, window, shift):
    """Every place in turn: who shares its window, what it asks of them, what it gets."""
    h, w, c = x.shape
    asked = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    q, k, v = (part.reshape(h, w, heads, c // heads) for part in np.split(asked, 3, -1))
    cells = [[_cell(place, side, window, shift) for place in range(side)] for side in (h, w)]
    gathered = np.zeros((h, w, heads, c // heads))
    for i, j in np.ndindex(h, w):
        seen = [(m, n) for m, n in np.ndindex(h, w) if (cells[0][m], cells[1][n]) == (cells[0][i], cells[1][j])]
        for head in range(heads):
            bias = [params["biases"][i - m + window - 1, j - n + window - 1, head] for m, n in seen]
            logits = [q[i, j, head] @ k[m, n, head] / np.sqrt(c // heads) for m, n in seen]
            weights = np.exp(np.array(logits) + bias)
            gathered[i, j, head] = (
                sum(p * v[m, n, head] for p, (m, n) in zip(weights, seen, strict=True)) / weights.sum()
            )
    return gathered.reshape(h, w, c) @ params["out"]["kernel"] + params["out"]["bias"]


def _cell(place, side, window, shift):
    """Which window of a line a place lies in; a shifted line begins and ends with parts of windows."""
    return (place - shift) // window if side > window else 0


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(("h", "w"), [(6, 9), (5, 7), (2, 4), (3, 3), (1, 1)])
def test_attention_equals_brute_force(h, w, shift):
    """Sides that windows divide, and do not, and exceed."""
    module, x = Attention(heads=2, window=3, shift=shift), _random(1, h, w, 4)
    variables = _drawn(module, x)
    expected = _by_brute_force(variables["params"], x[0].astype(np.float64), 2, 3, shift)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, x)[0], expected, atol=2e-5)


def test_shifted_windows_do_not_mix_across_the_border_of_the_image():
    """A change at the first place reaches its window alone: not the other borders, which wrap around beside it."""
    module, x = Attention(heads=2, window=4, shift=2), _random(1, 8, 8, 4)
    variables = _drawn(module, x)
    changed = x.copy()
    changed[0, 0, 0] += 1
    moved = np.abs(np.subtract(module.apply(variables, changed), module.apply(variables, x))).max(-1)[0]
    assert (moved[:2, :2] > 0).all()
    moved[:2, :2] = 0
    np.testing.assert_array_equal(moved, 0)


def test_every_place_sees_itself_and_padding_sees_no_place():
    seen = together((5, 6), (3, 3), (1, 1))
    assert seen.shape == (4, 9, 9)
    assert seen[:, np.arange(9), np.arange(9)].all()
    real = np.zeros((1, 6, 6, 1), np.float32)
    real[:, :5] = 1
    kind = windows(np.roll(real, (-1, -1), (1, 2)), (3, 3))[0, ..., 0]
    assert not (seen & (kind[:, :, None] != kind[:, None])).any()


def test_images_of_any_size_and_the_second_block_joins_windows():
    small, images = Swin(width=4, depths=(1, 1), heads=(2, 4), window=3), _random(1, 18, 29, 4)
    assert np.isfinite(jax.jit(small.apply)(_drawn(small, images), images)).all()
    x = _random(1, 6, 6, 8)
    changed = x.copy()
    changed[0, 1, 1] += 1
    blocks = [Block(heads=2, window=3, shift=shift) for shift in (0, 1)]
    drawn = [_drawn(block, x) for block in blocks]

    def reached(count):
        a, b = x, changed
        for block, variables in zip(blocks[:count], drawn, strict=False):
            a, b = (jax.jit(block.apply)(variables, each) for each in (a, b))
        return np.abs(np.subtract(a, b)).max(-1)[0] > 0

    assert not reached(1)[3:].any()
    assert reached(2)[3:].any()


def test_training_leaves_out_halves_of_blocks_by_the_row():
    block, x = Block(heads=2, window=3, drop=0.5), _random(64, 3, 3, 8)
    variables = _drawn(block, x)
    dropped = block.apply(variables, x, train=True, rngs={"dropout": KEY})
    same = (np.asarray(dropped) == x).all((1, 2, 3))
    assert 4 <= same.sum() <= 28  # a quarter of 64 rows lose both halves
    never = Block(heads=2, window=3)
    np.testing.assert_array_equal(never.apply(variables, x, train=True), block.apply(variables, x))


@pytest.mark.parametrize(
    ("wrong", "told"), [({"depths": (2,)}, "entry for each stage"), ({"heads": (2, 3)}, "divide by their heads")]
)
def test_options_that_fit_no_network_are_refused(wrong, told):
    options = {"width": 8, "depths": (1, 1), "heads": (2, 4)} | wrong
    with pytest.raises(ValueError, match=told):
        jax.eval_shape(Swin(**options).init, KEY, jnp.zeros((1, 8, 8, 3)))


def test_the_softmax_of_the_whole_map_where_one_window_spans_it():
    """Without biases, the attention is Flax's own."""
    module, x = Attention(heads=2, window=5), _random(2, 4, 5, 6)
    variables = _drawn(module, x)
    params = variables["params"] | {"biases": np.zeros((9, 9, 2), np.float32)}
    kernels = np.split(params["qkv"]["kernel"], 3, -1), np.split(params["qkv"]["bias"], 3)
    theirs = {
        name: {"kernel": kernel.reshape(6, 2, 3), "bias": bias.reshape(2, 3)}
        for name, kernel, bias in zip(("query", "key", "value"), *kernels, strict=True)
    }
    theirs["out"] = {"kernel": params["out"]["kernel"].reshape(2, 3, 6), "bias": params["out"]["bias"]}
    oracle = nn.MultiHeadDotProductAttention(num_heads=2)
    expected = oracle.apply({"params": theirs}, x.reshape(2, 20, 6))
    np.testing.assert_allclose(module.apply({"params": params}, x).reshape(2, 20, 6), expected, atol=1e-5)
