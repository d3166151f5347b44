"""Averages over turns: what turns with its image is left alone, and what does not comes out so that it does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpax.predict import tta

RNG = np.random.default_rng(0)


def images(shape=(2, 12, 16, 3)):
    return RNG.random(shape).astype(np.float32)


@pytest.mark.parametrize("turn", tta.ALL)
def test_a_turn_undoes_itself(turn):
    batch = images()
    np.testing.assert_array_equal(turn.back(turn(batch)), batch)


def test_there_are_eight_different_turns():
    batch = images((1, 5, 5, 1))
    assert len({turn(batch).tobytes() for turn in tta.ALL}) == 8
    np.testing.assert_array_equal(tta.ALL[0](batch), batch)


def blurred(batch):
    """A prediction that turns with its image: places' shades, blurred alike in all directions."""
    around = sum(jnp.roll(batch, step, axis) for step in (-1, 1) for axis in (1, 2))
    maps = jnp.tanh(around + batch) @ jnp.arange(12.0).reshape(3, 4)
    return jax.nn.sigmoid(maps.mean((1, 2)) - 8), maps


def lopsided(batch):
    """A prediction that does not."""
    weights = jnp.linspace(0, 3, batch.shape[1] * batch.shape[2]).reshape(1, *batch.shape[1:3], 1) ** 2
    maps = jnp.tanh(batch * weights) @ jnp.arange(12.0).reshape(3, 4)
    return jnp.sin(maps.mean((1, 2))) / 2 + 0.5, maps[:, ::2, ::2]


def test_an_equivariant_predictor_stays_as_it_is():
    batch = images()
    probabilities, maps = tta.of_fields(blurred)(batch)
    np.testing.assert_allclose(probabilities, blurred(batch)[0], rtol=1e-5)
    np.testing.assert_allclose(maps, blurred(batch)[1], rtol=1e-4, atol=1e-5)
    cells = tta.of_cells(lambda batch: blurred(batch)[0])(batch)
    np.testing.assert_allclose(cells, blurred(batch)[0], rtol=1e-5)


@pytest.mark.parametrize("turn", tta.ALL[1:])
def test_any_predictor_becomes_equivariant(turn):
    batch = images((2, 12, 16, 3))
    scales = (1.0, 0.75)
    probabilities, maps = tta.of_fields(lopsided, scales=scales)(batch)
    turned_probabilities, turned_maps = tta.of_fields(lopsided, scales=scales)(turn(batch))
    assert np.abs(lopsided(batch)[0] - lopsided(turn(batch))[0]).max() > 0.001
    np.testing.assert_allclose(turned_probabilities, probabilities, rtol=1e-4)
    np.testing.assert_allclose(turned_maps, turn(maps), rtol=1e-3, atol=1e-4)


def test_sizes_are_averaged_and_maps_keep_that_of_the_first():
    seen = []

    def predict(batch):
        seen.append(batch.shape[1:3])
        shade = batch.mean((1, 2))
        return shade, np.full((len(batch), *batch.shape[1:3], 3), len(seen), np.float32)

    batch = np.full((1, 8, 12, 3), 0.25, np.float32)
    probabilities, maps = tta.of_fields(predict, turns=tta.ALL[:1], scales=(1, 0.5, 1.5))(batch)
    assert seen == [(8, 12), (4, 6), (12, 18)]
    np.testing.assert_allclose(probabilities, 0.25)
    np.testing.assert_allclose(maps, np.full((1, 8, 12, 3), 2.0), rtol=1e-6)
