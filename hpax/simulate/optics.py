"""The microscope: blur, bleed-through, staining strength, background, shot and read noise, gain, eight bits."""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from hpax import atlas

SPECTRUM = tuple(atlas.CHANNELS.index(name) for name in ("nucleus", "protein", "microtubules", "er"))
"""Channels from blue to far red, as their dyes emit."""


@dataclasses.dataclass(frozen=True)
class Optics:
    """How fields are imaged; a signal of 1 is a bright structure of a well exposed channel.

    Spreads are standard deviations of logarithms. A weak antibody gives few photons, and its field is exposed longer
    to make up for half of that, so that it is dimmer and noisier.
    """

    psf: float = 0.16  # µm, standard deviation of the point-spread function
    photons: tuple[float, ...] = (18.0, 45.0, 34.0, 38.0)  # of each channel, per pixel at signal 1: fewer, noisier
    read_noise: float = 0.8  # photons, standard deviation
    background: float = 1.0  # photons per pixel everywhere
    offset: float = 1.9  # photons subtracted by the detector, so that most of the background reads 0
    exposure: float = 170.0  # grey levels of a signal of 1
    antibody_spread: float = 0.8  # of the protein's strength between antibodies
    field_spread: float = 0.3  # of each channel's strength between fields
    background_spread: float = 0.35  # of each channel's background between fields
    bleed_through: float = 0.0  # share of each channel that shows up in the next one towards red
    defocus: float = 0.0  # µm, standard deviation of a field's focus error

    def __post_init__(self) -> None:
        if len(self.photons) != len(atlas.CHANNELS) or min(self.photons) <= 0:
            raise ValueError(f"photons must be {len(atlas.CHANNELS)} positive numbers, got {self.photons}")
        for field in dataclasses.fields(self):
            if field.name != "photons" and not 0 <= getattr(self, field.name) < np.inf:
                raise ValueError(f"{field.name} must be finite and not negative, got {getattr(self, field.name)}")


def strengths(optics: Optics, antibody: np.random.Generator, field: np.random.Generator) -> Float[np.ndarray, " 4"]:
    """How strongly each channel is stained, around 1: per field, and for the protein per antibody too."""
    logarithm = field.normal(0, optics.field_spread, len(atlas.CHANNELS))
    logarithm[atlas.PROTEIN] += antibody.normal(0, optics.antibody_spread)
    return np.exp(logarithm)


def expose(
    signal: Float[np.ndarray, "h w 4"],
    optics: Optics,
    draw: np.random.Generator,
    *,
    um_per_pixel: float,
    strength: Float[np.ndarray, " 4"] | float = 1.0,
) -> UInt8[np.ndarray, "h w 4"]:
    """Images of `signal` (0 = nothing, 1 = bright) through the microscope.

    Noise is Gaussian with the variance of photon counting plus that of reading. Arithmetic is in double precision,
    so that the last bit of a machine's exp does not reach the grey levels.
    """
    sigma = np.hypot(optics.psf, 0.35 * optics.defocus * draw.normal()) / um_per_pixel
    background = optics.background * np.exp(draw.normal(0, optics.background_spread, signal.shape[-1]))
    stained = np.asarray(optics.photons) * strength
    photons = np.empty(signal.shape)
    for channel, plane in enumerate(np.moveaxis(signal, -1, 0)):
        photons[..., channel] = stained[channel] * ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=3.0)
    photons = (bled(photons, optics.bleed_through) if optics.bleed_through else photons) + background
    photons += draw.standard_normal(signal.shape) * np.sqrt(photons + optics.read_noise**2)
    gain = optics.exposure / (np.asarray(optics.photons) * np.sqrt(strength))
    return np.clip(np.rint((photons - optics.offset) * gain), 0, 255).astype(np.uint8)


def bled(photons: Float[np.ndarray, "h w 4"], share: float) -> Float[np.ndarray, "h w 4"]:
    """Each channel with a share of the one before it towards red."""
    mixed = photons.copy()
    for source, target in itertools.pairwise(SPECTRUM):
        mixed[..., target] += share * photons[..., source]
    return mixed
