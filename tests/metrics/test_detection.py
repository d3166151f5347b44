"""Scores of detections agree with the literal definition, and do not depend on what they should not."""

import dataclasses
import math

import literal_detection
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_detection import Picture, Thing

from hpax.formats import label_images
from hpax.metrics import counting, detection
from hpax.ops import matching

SHAPE = (3, 4)
LABELS = (0, 7, 18)
masks = st.frozensets(st.integers(0, 11), max_size=8)


def things(scores):
    drawn = st.builds(Thing, st.sampled_from(LABELS), scores, masks)
    return st.lists(drawn, max_size=7).flatmap(  # some masks and objects several times
        lambda base: st.lists(st.sampled_from(base), max_size=3).map(lambda more: base + more) if base else st.just([])
    )


pictures = st.lists(
    st.builds(
        Picture,
        things(st.sampled_from((0.0, 0.25, 0.5, 0.5 + 2**-52, 1.0))),  # ties, and scores that float32 would tie
        things(st.just(1.0)),
        st.none() | st.frozensets(st.sampled_from(LABELS)),
    ),
    min_size=1,
    max_size=4,
)


def one(number, picture):
    sides = (literal_detection.listing(str(number), *SHAPE, side) for side in (picture.detections, picture.truths))
    return counting.from_listings(number, *sides, range(19) if picture.verified is None else picture.verified)


def tallied(images):
    return counting.merge([one(number, picture) for number, picture in enumerate(images)])


@settings(deadline=None, max_examples=200)
@given(pictures, st.sampled_from((0.2, 0.5, 0.6, 1.0)))
def test_equals_the_literal_definition(images, iou):
    ap = detection.score(tallied(images), iou=iou).ap[0]
    for label in LABELS:
        expected = literal_detection.average_precision(images, label, iou)
        assert ap[label] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(pictures)
def test_several_thresholds_in_one_pass_equal_each_alone(images):
    whole = tallied(images)
    together = detection.score(whole, iou=(0.3, 0.6, 0.9))
    for index, iou in enumerate(together.thresholds):
        alone = detection.score(whole, iou=iou)
        np.testing.assert_allclose(together.ap[index], alone.ap[0], rtol=1e-12)
        np.testing.assert_array_equal(together.hits[index], alone.hits[0])
        assert together.matched_cells[index] == alone.matched_cells[0]


@settings(deadline=None, max_examples=60)
@given(pictures, st.randoms(use_true_random=False))
def test_merging_in_any_order_and_grouping_leaves_no_trace(images, random):
    parts = [one(number, picture) for number, picture in enumerate(images)]
    random.shuffle(parts)
    cut = random.randrange(len(parts) + 1)
    merged = counting.merge([counting.merge(parts[cut:]), counting.merge(parts[:cut])])
    for got, expected in zip(merged, tallied(images), strict=True):
        np.testing.assert_array_equal(got, expected)


