"""Mixed examples: labels follow the pixels, padding is nobody's partner, and turns turn back."""

import jax
import numpy as np
import pytest
from scipy import stats

from hpax.ops import mix

KEY = jax.random.key(0)
each_mixture = pytest.mark.parametrize("how", ["mixup", "cutmix"])
mixed, partners = jax.jit(mix.mixed, static_argnums=0), jax.jit(mix.partners)


def _rows(b=6, side=8):
    """Rows of one grey each, 1 to b, whose labels are one-hot: what is mixed can be read off the pixels."""
    images = np.ones((b, side, side, 2), np.float32) * np.arange(1, b + 1, dtype=np.float32)[:, None, None, None]
    return images, np.eye(b, dtype=np.float32), np.ones(b, np.float32)


@each_mixture
def test_labels_are_the_shares_of_pixels(how):
    images, labels, mask = _rows()
    mixture, shares = mixed(how, KEY, images, labels, mask)
    np.testing.assert_allclose(shares @ np.arange(1, 7), mixture.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(shares.sum(1), np.ones(6), rtol=1e-6)
    assert ((shares > 0).sum(1) == 2).sum() >= 4
    if how == "cutmix":
        assert set(np.unique(mixture)) <= {1, 2, 3, 4, 5, 6}


@each_mixture
def test_padding_leaks_nowhere(how):
    """Neither what is in padded rows, nor how many there are, nor where, shows in the real ones."""
    images, labels, mask = _rows()
    expected = mixed(how, KEY, images, labels, mask)
    for junk in (7.0, np.nan):
        padded = [np.concatenate([each, np.full_like(each[:2], junk)]) for each in (images, labels)]
        found = mixed(how, KEY, *padded, np.concatenate([mask, np.zeros(2, np.float32)]))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a[:6], b)
    mask[[1, 4]] = 0
    for key in jax.random.split(KEY, 5):
        _, shares = mixed(how, key, images, labels, mask)
        np.testing.assert_array_equal(np.delete(shares, [1, 4], 0)[:, [1, 4]], 0)


def test_partners_are_a_permutation_of_the_real_rows_without_rest():
    mask = np.array([1, 0, 1, 1, 0, 1, 1], np.float32)
    real = np.flatnonzero(mask)
    seen = set()
    for key in jax.random.split(KEY, 20):
        other = np.asarray(partners(key, mask))
        assert sorted(other[real]) == sorted(real)
        assert (other[real] != real).all()
        np.testing.assert_array_equal(other[[1, 4]], [1, 4])
        seen.add(tuple(other))
    assert len(seen) == len(real) - 1


@pytest.mark.parametrize("real", [0, 1])
def test_who_is_alone_stays_as_it_is(real):
    images, labels, mask = _rows()
    mask[real:] = 0
    for how in ("mixup", "cutmix"):
        found = mixed(how, KEY, images, labels, mask)
        for a, b in zip(found, (images, labels), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_shares_of_mixup_are_beta_distributed():
    images, labels, mask = _rows(400, side=1)
    _, shares = mixed("mixup", KEY, images, labels, mask)
    assert stats.kstest(np.diag(shares), stats.beta(0.5, 0.5).cdf).pvalue > 0.01


def test_boxes_of_cutmix_cover_every_part_of_the_image():
    images, labels, mask = _rows(400)
    mixture, _ = mixed("cutmix", KEY, images, labels, mask)
    pasted = (mixture[..., 0] != images[..., 0]).mean(0)
    assert 0.1 < pasted.min() < pasted.max() < 0.6


def test_no_mixture_is_nothing():
    images, labels, mask = _rows()
    found = mix.mixed("none", KEY, images, labels, mask)
    assert found[0] is images
    assert found[1] is labels


def test_turns_are_the_eight_of_a_square_and_turn_back():
    images = np.random.default_rng(0).random((64, 5, 5, 2), np.float32)
    ways = mix.turns(KEY, 64)
    assert len(np.unique(ways, axis=0)) == 8
    np.testing.assert_array_equal(mix.turns(KEY, 70)[:64], ways)
    there = np.asarray(mix.turned(images, ways))
    np.testing.assert_array_equal(mix.unturned(there, ways), images)
    for before, after in zip(images, there, strict=True):
        squares = [np.rot90(each, n) for each in (before, before[:, ::-1]) for n in range(4)]
        assert sum(np.array_equal(after, square) for square in squares) == 1
    alike = mix.turned(np.repeat(images[:1], 64, 0), ways)
    assert len(np.unique(np.asarray(alike).reshape(64, -1), axis=0)) == 8
