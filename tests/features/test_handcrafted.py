"""Classic features agree with NumPy, scikit-image and scikit-learn, and answer to what they are named after."""

import anndata
import numpy as np
import pandas as pd
import pytest
from skimage.feature import graycomatrix, graycoprops
from sklearn.metrics import mutual_info_score

from hpax.features import handcrafted
from hpax.features.extract import extract


def _cells(b=3, side=32, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    rough = rng.uniform(size=(b, side, side, channels)).astype(np.float32)
    return (rough + np.roll(rough, 1, 1) + np.roll(rough, 1, 2)) / 3


def _table(images, markers=("nucleus", "microtubules")):
    return pd.DataFrame(handcrafted.encode(images)["classic"], columns=handcrafted.names(("protein", *markers)))


def test_has_as_many_names_as_features():
    assert handcrafted.encode(_cells(channels=4))["classic"].shape == (3, len(set(handcrafted.names())))
    assert _table(_cells()).shape == (3, 3 + 2 + 5 * 13)


def test_intensity_and_correlation_equal_numpy():
    images = _cells()
    table = _table(images)
    np.testing.assert_allclose(table["sum"], images[..., 0].sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(table["mean"], images[..., 0].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(table["sd"], images[..., 0].std((1, 2)), rtol=1e-5)
    expected = [np.corrcoef(image[..., 0].ravel(), image[..., 2].ravel())[0, 1] for image in images]
    np.testing.assert_allclose(table["correlation_microtubules"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("angular_second_moment", "ASM"),
        ("contrast", "contrast"),
        ("correlation", "correlation"),
        ("inverse_difference_moment", "homogeneity"),
        ("variance", "variance"),
        ("entropy", "entropy"),
    ],
)
def test_texture_equals_scikit_image(ours, theirs):
    image = _cells(1)[0, ..., 0]
    pairs = graycomatrix((image * 32).astype(np.uint8), handcrafted.SCALES, handcrafted.DIRECTIONS, 32, True, True)
    expected = graycoprops(pairs, theirs).mean(1)
    np.testing.assert_allclose(handcrafted.haralick(image)[:, handcrafted.HARALICK.index(ours)], expected, rtol=1e-5)


def _pairs(image, scale, direction):
    """The grey levels of each pixel and of its neighbour, both ways."""
    grey = (image * 32).astype(int)
    dy, dx = round(np.sin(direction) * scale), round(np.cos(direction) * scale)
    h, w = grey.shape
    a = grey[max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)].ravel()
    b = grey[max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)].ravel()
    return np.concatenate([a, b]), np.concatenate([b, a])


def _entropy(values):
    share = np.unique(values, return_counts=True)[1] / len(values)
    return -(share * np.log(share)).sum()


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("sum_average", lambda a, b: np.mean(a + b)),
        ("sum_variance", lambda a, b: np.var(a + b)),
        ("sum_entropy", lambda a, b: _entropy(a + b)),
        ("difference_variance", lambda a, b: np.var(abs(a - b))),
        ("difference_entropy", lambda a, b: _entropy(abs(a - b))),
        ("information_1", lambda a, b: -mutual_info_score(a, b) / _entropy(a)),
        ("information_2", lambda a, b: np.sqrt(1 - np.exp(-2 * mutual_info_score(a, b)))),
    ],
)
@pytest.mark.parametrize("scale", [1, 4])
def test_texture_equals_statistics_of_the_pairs_themselves(name, oracle, scale):
    image = _cells(1)[0, ..., 0]
    expected = np.mean([oracle(*_pairs(image, scale, direction)) for direction in handcrafted.DIRECTIONS])
    found = handcrafted.haralick(image)[handcrafted.SCALES.index(scale), handcrafted.HARALICK.index(name)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_mirrored_and_turned_cells_have_the_same_features():
    images = _cells()
    for changed in (images[:, ::-1], images[:, :, ::-1], np.rot90(images, axes=(1, 2))):
        pd.testing.assert_frame_equal(_table(changed), _table(images), rtol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_cells_have_finite_features(level):
    table = _table(np.full((1, 32, 32, 3), level, np.float32))
    assert np.isfinite(table.to_numpy()).all()
    assert table["sd"][0] == table["correlation_nucleus"][0] == table["entropy_1"][0] == 0


def test_a_scale_that_does_not_fit_the_cell_gives_zeros():
    table = _table(_cells(side=8))
    assert not table.filter(regex="_16$").any(axis=None)
    assert table["contrast_4"].all()


def test_a_scale_is_the_mean_over_the_directions_that_fit():
    """Eight pixels along an edge do not fit 8 × 8 pixels; along a diagonal, six by six do."""
    image = _cells(1, side=8)[0, ..., 0]
    expected = np.mean([np.square(np.subtract(*_pairs(image, 8, d))).mean() for d in handcrafted.DIRECTIONS[1::2]])
    assert handcrafted.haralick(image)[3, handcrafted.HARALICK.index("contrast")] == pytest.approx(expected)


def test_stripes_have_contrast_at_their_own_scale_only():
    """Columns alternate every 4 pixels: a pair 4 apart along the row differs, one 8 apart does not."""
    image = np.broadcast_to((np.arange(32) // 4 % 2).astype(np.float32), (32, 32))
    contrast = handcrafted.haralick(image)[:, handcrafted.HARALICK.index("contrast")]
    assert contrast[2] > contrast[1] > contrast[0]
    assert contrast[2] > contrast[3]


def test_extracts_with_names(tmp_path):
    images = _cells()
    batch = {"image": images, "index": np.arange(3), "mask": np.ones(3)}
    names = {"classic": handcrafted.names(("protein", "nucleus", "microtubules"))}
    obs = pd.DataFrame(index=list("abc"))
    path = extract(handcrafted.encode, [batch], obs, tmp_path / "f.h5ad", names=names, progress=False)
    cells = anndata.read_h5ad(path)
    np.testing.assert_allclose(cells[:, "sd"].X[:, 0], images[..., 0].std((1, 2)), rtol=1e-5)
