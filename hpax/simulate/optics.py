"""The microscope: blur, bleed-through, gain, background, shot and read noise, eight bits."""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

SPECTRUM = (1, 0, 2, 3)
"""Channels from blue to far red: nucleus, protein, microtubules, ER."""


@dataclasses.dataclass(frozen=True)
class Optics:
    """How a field is imaged; a signal of 1 is a bright structure of a well exposed channel."""

    psf: float = 0.16  # µm, standard deviation of the point-spread function
    photons: float = 45.0  # per pixel at signal 1: fewer, noisier
    read_noise: float = 1.2  # photons, standard deviation
    background: float = 1.5  # photons per pixel everywhere
    offset: float = 3.5  # photons subtracted by the detector, so that most of the background reads 0
    exposure: float = 170.0  # grey levels of a signal of 1, before gain
    antibody_gain: float = 0.45  # standard deviation of the logarithm of the protein's gain between antibodies
    field_gain: float = 0.25  # the same between fields, for each channel on its own
    bleed_through: float = 0.0  # share of each channel that shows up in the next one towards red
    defocus: float = 0.0  # µm, standard deviation of a field's focus error

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must not be negative, got {getattr(self, field.name)}")
        if not self.photons:
            raise ValueError("photons must be positive, or there is nothing to see")


def gains(optics: Optics, antibody: np.random.Generator, field: np.random.Generator) -> Float[np.ndarray, " 4"]:
    """The gain of each channel: per field, and for the protein per antibody too."""
    logarithm = field.normal(0, optics.field_gain, 4)
    logarithm[0] += antibody.normal(0, optics.antibody_gain)
    return np.exp(logarithm)


def expose(
    signal: Float[np.ndarray, "h w 4"],
    optics: Optics,
    draw: np.random.Generator,
    *,
    um_per_pixel: float,
    gain: Float[np.ndarray, " 4"] | float = 1.0,
) -> UInt8[np.ndarray, "h w 4"]:
    """Images of `signal` (0 = nothing, 1 = bright) through the microscope.

    Noise is Gaussian with the variance of photon counting plus that of reading. Arithmetic is in double precision,
    so that the last bit of a machine's exp does not reach the grey levels.
    """
    error = draw.normal(0, 1) * optics.defocus
    sigma = np.hypot(optics.psf, 0.35 * error) / um_per_pixel
    blurred = ndimage.gaussian_filter(signal, (sigma, sigma, 0)) if sigma else signal
    photons = optics.photons * _bleed(blurred, optics.bleed_through) + optics.background
    noise = draw.standard_normal(signal.shape) * np.sqrt(photons + optics.read_noise**2)
    grey = (photons + noise - optics.offset) * (optics.exposure / optics.photons) * gain
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _bleed(signal: Float[np.ndarray, "h w 4"], share: float) -> Float[np.ndarray, "h w 4"]:
    if not share:
        return signal
    bled = signal.copy()
    for source, target in zip(SPECTRUM, SPECTRUM[1:], strict=False):
        bled[..., target] += share * signal[..., source]
    return bled
