"""Pairs made where the cells live are those that the host would have made, to the bit."""

import itertools

import jax
import numpy as np
import pytest
from properties import assert_same

from hpax.data import PairBatches, ProcessShard, ResidentPairs, preprocess
from hpax.ops import stretch

STEPS = 6  # an epoch of 37 cells in batches of 8, the padded batch, and the beginning of the next epoch


def first_two_channels(crops):
    return preprocess.yeast(crops[..., :2])


@pytest.mark.parametrize("pair", ["sibling", "self", "random"])
@pytest.mark.parametrize("prepare", [preprocess.human, first_two_channels])
@pytest.mark.parametrize("flip", [True, False])
def test_batches_are_those_of_the_host_to_the_bit(crops, pair, prepare, flip):
    pairs = PairBatches(crops, 8, seed=3, pair=pair, prepare=prepare, flip=flip)
    resident = ResidentPairs(pairs)
    cells = resident.examples(0, resident.n)["image"]
    make = jax.jit(lambda cells, draw: resident.materialise(lambda rows: {"image": cells[rows]}, draw))
    for step, draw in enumerate(itertools.islice(resident.draws(0), STEPS)):
        assert_same(jax.tree.map(np.asarray, make(cells, draw)), pairs[step])


def test_processes_draw_their_own_rows(crops):
    whole = PairBatches(crops, 16, seed=1)
    parts = [PairBatches(crops, 16, seed=1, share=ProcessShard(process, 2, devices=8)) for process in range(2)]
    for step in range(3):
        drawn = [part.draw(step) for part in parts]
        assert_same({name: np.concatenate([draw[name] for draw in drawn]) for name in drawn[0]}, whole.draw(step))


def test_draws_go_on_at_any_step(crops):
    resident = ResidentPairs(PairBatches(crops, 8))
    later = list(itertools.islice(resident.draws(0), 7))[6]
    assert_same(next(resident.draws(6)), later)


def test_examples_are_the_cells_as_stored(crops):
    stored = np.stack([example["image"] for example in crops.__getitems__(range(5, 20))])
    assert_same(ResidentPairs(PairBatches(crops, 8)).examples(5, 20), {"image": stored})


def test_equal_pairs_are_compiled_once(crops):
    one, same = (ResidentPairs(PairBatches(crops, 8, seed=seed)).materialise for seed in (0, 1))
    assert one == same
    assert hash(one) == hash(same)
    assert one != ResidentPairs(PairBatches(crops, 8, prepare=preprocess.yeast)).materialise


def test_a_quotient_is_rounded_once():
    """Compiled or not, by a number or by one for each image."""
    rng = np.random.default_rng(0)
    images, divisors = rng.random((64, 8, 8, 2), np.float32), rng.uniform(0.1, 1, (64, 1, 1, 2)).astype(np.float32)
    for divisor in (255, 0.95, divisors):
        exact = (images.astype(np.float64) / np.asarray(divisor, np.float32)).astype(np.float32)
        np.testing.assert_array_equal(stretch.quotient(images, divisor), exact)
        asked = np.asarray(divisor, np.float32)
        np.testing.assert_array_equal(jax.jit(stretch.quotient)(images, asked), exact)
        constant = jax.jit(lambda images, divisor=divisor: stretch.quotient(images, divisor))
        np.testing.assert_array_equal(constant(images), exact)
