import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import optimize

from hpax.metrics import segmentation

MASKS = arrays.arrays(np.uint8, (5, 6), elements=st.integers(0, 4))
PAIRS = st.lists(st.tuples(MASKS, MASKS), min_size=1, max_size=3)


def near(mask, generator, rate=0.15):
    """A mask with some pixels given to a neighbour, the background or another object."""
    moved = np.roll(mask, generator.integers(-1, 2, 2), (0, 1))
    return np.where(generator.uniform(size=mask.shape) < rate, moved, mask)


def brute(predicted, true, threshold):
    """True positives, false positives, false negatives and matched IoUs by the best assignment of object to object."""
    found, wanted = ([image == i for i in np.unique(image[image > 0])] for image in (predicted, true))
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in wanted] for a in found]).reshape(len(found), len(wanted))
    iou[iou <= threshold] = 0
    matched = iou[optimize.linear_sum_assignment(iou, maximize=True)]
    matched = matched[matched > 0]
    return len(matched), len(found) - len(matched), len(wanted) - len(matched), matched


def score_of(pairs):
    return segmentation.score(segmentation.merge(segmentation.count(*pair) for pair in pairs))


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.booleans(), st.integers(0, 99))
def test_scores_equal_the_best_assignment_of_objects_by_brute_force(pairs, close, seed):
    if close:
        pairs = [(near(true, np.random.default_rng(seed)), true) for _, true in pairs]
    scores = score_of(pairs)
    for k, threshold in enumerate(segmentation.THRESHOLDS):
        each = [brute(*pair, threshold)[:3] for pair in pairs]
        hit, wrong, missed = np.sum(each, 0)
        np.testing.assert_allclose(scores.ap[k], hit / (hit + wrong + missed) if any((hit, wrong, missed)) else np.nan)
        image_ap = [tp / (tp + fp + fn) if tp + fp + fn else 1 for tp, fp, fn in each]
        np.testing.assert_allclose(scores.image_ap[k], np.mean(image_ap))
    hit, wrong, missed = np.sum([brute(*pair, 0.5)[:3] for pair in pairs], 0)
    matched = np.concatenate([brute(*pair, 0.5)[3] for pair in pairs])
    quotients = [(hit, hit + wrong), (hit, hit + missed), (2 * hit, 2 * hit + wrong + missed), (matched.sum(), hit)]
    want = [part / whole if whole else np.nan for part, whole in quotients]
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1, scores.matched_iou], want)


@settings(deadline=None, max_examples=40)
@given(PAIRS, st.permutations(range(1, 5)), st.permutations(range(1, 5)))
def test_numbers_flips_and_the_order_of_images_mean_nothing(pairs, order, other):
    renamed = [(np.append(0, 999 * np.array(order))[a], np.append(0, other)[b]) for a, b in pairs]
    flipped = [(a[::-1].T, b[::-1].T) for a, b in renamed[::-1]]
    before, after = score_of(pairs), score_of(flipped)
    np.testing.assert_allclose(after.ap, before.ap)
    np.testing.assert_allclose(after.image_ap, before.image_ap)
    np.testing.assert_allclose(after.matched_iou, before.matched_iou)


@pytest.mark.parametrize("objects", [300, 70_000])
def test_many_objects_are_counted_without_wrapping(objects):
    true = np.arange(1, objects + 1, dtype=np.uint32).reshape(-1, 10).repeat(3, axis=1)
    predicted = true[:, ::-1].copy()
    assert score_of([(true, true)]).mean_ap == 1
    predicted[true == objects] = 0
    scores = score_of([(predicted, predicted[:, ::-1])])
    assert (scores.predicted, scores.true) == (objects - 1, objects - 1)
    true[true == objects] = 0
    assert score_of([(true, true)]).f1 == 1


def test_halves_do_not_match_at_an_iou_of_one_half():
    true = np.ones((2, 4), int)
    halves = np.array([[1, 1, 2, 2]] * 2)
    assert score_of([(halves, true)]).f1 == 0
    most = np.array([[1, 1, 1, 2]] * 2)  # an IoU of 0.75 is above 0.7, not above 0.75
    np.testing.assert_allclose(score_of([(most, true)]).ap, [0.5] * 5 + [0] * 5)


def test_empty_images_score_1_by_image_and_nothing_by_object():
    empty, object_ = np.zeros((3, 5), int), np.ones((3, 5), int)
    scores = score_of([(empty, empty)])
    assert scores.mean_image_ap == 1
    assert np.isnan([scores.f1, scores.precision, scores.recall, scores.matched_iou, scores.mean_ap]).all()
    scores = score_of([(empty, object_), (object_, empty), (object_, object_), (empty, empty)])
    assert (scores.mean_image_ap, scores.f1, scores.mean_ap) == pytest.approx((1 / 2, 1 / 2, 1 / 3))


@pytest.mark.usefixtures("untyped")
def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        segmentation.count(np.zeros((3, 4), int), np.zeros((4, 3), int))
