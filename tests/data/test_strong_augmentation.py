"""The stronger variation of fields and cells: what it adds, and that the light one is as it was."""

import dataclasses

import numpy as np
import pytest

from hpax import atlas
from hpax.data import augment
from hpax.recipes import learning

PATCH = np.random.default_rng(0).integers(40, 200, (24, 24, 4)).astype(np.uint8)
ER, MICROTUBULES = (atlas.CHANNELS.index(name) for name in ("er", "microtubules"))


def stained(seed, patch=PATCH, **options):
    return augment.stain(np.random.default_rng(seed), dataclasses.replace(augment.NONE, **options), patch)


def test_strengths_have_names():
    assert [learning.augmentation(name) for name in ("light", "strong")] == [augment.LIGHT, augment.VARIED]
    assert (augment.VARIED.zoom, augment.VARIED.gamma, augment.VARIED.gain) == (1.4, 1.8, 1.6)
    assert (augment.VARIED.blur, augment.VARIED.noise, augment.VARIED.haze) == (1, 0.04, 0.4)


@pytest.mark.parametrize("named", [augment.LIGHT, augment.STRONG, augment.NONE])
def test_what_is_off_draws_nothing(named):
    assert (named.missing, named.bleed, named.cutout, named.keep_black) == (0, 0, 0, False)
    rng = np.random.default_rng(5)
    augment._disturbed(rng, named, PATCH.astype(np.float32), PATCH)
    assert rng.random() == np.random.default_rng(5).random()


def test_a_marker_is_missing_as_often_as_said_and_never_the_protein_or_the_nuclei():
    blank = np.array([(stained(seed, missing=0.5) == 0).all((0, 1)) for seed in range(200)])
    assert blank.any(1).mean() == pytest.approx(0.5, abs=0.1)
    assert not blank[:, [0, 1]].any()
    assert blank[:, ER].sum() > blank[:, MICROTUBULES].sum() > 0
    assert not (stained(0, PATCH[..., :2], missing=1.0) == 0).all((0, 1)).any()


def test_bleed_adds_light_of_other_channels_alone():
    only = np.zeros((8, 8, 4), np.uint8)
    only[..., 1] = 200
    found = np.stack([stained(seed, only, bleed=0.1) for seed in range(60)])
    assert (found[..., 1] == np.float32(200 / 255)).all()
    share = found[..., [0, 2, 3]].mean((1, 2)) / (200 / 255)
    assert share.max() <= 0.1
    assert (share == 0).all(1).mean() == pytest.approx(0.5, abs=0.2)


def test_a_hole_is_one_rectangle_in_all_channels():
    for seed in range(20):
        hole = stained(seed, cutout=1.0) == 0
        assert (hole.all(-1) == hole.any(-1)).all()
        rows, columns = hole.any((1, 2)).sum(), hole.any((0, 2)).sum()
        assert hole[..., 0].sum() == rows * columns
        assert 0 < rows * columns <= 24 * 24 / 9


def test_what_a_mask_cut_away_stays_black():
    cut = PATCH.copy()
    cut[:, :12] = 0
    rng = np.random.default_rng(0)
    found = augment.stain(rng, augment.VARIED, cut)
    assert not found[:, :12].any()
    assert found[:, 12:].any()
    assert augment.stain(rng, dataclasses.replace(augment.VARIED, keep_black=False), cut)[:, :12].any()
