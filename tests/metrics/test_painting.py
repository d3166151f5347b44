"""Whom a painted protein follows is told, by what it shares with one and not with the other."""

import numpy as np
import pytest

from hpax.metrics import painting

RNG = np.random.default_rng(0)
SOURCE, OWN, NOISE = RNG.normal(size=(3, 40, 8, 8))
GROUPS = np.arange(40) % 8


def test_correlations_are_numpys():
    painted = SOURCE + 0.5 * OWN + NOISE
    found = painting.following(painted, SOURCE, OWN, GROUPS)
    each = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(painted, SOURCE, strict=True)]
    assert found.source.value == pytest.approx(np.mean(each))
    assert found.source.low <= found.source.value <= found.source.high
    assert (found.pairs, found.groups) == (40, 8)


def test_a_network_that_reads_the_target_does_not_follow_the_source():
    places = 0.8 * OWN + 0.6 * SOURCE  # the two truths look alike, as all proteins of one cell do
    follower = painting.following(places + 0.3 * NOISE, places, OWN, GROUPS)
    reader = painting.following(OWN + 0.3 * NOISE, places, OWN, GROUPS)
    assert reader.source.value > 0.5  # for they look alike
    assert abs(reader.source_alone.value) < 0.1 < 0.5 < follower.source_alone.value
    assert abs(follower.own_alone.value) < 0.1 < 0.5 < reader.own_alone.value
    assert (follower.follows.value, reader.follows.value) == (1, 0)


def test_what_is_constant_correlates_with_nothing_and_nothing_is_refused():
    flat = painting.following(np.zeros_like(OWN), SOURCE, OWN, GROUPS)
    assert flat.source.value == flat.own_alone.value == 0
    with pytest.raises(ValueError, match="got 0 pairs"):
        painting.following(OWN[:0], OWN[:0], OWN[:0], [])
