"""Folds keep proteins whole, and no model predicts a protein that it learned from."""

import numpy as np
import pytest

from hpax.recipes import distil

RNG = np.random.default_rng(0)
PROTEINS = [f"P{number}" for number in RNG.integers(0, 43, 200)]
CLASS = {protein: int(RNG.integers(0, 5)) for protein in sorted(set(PROTEINS))}


def held(folds, proteins=PROTEINS):
    """Fold → its proteins."""
    return [{p for p, own in zip(proteins, folds, strict=True) if own == fold} for fold in range(folds.max() + 1)]


@pytest.mark.parametrize("count", [2, 5])
def test_a_protein_is_in_one_fold_and_folds_are_even(count):
    strata = [CLASS[protein] for protein in PROTEINS]
    parts = held(distil.folds(PROTEINS, count, strata=strata))
    assert sum(map(len, parts)) == len(set(PROTEINS))
    assert set.union(*parts) == set(PROTEINS)
    for stratum in [set(PROTEINS), *({p for p in CLASS if CLASS[p] == label} for label in range(5))]:
        sizes = [len(part & stratum) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_folds_know_nothing_of_the_order_of_fields():
    folds = distil.folds(PROTEINS, 4)
    order = RNG.permutation(len(PROTEINS))
    np.testing.assert_array_equal(distil.folds([PROTEINS[place] for place in order], 4), folds[order])
    alphabetical = {p: k % 4 for k, p in enumerate(sorted(set(PROTEINS)))}
    assert [alphabetical[p] for p in PROTEINS] != folds.tolist()


@pytest.mark.parametrize("count", [1, 44])
def test_folds_need_proteins(count):
    with pytest.raises(ValueError, match="2 or more"):
        distil.folds(PROTEINS, count)


def test_every_field_is_predicted_once_by_a_model_that_never_saw_its_protein():
    fields = list(enumerate(PROTEINS))
    models = []

    def fit(training):
        models.append({protein for _, protein in training})

        def predict(field):
            assert field[1] not in models[-1]
            return np.array([[field[0], len(models)]], float)

        return predict

    folds = distil.folds(PROTEINS, 5)
    found = np.concatenate(distil.out_of_fold(fields, folds, fit))
    np.testing.assert_array_equal(found[:, 0], np.arange(len(fields)))
    np.testing.assert_array_equal(found[:, 1], folds + 1)
    assert [len(seen) for seen in models] == [len(set(PROTEINS)) - len(part) for part in held(folds)]
