"""Refined labels: by hand from the paper's Methods, and against a loop that does what the text says, step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax import atlas
from hpax.predict import refine

RULES = [refine.by_paper, refine.by_code]


def rows(*classes):
    return np.array([np.isin(np.arange(19), each) for each in classes]).astype(np.uint8)


def cells(**probabilities):
    return np.array([[float(probabilities.get(f"c{label}", 0.01)) for label in range(19)]])


@pytest.mark.parametrize(
    ("probabilities", "by_paper", "by_code"),
    [
        (cells(c0=0.9, c16=0.8), [0, 16], [0, 16]),
        (cells(c0=0.9, c16=0.4), [0], [0]),
        (cells(c0=0.3, c16=0.2), [atlas.NEGATIVE], [0, 16]),  # the code asks how likely beside the likeliest
        (cells(c0=0.3, c16=0.18), [atlas.NEGATIVE], [0]),  # .6 of it becomes 2/4, and that 0
        (cells(c0=0.5, c16=0.49), [0], [0, 16]),
        (cells(c0=0.2, c16=0.1, c5=0.9), [atlas.NEGATIVE], [atlas.NEGATIVE]),  # class 5 is not the field's
        (cells(c0=0.6, c16=0.1, c5=0.9), [0], [0]),
    ],
)
def test_cells_of_a_field_of_nucleoplasm_and_cytosol(probabilities, by_paper, by_code):
    field = rows([0, 16])[0]
    np.testing.assert_array_equal(refine.by_paper(field, probabilities), rows(by_paper))
    np.testing.assert_array_equal(refine.by_code(field, probabilities), rows(by_code))


def literally(field, probabilities, kept):
    """Steps 1 to 4 of the Methods, one cell and class at a time."""
    refined = []
    for cell in probabilities:
        inherited = [label for label in range(19) if field[label]]
        remaining = [label for label in inherited if kept(cell[label], max(cell))]
        refined.append([int(label in (remaining or [atlas.NEGATIVE])) for label in range(19)])
    return np.array(refined).reshape(-1, 19)


@given(seed=st.integers(0, 10_000), classes=st.integers(0, 4))
@settings(deadline=None, max_examples=60)
def test_the_rules_do_what_the_text_says(seed, classes):
    rng = np.random.default_rng(seed)
    field = atlas.multi_hot(rng.choice(18, classes, replace=False))
    probabilities = np.round(rng.random((5, 19)) ** 2, 2)  # two digits, so that there are ties with the limits
    paper = literally(field, probabilities, lambda one, most: int(one + 0.5) == 1)
    code = literally(field, probabilities, lambda one, most: round(round(one / most * 4) / 4) == 1)
    np.testing.assert_array_equal(refine.by_paper(field, probabilities), paper)
    np.testing.assert_array_equal(refine.by_code(field, probabilities), code)


@pytest.mark.parametrize("rule", RULES)
def test_no_label_is_added_but_negative_and_that_alone(rule):
    rng = np.random.default_rng(0)
    field = rows([2, 7, 13])[0]
    refined = rule(field, rng.random((300, 19)))
    others = np.arange(19) != atlas.NEGATIVE
    assert (refined[:, others] <= field[others]).all()
    np.testing.assert_array_equal(refined[:, atlas.NEGATIVE], 1 - refined[:, others].max(1))
    np.testing.assert_array_equal(rule(field, np.zeros((2, 19))), rows(*[[atlas.NEGATIVE]] * 2))
    np.testing.assert_array_equal(rule(field, refined * 1.0), refined)


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_shares_keep_every_label_in_its_surest_cell_and_the_order_of_cells(k, seed):
    rng = np.random.default_rng(seed)
    field, probabilities = rng.integers(0, 2, 19), rng.uniform(1e-6, 1, (k, 19))
    found = refine.shares(field, probabilities)
    np.testing.assert_array_equal(found.max(0), field)
    own = field > 0
    np.testing.assert_array_equal(found[:, own].argsort(0), probabilities[:, own].argsort(0))
    np.testing.assert_allclose(refine.shares(field, probabilities * rng.uniform(0.1, 1, 19)), found, rtol=1e-12)


def test_shares_of_impossible_classes_and_of_no_cells():
    assert not refine.shares(np.ones(19), np.zeros((2, 19))).any()
    assert refine.shares(np.ones(19), np.zeros((0, 19))).shape == (0, 19)


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 3), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_no_cell_is_negative_whose_most_probable_class_its_field_has(k, classes, least, seed):
    rng = np.random.default_rng(seed)
    field = atlas.multi_hot(rng.choice(18, classes, replace=False))
    probabilities = rng.uniform(1e-6, 1, (k, 19)) ** 3
    best = rng.integers(0, 19, k)
    for most, found in (
        (probabilities.argmax(1), refine.relative(field, probabilities, least=least)),
        (best, refine.relative(field, probabilities, least=least, best=best)),
    ):
        assert not found[field[most] > 0, atlas.NEGATIVE].any()
        assert (found[:, : atlas.NEGATIVE] <= field[: atlas.NEGATIVE]).all()
        likely = refine.shares(field, probabilities) >= least
        assert found[likely & (field > 0)].all()


def test_a_cytosol_of_unsure_cells_stays_cytosol_and_a_cell_without_it_is_negative():
    field, unsure = rows([16])[0], np.concatenate([cells(c16=0.2), cells(c16=0.15), cells(c16=0.0, c0=0.1)])
    np.testing.assert_array_equal(refine.by_paper(field, unsure), rows(*[[atlas.NEGATIVE]] * 3))
    np.testing.assert_array_equal(refine.relative(field, unsure, least=0.05), rows([16], [16], [atlas.NEGATIVE]))
