"""The microscope: noise, blur, bleed-through, strengths."""

import numpy as np
import pytest

from hpax.simulate import Optics
from hpax.simulate.optics import expose, strengths

LINEAR = Optics(psf=0, background=0, offset=0, exposure=100, photons=(50.0,) * 4, background_spread=0)


def shot(signal, optics, seed=0, **options):
    return expose(signal, optics, np.random.default_rng(seed), um_per_pixel=0.32, **options)


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_noise_has_the_variance_of_counting_photons_plus_reading(level):
    image = shot(np.full((300, 300, 4), level), LINEAR).astype(float)
    grey_per_photon = 100 / 50
    variance = grey_per_photon**2 * (50 * level + LINEAR.read_noise**2) + 1 / 12  # rounding to grey levels
    assert image.mean() == pytest.approx(100 * level, rel=0.01)
    assert image.var() == pytest.approx(variance, rel=0.03)


def test_more_photons_give_less_noise():
    few, many = (shot(np.full((99, 99, 4), 0.5), Optics(psf=0, photons=(n,) * 4)).std() for n in (10.0, 1000.0))
    assert few > 5 * many


def test_a_point_spreads_by_the_psf_and_by_defocus():
    signal = np.zeros((61, 61, 4))
    signal[30, 30] = 40.0
    distance = np.arange(61) - 30

    def spread(image):
        profile = image[..., 0].astype(float).sum(0)
        return np.sqrt((profile * distance**2).sum() / profile.sum()) * 0.32

    sharp = Optics(psf=0.64, background=0, offset=0, photons=(1e9,) * 4, exposure=60, background_spread=0)
    assert spread(shot(signal, sharp)) == pytest.approx(0.64, rel=0.05)
    blurred = [spread(shot(signal, Optics(**(vars(sharp) | {"defocus": 2.0})), seed)) for seed in range(5)]
    assert max(blurred) > 0.8
    assert min(blurred) >= 0.62


def test_bleed_through_is_off_by_default_and_goes_towards_red():
    signal = np.zeros((40, 40, 4))
    signal[..., 1] = 1.0  # nucleus
    assert (shot(signal, LINEAR)[..., [0, 2, 3]].mean((0, 1)) < 1).all()  # nothing but read noise
    bled = shot(signal, Optics(**(vars(LINEAR) | {"bleed_through": 0.2}))).mean((0, 1))
    assert bled[0] == pytest.approx(0.2 * bled[1], rel=0.1)  # into the protein's green
    assert (bled[[2, 3]] < 1).all()


def test_most_of_the_background_reads_zero_and_nothing_wraps():
    assert (shot(np.zeros((99, 99, 4)), Optics()) == 0).mean() > 0.7
    assert (shot(np.full((9, 9, 4), 50.0), Optics()) == 255).all()


def test_a_weak_antibody_is_dimmer_and_noisier():
    strong, weak = (shot(np.full((200, 200, 4), 1.0), LINEAR, strength=s)[..., 0].astype(float) for s in (1.0, 0.25))
    assert weak.mean() == pytest.approx(0.5 * strong.mean(), rel=0.02)
    assert weak.std() / weak.mean() > 1.7 * strong.std() / strong.mean()


def test_antibodies_differ_in_the_protein_alone_and_fields_in_every_channel():
    def draws(seeds):
        return np.log([strengths(Optics(), *map(np.random.default_rng, pair)) for pair in seeds])

    antibodies = draws([(a, 7) for a in range(400)])
    assert antibodies[:, 0].std() == pytest.approx(0.8, rel=0.1)
    assert np.ptp(antibodies[:, 1:], axis=0).max() == 0
    assert draws([(7, f) for f in range(400)]).std(0) == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"psf": -0.1}, "psf must be finite and not negative, got -0.1"),
        ({"read_noise": float("nan")}, "read_noise must be finite"),
        ({"photons": (1.0, 2.0)}, "photons must be 4 positive numbers"),
        ({"photons": (1.0, 2.0, 0.0, 1.0)}, "photons must be 4 positive numbers"),
    ],
)
def test_impossible_optics_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Optics(**settings)
