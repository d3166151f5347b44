"""Matching: a loop over detections is the oracle, and padding is invisible."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.ops import matching

detections = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-1, 4), st.sampled_from((0.0, 0.3, 0.6, 0.9))), min_size=1, max_size=20
)
SIZE, TRUTHS = 64, 8


def padded(rows):
    rows = sorted(rows, key=lambda row: row[0])
    pads = [(2**30, -1, -1.0)] * (SIZE - len(rows))
    tier, truth, iou = (np.array(column) for column in zip(*rows, *pads, strict=True))
    return jnp.asarray(tier, jnp.int32), jnp.asarray(truth, jnp.int32), jnp.asarray(iou, jnp.float32)


def loop(tier, truth, iou, threshold):
    """Visit by tier, the later listed first; the first to reach a truth has it."""
    hit, taken = np.zeros(len(tier), bool), set()
    for place in sorted(range(len(tier)), key=lambda i: (tier[i], -i)):
        if truth[place] >= 0 and iou[place] >= threshold and truth[place] not in taken:
            taken.add(truth[place])
            hit[place] = True
    return hit


@settings(deadline=None, max_examples=150)
@given(detections, st.sampled_from((0.3, 0.5, 0.6)))
def test_equals_a_loop(rows, threshold):
    tier, truth, iou = padded(rows)
    threshold = np.float32(threshold)
    hit = matching.true_positives(tier, truth, iou, jnp.asarray(threshold), TRUTHS)
    np.testing.assert_array_equal(hit, loop(*map(np.asarray, (tier, truth, iou)), threshold))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.booleans(), min_size=1, max_size=SIZE))
def test_area_equals_a_loop_whatever_the_padding(hits):
    padded_hits = np.zeros(SIZE, bool)
    padded_hits[: len(hits)] = hits
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    area = sum(max(precision[n:]) for n in range(len(hits)) if hits[n])
    assert matching.average_precision(jnp.asarray(padded_hits), jnp.asarray(80)) == pytest.approx(area / 80, rel=1e-5)


def test_buckets_hold_their_size_and_waste_little():
    sizes = np.arange(1, 5000)
    buckets = np.array([matching.bucket(int(size)) for size in sizes])
    assert (buckets >= sizes).all()
    assert (buckets[64:] <= 1.25 * sizes[64:]).all()
    assert len(np.unique(buckets)) < 30
    assert matching.bucket(0) == 64
