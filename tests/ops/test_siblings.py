"""Losses of pairs: perfect pairs cost least, padding and siblings repel nobody."""

import jax.numpy as jnp
import numpy as np
import pytest

from hpax.ops import siblings

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(2, 6, 4)).astype(np.float32)
ALL = np.ones(6, np.float32)


def _literal(first, second, groups, temperature):
    first, second = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (first, second))
    cosines = np.exp(first @ second.T / temperature)
    losses = []
    for own in range(len(first)):
        rivals = [other for other in range(len(first)) if groups[other] != groups[own]]
        across = -np.log(cosines[own, own] / (cosines[own, own] + cosines[own, rivals].sum()))
        down = -np.log(cosines[own, own] / (cosines[own, own] + cosines[rivals, own].sum()))
        losses.append((across + down) / 2)
    return losses


def test_contrast_is_that_of_a_loop():
    groups = np.array([0, 0, 1, 2, 2, 3])
    found = siblings.normalised_contrast(FIRST, SECOND, groups, ALL, temperature=0.3)
    np.testing.assert_allclose(found, _literal(FIRST, SECOND, groups, 0.3), rtol=1e-5)


@pytest.mark.parametrize("loss", ["contrast", "vicreg"])
def test_padding_changes_nothing_and_pairs_that_agree_cost_less(loss):
    def of(first, second, mask):
        if loss == "vicreg":
            return np.asarray(siblings.vicreg(jnp.asarray(first), jnp.asarray(second), jnp.asarray(mask)))
        return np.asarray(siblings.normalised_contrast(first, second, np.arange(len(first)), mask))

    padded = [np.concatenate([side, 100 * np.ones((2, 4), np.float32)]) for side in (FIRST, SECOND)]
    mask = np.concatenate([ALL, np.zeros(2, np.float32)])
    np.testing.assert_allclose(of(*padded, mask)[:6], of(FIRST, SECOND, ALL), rtol=1e-4)
    assert of(FIRST, FIRST, ALL).mean() < of(FIRST, SECOND, ALL).mean()


def test_vicreg_charges_a_collapse():
    constant = jnp.ones((6, 4))
    assert siblings.vicreg(constant, constant, jnp.asarray(ALL))[0] > 45  # two sides whose variance is none
    spread = jnp.asarray(RNG.choice([-2.0, 2.0], (4000, 4)), jnp.float32)
    assert siblings.vicreg(spread, spread, jnp.ones(4000))[0] < 0.2
