"""What devices draw and make of patches is alike in distribution to what the host does, and the same in special cases.

Means are compared within five standard errors of their difference, over patches that are drawn each for itself.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

from hpax import atlas, images
from hpax.data import augment, device_augment, image_batches
from hpax.data.augment import NONE

MANY = 400
RANDOM = np.random.default_rng(1)
FIELD = RANDOM.integers(30, 220, (30, 40, 4)).astype(np.uint8) // np.uint8([1, 2, 3, 1])
FIELD[:, :10] = 0  # black, as beside a cell
SIZE = 16


def keys(n=MANY, seed=0):
    rows = np.stack([np.full(n, seed), np.zeros(n), np.arange(n)], 1).astype(np.uint32)
    return device_augment.keys(rows)


@functools.cache
def of_device(augmentation, n=MANY, size=SIZE):
    make = jax.jit(functools.partial(device_augment.varied, augmentation=augmentation, size=size))
    fields, extents = np.tile(FIELD, (n, 1, 1, 1)), np.tile(np.int32(FIELD.shape[:2]), (n, 1))
    return np.asarray(make(keys(n), images=fields, extents=extents))


@functools.cache
def of_host(augmentation, n=MANY, size=SIZE):
    rows = [image_batches.varied(np.random.default_rng((7, row)), augmentation, FIELD, size) for row in range(n)]
    return np.stack(rows)


def assert_alike(one, other):
    """The means over patches of some numbers (n, k), within five standard errors, and their spread."""
    apart = np.abs(one.mean(0) - other.mean(0))
    error = np.sqrt(one.var(0) / len(one) + other.var(0) / len(other))
    assert (apart <= 5 * error + 1e-4).all(), (apart / (error + 1e-12)).max()
    for column in range(one.shape[1]):
        assert stats.ks_2samp(one[:, column], other[:, column], method="asymp").pvalue > 1e-4


def numbers(patches):
    """Of each patch: mean and spread of each channel, blank channels, black pixels, roughness, and two pixels."""
    flat = patches.reshape(len(patches), -1, patches.shape[-1])
    rough = np.abs(np.diff(patches, axis=1)).mean((1, 2))
    blank = (flat == 0).all(1).sum(1, keepdims=True)
    black = (flat == 0).all(2).mean(1, keepdims=True)
    corners = patches[:, 0, 0], patches[:, 5, 9]
    return np.concatenate([flat.mean(1), flat.std(1), rough, blank, black, *corners], axis=1)


ONE_BY_ONE = {
    "zoom": {"zoom": 1.4},
    "turn": {"turn": True},
    "rotate": {"rotate": True},
    "gamma": {"gamma": 1.8},
    "gain": {"gain": 1.6},
    "offset": {"offset": 0.1},
    "blur": {"blur": 2.0},
    "noise": {"noise": 0.1},
    "haze": {"haze": 0.6},
    "channel dropout": {"channel_dropout": 0.4},
    "missing": {"missing": 0.5},
    "bleed": {"bleed": 0.3},
    "cutout": {"cutout": 0.5},
    "keep black": {"gain": 1.6, "offset": 0.1, "keep_black": True},
}
ALL = {"light": augment.LIGHT, "varied": augment.VARIED, "strong": augment.STRONG}


@pytest.mark.parametrize(
    "name", ["varied", *(pytest.param(name, marks=pytest.mark.slow) for name in ("light", "strong", *ONE_BY_ONE))]
)
def test_patches_are_alike_in_distribution_to_those_of_the_host(name):
    augmentation = ALL.get(name) or dataclasses.replace(NONE, **ONE_BY_ONE[name])
    assert_alike(numbers(of_device(augmentation)), numbers(of_host(augmentation)))


def test_the_comparison_sees_a_small_difference():
    one, other = (numbers(of_device(dataclasses.replace(NONE, gain=gain))) for gain in (1.6, 2.0))
    with pytest.raises(AssertionError):
        assert_alike(one, other)
    with pytest.raises(AssertionError):
        assert_alike(numbers(of_device(NONE) * np.float32(0.97)), numbers(of_host(NONE)))


def drawn(kind):
    each = jax.vmap(lambda key: device_augment.exposure(key, kind, side=64, channels=4))(keys(4000))
    return {name: np.asarray(value) for name, value in each._asdict().items()}


def test_exposures_are_drawn_from_the_laws_of_the_host():
    found, kind = drawn(augment.STRONG), augment.STRONG
    uniform = {
        "gamma": np.log(found["gamma"]) / np.log(kind.gamma) / 2 + 0.5,
        "gain": np.log(found["gain"]) / np.log(kind.gain) / 2 + 0.5,
        "offset": found["offset"] / kind.offset / 2 + 0.5,
        "noise": np.sqrt(found["noise"] / kind.noise),
        "reach": (found["reach"] / 64 - 0.04) / 0.12,
    }
    for name, values in uniform.items():
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-4, name
        assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.08, name  # each channel for itself
    for name in ("blur", "haze"):
        values = (found[name] / getattr(kind, name)).ravel()
        assert (values > 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(values.size))
        assert stats.kstest(values[values > 0], "uniform").pvalue > 1e-4, name
    together = np.stack([values[:, 0] for values in uniform.values()])
    assert np.abs(np.corrcoef(together) - np.eye(len(together))).max() < 0.08


@pytest.mark.parametrize("extent", [(30, 40), (20, 90), (12, 100)])
def test_places_are_drawn_from_the_laws_of_the_host(extent):
    kind = augment.LIGHT
    draw = functools.partial(device_augment.place, augmentation=kind, extent=np.int32(extent), size=SIZE)
    found = jax.vmap(lambda key: draw(key))(keys(4000))
    rngs = [np.random.default_rng((3, row)) for row in range(4000)]
    host = [(*image_batches.window(rng, kind, extent, SIZE), augment.angle(rng, kind)) for rng in rngs]
    middles, sides, angles = (np.array(values) for values in zip(*host, strict=True))
    pairs = [(found.middle[:, 0], middles[:, 0]), (found.middle[:, 1], middles[:, 1])]
    pairs += [(found.zoom, sides / SIZE), (found.angle, angles)]
    for one, other in pairs:
        assert stats.ks_2samp(np.asarray(one), other).pvalue > 1e-4
    exponent = np.log(np.asarray(found.zoom)) / np.log(kind.zoom)  # triangular on [-1, 1], of kurtosis 2.4
    assert np.std(exponent) == pytest.approx(np.sqrt(1 / 6), rel=5 * np.sqrt(1.4 / 4 / 4000))
    assert np.abs(np.mean(found.turns, axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)


def test_a_known_exposure_is_that_of_the_host_by_level():
    levels = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), (1, 1, 2))
    kind = dataclasses.replace(NONE, gamma=1.8, gain=1.6, offset=0.1)
    asked = np.float32([[1.3, 0.7], [0.8, 1.5], [0.05, -0.1]])
    given = device_augment.Exposure(*asked, *np.zeros((4, 2), np.float32))
    found = device_augment.exposed(jax.random.key(0), kind, given, images.as_float(levels))
    gamma, gain, offset = asked
    np.testing.assert_allclose(found, np.clip(gain * images.as_float(levels) ** gamma + offset, 0, 1), atol=1e-6)


def test_a_known_haze_and_blur_are_those_of_the_host():
    planes = images.as_float(FIELD[:24, 8:32, :2])
    kind = dataclasses.replace(NONE, gamma=1.8, gain=1.6, offset=0.1, blur=2.0, haze=0.6)
    asked = np.float32([[1.3, 0.7], [0.8, 1.5], [0.05, -0.1], [0.0, 1.7], [0.0, 0.0], [0.5, 0.2], [1.5, 3.0]])
    found = device_augment.exposed(jax.random.key(0), kind, device_augment.Exposure(*asked), planes)
    for channel, (gamma, gain, offset, blur, _, haze, reach) in enumerate(asked.T.tolist()):
        plane = planes[..., channel] ** np.float32(gamma)
        plane = plane + np.float32(haze) * augment._spread(plane, reach)
        plane = ndimage.gaussian_filter(plane, blur) if blur else plane
        np.testing.assert_allclose(found[..., channel], np.clip(gain * plane + offset, 0, 1), atol=1e-5)


def test_without_augmentation_a_patch_is_a_window_as_it_is():
    found = of_device(NONE, 60)
    for patch in found:
        assert any(
            (patch == images.as_float(FIELD[top : top + SIZE, left : left + SIZE])).all()
            for top in range(30 - SIZE + 1)
            for left in range(40 - SIZE + 1)
        )
    assert len(np.unique(found.reshape(60, -1), axis=0)) > 40


def test_a_patch_depends_on_its_own_key_alone():
    few, many = of_device(augment.VARIED, 5), of_device(augment.VARIED)
    np.testing.assert_allclose(few, many[:5], atol=1e-6)
    assert len(np.unique(many.reshape(MANY, -1), axis=0)) == MANY
    rows = np.uint32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    data = jax.random.key_data(device_augment.keys(rows)).tolist()
    assert data[0] == data[4]
    assert len({tuple(key) for key in data}) == 4


def test_a_hole_is_one_rectangle_in_all_channels():
    found = of_device(dataclasses.replace(NONE, cutout=1.0), size=24)
    bright = np.asarray(FIELD[:24, 10:34]) > 0
    assert bright.any()
    for key in keys(20):
        cut = np.asarray(device_augment.hole(key, 24))
        assert cut.sum() == cut.any(0).sum() * cut.any(1).sum()
        assert 0 < cut.sum() <= 24 * 24 / 9
    assert ((found == 0).all(-1).mean((1, 2)) > 0).all()


def test_a_marker_is_missing_as_often_as_said_and_never_the_protein_or_the_nuclei():
    found = of_device(dataclasses.replace(NONE, missing=0.5))
    blank = (found == 0).all((1, 2))
    er, microtubules = (atlas.CHANNELS.index(name) for name in ("er", "microtubules"))
    assert blank.any(1).mean() == pytest.approx(0.5, abs=0.1)
    assert not np.delete(blank, [er, microtubules], axis=1).any()
    assert blank[:, er].mean() == pytest.approx(1 / 3, abs=0.1)
    for key in keys(5):
        two = device_augment.stained(key, dataclasses.replace(NONE, missing=1.0), images.as_float(FIELD[:30, 10:, :2]))
        assert not (np.asarray(two) == 0).all((0, 1)).any()
