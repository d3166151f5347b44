"""The proteome: class frequencies, multi-localisation, styles, refusals."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from hpax import atlas
from hpax.simulate import Protein, proteome
from hpax.simulate.proteome import FREQUENCIES


@pytest.fixture(scope="module")
def skewed():
    return proteome(proteins=4000, seed=3)


def image_counts(proteins) -> np.ndarray:
    return np.bincount([c for p in proteins for c in p.locations], minlength=19)


def test_classes_are_as_skewed_as_in_the_hpa(skewed):
    counts = image_counts(skewed)
    assert stats.spearmanr(counts, FREQUENCIES).statistic > 0.97
    assert counts.max() > 100 * max(counts[18], 1)  # Negative is the rarest: 34 of 21,806 images
    main = np.bincount([p.locations[0] for p in skewed], minlength=19)
    expected = np.array(FREQUENCIES) / sum(FREQUENCIES) * len(skewed)
    assert stats.chisquare(main, expected).pvalue > 0.001


@pytest.mark.parametrize("share", [0.0, 0.25, 0.55])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_multilocalised_share_is_exact(share, balanced):
    proteins = proteome(proteins=200, seed=1, multilocalised=share, balanced=balanced)
    counts = [len(p.locations) for p in proteins]
    assert np.mean([count > 1 for count in counts]) == share
    assert max(counts) <= 3


def test_about_a_fifth_of_the_multilocalised_have_three_locations(skewed):
    counts = np.array([len(p.locations) for p in skewed])
    assert 0.16 < (counts == 3).sum() / (counts > 1).sum() < 0.24


def test_balanced_gives_two_proteins_per_class():
    proteins = proteome(proteins=38, seed=0, balanced=True, multilocalised=0.0)
    assert image_counts(proteins).tolist() == [2] * 19


def test_negative_excludes_every_other_class():
    proteins = proteome(proteins=190, seed=0, balanced=True, multilocalised=1.0)
    assert all(p.locations == (atlas.NEGATIVE,) for p in proteins if atlas.NEGATIVE in p.locations)
    assert all(len(p.locations) > 1 for p in proteins if atlas.NEGATIVE not in p.locations)
    with pytest.raises(ValueError, match="excludes every other class"):
        Protein("x", 0, (0, atlas.NEGATIVE), ("a",))


def test_the_varying_share_is_exact_and_single_locations_vary_too(skewed):
    varying = [p for p in skewed if p.variation]
    assert len(varying) == round(0.35 * len(skewed))
    assert {len(p.locations) for p in varying} == {1, 2, 3}


def test_a_proteome_is_a_function_of_its_seed():
    assert proteome(proteins=50, seed=4) == proteome(proteins=50, seed=4)
    assert proteome(proteins=50, seed=4) != proteome(proteins=50, seed=5)


def test_two_proteins_of_a_class_have_styles_of_their_own(skewed):
    first, second = [p for p in skewed if p.locations[0] == 16][:2]
    assert first.style(16) == dataclasses.replace(first, name="another name").style(16)
    assert first.style(16) != second.style(16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"proteins": 0}, "at least one protein, got 0"),
        ({"proteins": 3, "multilocalised": 1.2}, r"multilocalised must be a share in \[0, 1\], got 1.2"),
        ({"proteins": 3, "varying": -0.1}, r"varying must be a share"),
        ({"proteins": 3, "frequencies": (1.0, 2.0)}, "19 positive numbers"),
        ({"proteins": 3, "seed": -1}, "must not be negative, got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        proteome(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"locations": ()}, "one or more different classes"),
        ({"locations": (3, 3)}, "one or more different classes"),
        ({"locations": (19,)}, r"classes must be in 0..18"),
        ({"antibodies": ()}, "needs an antibody"),
        ({"variation": 1.0}, r"variation must be in \[0, 1\)"),
    ],
)
def test_impossible_proteins_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Protein("x", 0, (0,), ("a",)), **changes)
