"""Measurements after CellProfiler agree with scikit-image, with textbooks, and with cells drawn for them."""

import math

import numpy as np
import pytest
import skimage.measure
from scipy import ndimage

from hpax.features import handcrafted, measurements

CHANNELS = ("protein", "nucleus", "microtubules")


def smooth(seed, sd=2.0, side=32):
    plane = ndimage.gaussian_filter(np.random.default_rng(seed).random((side, side)), sd)
    return (plane - plane.min()) / np.ptp(plane)


def cell(protein, side=32):
    y, x = np.mgrid[:side, :side]
    nucleus = (np.hypot(y - 15.5, x - 15.5) <= 6).astype(float)
    return np.stack([protein, nucleus, smooth(9, side=side)], -1)


def of(image, channels=CHANNELS):
    values = measurements.encode(image[None], channels)[measurements.LAYER][0]
    return dict(zip(measurements.names(channels), values, strict=True))


def test_every_feature_has_a_name_of_its_own_and_is_finite_for_any_cell():
    names = measurements.names(CHANNELS)
    assert len(names) == len(set(names))
    assert len(measurements.names(("protein", "marker"))) < len(names)
    for image in (np.zeros((16, 16, 3)), np.ones((16, 16, 3)), cell(smooth(0))):
        values = measurements.encode(image[None], CHANNELS)[measurements.LAYER]
        assert values.shape == (1, len(names))
        assert np.isfinite(values).all()
    assert measurements.encode(np.zeros((0, 16, 16, 3)), CHANNELS)[measurements.LAYER].shape[0] == 0


def test_intensities_and_shapes_are_scikit_image_s():
    protein = smooth(1)
    found = of(cell(protein))
    assert found["protein_integrated"] == pytest.approx(protein.sum())
    assert found["protein_upper_quartile"] == pytest.approx(np.percentile(protein, 75))
    thing = measurements.central_object(cell(protein)[..., 1])
    told = skimage.measure.regionprops(thing.astype(int), protein)[0]
    assert found["object_area"] == told.area
    assert found["object_solidity"] == pytest.approx(told.solidity)
    whole = skimage.measure.regionprops(np.ones((32, 32), int), protein)[0]
    moved = math.dist(whole.centroid, whole.centroid_weighted)
    assert found["protein_mass_displacement"] == pytest.approx(moved)


def test_colocalisation_is_scikit_image_s():
    a, b = smooth(2), smooth(3, 3)
    found = measurements.colocalisation(a, b)
    assert found["correlation"] == pytest.approx(skimage.measure.pearson_corr_coeff(a, b)[0])
    assert found["overlap"] == pytest.approx(skimage.measure.manders_overlap_coeff(a, b))
    assert found["k1"] * found["k2"] == pytest.approx(found["overlap"] ** 2)
    bright = measurements.BRIGHT
    by_skimage = skimage.measure.manders_coloc_coeff(a * (a > bright * a.max()), b > bright * b.max())
    assert found["m1"] == pytest.approx(by_skimage)
    alike = measurements.colocalisation(a, a)
    assert alike["weighted_m1"] == pytest.approx(alike["m1"])
    assert found["weighted_m1"] < found["m1"]


def test_rings_tell_where_the_protein_is():
    _, nucleus, _ = np.moveaxis(cell(smooth(0)), -1, 0)
    inside, outside = of(cell(nucleus)), of(cell(1 - nucleus))
    shares = [f"protein_ring{number}_share" for number in range(len(measurements.RINGS) + 1)]
    for found in (inside, outside):
        assert sum(found[name] for name in shares) == pytest.approx(1)
    assert sum(inside[name] for name in shares[:2]) == pytest.approx(1, abs=0.15)
    assert sum(outside[name] for name in shares[:2]) == pytest.approx(0, abs=0.01)
    half = np.ones((32, 32))
    half[:, 16:] = 0
    assert of(cell(half))["protein_ring5_unevenness"] > 10 * of(cell(np.ones((32, 32))))["protein_ring5_unevenness"]


def test_granularity_peaks_at_the_radius_of_the_grains():
    for radius in (2, 4):
        y, x = np.mgrid[:32, :32]
        grains = np.zeros((32, 32))
        for centre in ((8, 8), (8, 24), (24, 8), (24, 24)):
            grains += np.hypot(y - centre[0], x - centre[1]) <= radius
        found = of(cell(grains))
        spectrum = [found[f"protein_granularity_{size}"] for size in range(1, measurements.GRAINS + 1)]
        assert np.argmax(spectrum) == radius
        assert sum(spectrum) == pytest.approx(100)


def test_zernike_moments_do_not_see_turns_and_tell_degrees_apart():
    plane = smooth(4)
    found, turned = measurements.zernike(plane), measurements.zernike(np.rot90(plane).copy())
    assert len(found) == 30
    for name, value in found.items():
        assert turned[name] == pytest.approx(value, abs=1e-12)
    assert found["zernike_0_0"] == pytest.approx(1 / math.pi)
    y, x = (np.mgrid[:129, :129] - 64) / 64.5
    astigmatic = 1 + 0.5 * (x**2 - y**2)
    found = measurements.zernike(astigmatic)
    others = [value for name, value in found.items() if name not in ("zernike_0_0", "zernike_2_2")]
    assert found["zernike_2_2"] > 10 * max(others)


def test_texture_is_that_of_classic_features_at_one_scale():
    plane = smooth(5)
    found = of(cell(plane))
    expected = handcrafted.haralick(plane, (measurements.TEXTURE_SCALE,))[0]
    assert [found[f"protein_{name}_{measurements.TEXTURE_SCALE}"] for name in handcrafted.HARALICK] == list(expected)
