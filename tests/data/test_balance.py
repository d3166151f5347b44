import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.data import balance

LABELS = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]])


def epochs(weights, n=400):
    often = balance.expected(np.asarray(weights, float))
    return often, [balance.draw(often, np.random.default_rng(seed)) for seed in range(n)]


def test_a_field_weighs_as_its_rarest_class():
    np.testing.assert_allclose(balance.weights(LABELS, 1), [1, 1, 1, 3.5, 1, 1, 3.5, 1, 1])
    np.testing.assert_allclose(balance.weights(LABELS), np.sqrt(balance.weights(LABELS, 1)))
    assert (balance.weights(LABELS, 0) == 1).all()
    order = np.random.default_rng(0).permutation(len(LABELS))
    np.testing.assert_array_equal(balance.weights(LABELS[order]), balance.weights(LABELS)[order])


def test_with_power_1_the_classes_come_equally_often():
    labels = np.repeat(np.eye(4, dtype=int), [60, 20, 10, 2], axis=0)
    _, drawn = epochs(balance.weights(labels, 1), 20)
    assert np.concatenate([labels[fields] for fields in drawn]).mean(0) == pytest.approx([0.25] * 4, rel=0.02)


@settings(deadline=None, max_examples=100)
@given(weights=st.lists(st.floats(0.1, 20), min_size=1, max_size=30), seed=st.integers(0, 2**31))
def test_an_epoch_has_one_length_and_every_field_about_as_often_as_it_weighs(weights, seed):
    often = balance.expected(np.array(weights))
    np.testing.assert_allclose(often / often[0], np.array(weights) / weights[0])
    fields = balance.draw(often, np.random.default_rng(seed))
    assert len(fields) == round(often.sum())
    counts = np.bincount(fields, minlength=len(weights))
    assert counts.min() >= 1
    assert (np.abs(counts - often) < 1 + 1e-6).all()


@pytest.mark.parametrize("weight", [1, 0.3, 7])
def test_fields_that_weigh_the_same_come_once(weight):
    _, drawn = epochs([weight] * 13, 50)
    assert all(fields.tolist() == list(range(13)) for fields in drawn)


def test_over_many_epochs_a_field_comes_as_often_as_expected():
    often, drawn = epochs([1, 1.3, 1, 2.75, 4, 1.1])
    found = np.mean([np.bincount(fields, minlength=6) for fields in drawn], axis=0)
    np.testing.assert_allclose(found, often, atol=0.1)


@pytest.mark.parametrize("weight", [0, -1, np.nan, np.inf])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="positive and finite, got"):
        balance.expected(np.array([1.0, weight]))