def drawn(seed, cells=6, size=24):
    """Index images of a truth and a prediction, and distinct scores."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(generator.integers(0, cells + 1, (size // 4, size // 4)), 4, 0), 4, 1)
    predicted = np.where(generator.random(truth.shape) < 0.9, truth, 0)
    scores = generator.permutation(cells * 19).reshape(cells, 19) / (cells * 19)
    scores[generator.random(scores.shape) < 0.3] = np.nan
    return predicted, scores, truth, generator.random((cells, 19)) < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_cells_changes_nothing_when_scores_are_distinct(seed):
    predicted, scores, truth, classes = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    shuffled = np.concatenate([[0], np.argsort(order) + 1])[predicted]
    before = detection.score(counting.from_label_images(0, predicted, scores, truth, classes))
    after = detection.score(counting.from_label_images(0, shuffled, scores[order], truth, classes))
    np.testing.assert_array_equal(before.ap, after.ap)
    assert before.matched_cells == after.matched_cells > 0


@pytest.mark.parametrize("seed", range(5))
def test_index_images_score_as_their_submission_does(seed):
    predicted, scores, truth, classes = drawn(seed)
    pair = (
        label_images.listing("a", predicted, scores),
        label_images.listing("a", truth, label_images.truth_scores(classes)),
    )
    listed = detection.score(counting.from_listings(3, *pair))
    direct = detection.score(counting.from_label_images(3, predicted, scores, truth, classes))
    np.testing.assert_array_equal(listed.ap, direct.ap)
    assert (listed.matched_iou, listed.true_cells) == (direct.matched_iou, direct.true_cells)


def test_a_permuted_image_order_changes_only_ties():
    things = [Thing(0, score / 10, frozenset({pixel})) for pixel, score in SCORED]
    images = [Picture([things[n]], [things[n + 1]]) for n in range(0, len(things), 2)]
    ap = detection.score(tallied(images)).ap[0, 0]
    assert 0 < ap < 1
    assert detection.score(tallied(images[::-1])).ap[0, 0] == ap


SCORED = [(0, 9), (1, 10), (0, 8), (0, 10), (1, 7), (1, 10), (2, 6), (3, 10)]


def test_verified_truth_ignores_other_classes():
    cell = frozenset({0, 1, 2})
    picture = Picture([Thing(0, 0.9, cell), Thing(7, 0.9, cell)], [Thing(0, 1, cell)], verified=())
    scores = detection.score(tallied([picture]))
    assert scores.ignored == 1
    assert scores.detections.tolist() == [1] + [0] * 18
    assert scores.mean("fixed") == pytest.approx(1 / 19)
    assert scores.mean("present") == 1


def test_a_score_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="must be finite"):
        tallied([Picture([Thing(0, math.nan, frozenset({0}))], [])])


def test_equal_masks_but_no_threshold():
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        detection.score(tallied([Picture([], [])]), iou=0)


def test_images_twice_are_an_error():
    part = one(0, Picture([], []))
    with pytest.raises(ValueError, match=r"\[0\] occur twice"):
        counting.merge([part, part])


def test_selection_scores_as_the_images_alone():
    images = [Picture([Thing(0, 0.5 + n / 10, frozenset({n}))], [Thing(0, 1, frozenset({n, n % 2}))]) for n in range(4)]
    whole = tallied(images)
    chosen = detection.score(whole.select([1, 2]))
    alone = detection.score(counting.merge([one(1, images[1]), one(2, images[2])]))
    assert chosen.images == 2
    np.testing.assert_array_equal(chosen.ap, alone.ap)
    np.testing.assert_array_equal(chosen.matched_iou, alone.matched_iou)


def test_tallies_survive_a_file(tmp_path):
    whole = tallied([Picture([Thing(0, 0.1 + 0.2, frozenset({1}))], [Thing(0, 1, frozenset({1, 2}))])])
    whole.save(tmp_path / "shard.npz")
    for got, expected in zip(counting.Counts.load(tmp_path / "shard.npz"), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="must hold"):
        counting.Counts.load(tmp_path / "other.npz")


def test_one_bucket_compiles_once():
    before = matching.evaluate._cache_size()
    for cells in (65, 72, 80):
        row = [Thing(0, n / 100, frozenset({n % 12})) for n in range(cells)]
        detection.score(tallied([Picture(row, row[:9])]), iou=(0.1, 0.2))
    assert matching.evaluate._cache_size() - before == 1


def test_curves_end_where_the_counts_say():
    images = [Picture([Thing(0, s / 10, frozenset({p}))], [Thing(0, 1, frozenset({p % 2}))]) for p, s in SCORED]
    scores = detection.score(tallied(images))
    recall, precision, score = scores.curve(0)
    assert recall[-1] == scores.hits[0, 0] / scores.truths[0]
    assert precision[-1] == scores.hits[0, 0] / scores.detections[0]
    assert (np.diff(score) <= 0).all()
    area = np.sum(np.diff(recall, prepend=0) * np.maximum.accumulate(precision[::-1])[::-1])
    assert area == pytest.approx(scores.ap[0, 0])


def test_correlation_is_pearsons():
    images = [Picture([Thing(0, 0.5, frozenset({0}))], [Thing(0, 1, frozenset({0}))])]
    base = detection.score(tallied(images))
    ious, aps = [0.7, 0.8, 0.95, 0.9], [0.5, 0.3, 0.4, 0.1]
    several = []
    for iou, ap in zip(ious, aps, strict=True):
        row = np.full((1, 19), ap)
        several.append(dataclasses.replace(base, ap=row, matched_iou=np.array([iou])))
    expected = scipy.stats.pearsonr(ious, aps)
    assert detection.correlation(several) == pytest.approx((expected.statistic, expected.pvalue))
    with pytest.raises(ValueError, match="three or more"):
        detection.correlation(several[:2])
