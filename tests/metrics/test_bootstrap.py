"""Resampling: the weighted short cut equals the literal score of the images drawn, and pairs see the same draws."""

import literal_detection
import numpy as np
import pytest
from literal_detection import Picture, Thing

from hpax.metrics import bootstrap, counting, detection

SHAPE = (3, 4)


def pictures(seed, count=6, skill=2.0):
    """Images with distinct scores."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        cells = [frozenset({3 * n, 3 * n + 1, 3 * n + 2}) for n in range(4)]
        truths = [Thing(int(generator.choice([0, 7])), 1.0, cell) for cell in cells if generator.random() < 0.6]
        found = []
        for cell in cells:
            for label in (0, 7):
                true = any(truth.pixels == cell and truth.label == label for truth in truths)
                found.append(Thing(label, float(1 / (1 + np.exp(-generator.normal(skill * true)))), cell))
        yield Picture(found, truths)


def scored(images):
    parts = []
    for number, picture in enumerate(images):
        sides = (literal_detection.listing(str(number), *SHAPE, side) for side in (picture.detections, picture.truths))
        parts.append(counting.from_listings(number, *sides))
    whole = counting.merge(parts)
    return whole, detection.score(whole)


def test_equals_the_literal_score_of_the_images_drawn():
    images = list(pictures(0))
    ap = bootstrap.resample(*scored(images), resamples=20, seed=3)
    drawn = np.random.default_rng(3).multinomial(len(images), np.full(len(images), 1 / len(images)), 20)
    for weights, row in zip(drawn, ap, strict=True):
        chosen = [image for image, times in zip(images, weights, strict=True) for _ in range(times)]
        for label in (0, 7, 18):
            expected = literal_detection.average_precision(chosen, label)
            assert row[label] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_parts_do_not_depend_on_each_other(monkeypatch):
    pair = scored(list(pictures(1)))
    whole = bootstrap.resample(*pair, resamples=30, seed=0)
    monkeypatch.setattr(bootstrap, "_TOGETHER", 7)
    np.testing.assert_allclose(bootstrap.resample(*pair, resamples=30, seed=0), whole)


def test_intervals_hold_their_value_and_shrink_with_images():
    few, many = (scored(list(pictures(2, count))) for count in (10, 160))
    widths = []
    for whole, scores in (few, many):
        spread = bootstrap.intervals(whole, scores, resamples=300)
        assert spread.map_fixed.low <= spread.map_fixed.value == scores.mean() <= spread.map_fixed.high
        widths.append(spread.ap[0].high - spread.ap[0].low)
        assert np.isnan([spread.ap[18].value, spread.ap[18].low]).all()
    assert widths[1] < 0.7 * widths[0]


def test_a_submission_equals_itself_and_loses_to_a_better_one():
    images = list(pictures(3, 40, skill=4.0))
    generator = np.random.default_rng(0)
    guess = [
        picture._replace(detections=[thing._replace(score=generator.random()) for thing in picture.detections])
        for picture in images
    ]
    good, bad = scored(images), scored(guess)
    same = bootstrap.compare(good, good, resamples=200)
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)
    better = bootstrap.compare(good, bad, resamples=200)
    assert better.difference.low > 0
    assert better.p == pytest.approx(2 / 201)
    with pytest.raises(ValueError, match="same images"):
        bootstrap.compare(good, scored(images[:5]))


def test_an_interval_names_its_parts():
    spread = bootstrap.Interval(value=0.5, sd=0.1, low=0.3, high=0.7, level=0.95)
    assert spread.named("mAP") == {"mAP": 0.5, "mAP, low (95%)": 0.3, "mAP, high (95%)": 0.7}
