"""The gap between two collections of fields against known answers."""

import numpy as np
import pytest

from hpax.metrics import domain_gap

CHANNELS = ("protein", "nucleus")


def noise(seed, count=12, low=0, high=200):
    draw = np.random.default_rng(seed)
    return [draw.integers(low, high, (64, 64, 2)).astype(np.uint8) for _ in range(count)]


def compare(first, second):
    return domain_gap.compare(first, second, channels=CHANNELS, side=32, folds=3)


def test_two_draws_of_one_distribution_cannot_be_told_apart():
    gap = compare(noise(0), noise(1))
    assert gap.auc == pytest.approx(0.5, abs=0.17)
    assert gap.levels.max() < 0.01
    assert gap.spectra.max() < 0.1
    assert gap.correlations < 0.05
    assert gap.patches == (48, 48)


def test_blank_fields_are_told_from_noise():
    gap = compare([np.zeros((64, 64, 2), np.uint8)] * 12, noise(1))
    assert gap.auc > 0.99
    assert gap.levels == pytest.approx([99.5 / 255] * 2, rel=0.05)
    assert gap.telling[0][1] == 1


def test_a_shift_of_one_channel_is_its_distance():
    shifted = [field + np.array([0, 51], np.uint8) for field in noise(1)]
    gap = compare(noise(0), shifted)
    assert gap.levels == pytest.approx([0, 0.2], abs=0.01)
    assert gap.telling[0][0].startswith("nucleus")


def test_channels_that_are_one_are_told_by_their_correlation():
    same = [np.repeat(field[..., :1], 2, axis=2) for field in noise(1)]
    gap = compare(noise(0), same)
    assert gap.correlations == pytest.approx(1, abs=0.05)
    assert gap.auc > 0.99


def test_features_have_their_names_and_bands():
    stripes = np.zeros((32, 32, 2), np.uint8)
    stripes[::2] = 200
    names = domain_gap.feature_names(CHANNELS)
    (found,) = domain_gap.features(stripes[None])
    assert len(names) == len(found) == len(set(names))
    row = dict(zip(names, found, strict=True))
    assert row["protein: black"] == 0.5
    assert row["protein with nucleus"] == pytest.approx(1)
    assert max(range(domain_gap.BANDS), key=lambda band: row[f"protein: power {band}"]) == domain_gap.BANDS - 1


def test_fields_are_cut_into_whole_patches():
    field = np.arange(70 * 40 * 2).reshape(70, 40, 2).astype(np.uint8)
    cut = domain_gap.patches(field, 32)
    assert cut.shape == (2, 32, 32, 2)
    np.testing.assert_array_equal(cut[1], field[32:64, :32])
    with pytest.raises(ValueError, match="must be 64 pixels"):
        domain_gap.patches(field, 64)
    with pytest.raises(ValueError, match="needs 5 fields"):
        domain_gap.compare([field], [field], channels=CHANNELS, side=32)
