"""What fields look like, in numbers: nuclei, grey levels, power spectra; and whether simulated ones look real.

statistics = [field_statistics(image) for image in images]
rows = compare(statistics, [field_statistics(image) for image in real])
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real, UInt8
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from hpax import atlas

UM_PER_PIXEL = 0.32  # of every field that is compared; native ones are averaged down to it
BANDS = {"coarse": (0.02, 0.1), "middle": (0.1, 0.5), "fine": (0.5, 1.5)}  # cycles per µm
QUANTILES = (50, 90, 99)
AROUND = 4.0  # µm around nuclei that their protein is compared with


def field_statistics(picture: UInt8[np.ndarray, "h w 4"]) -> dict[str, float]:
    """Nuclei, grey levels and power spectra of a field at 0.32 µm per pixel, and how much protein nuclei show."""
    mask = nuclei_mask(picture[..., atlas.CHANNELS.index("nucleus")])
    areas, count = nuclei(mask)
    found = {"nuclei per field": float(count), "nucleus area (µm²)": float(np.median(areas)) if areas else np.nan}
    found["protein: nuclei against around"] = contrast(picture[..., atlas.CHANNELS.index("protein")], mask)
    for channel, name in enumerate(atlas.CHANNELS):
        plane = picture[..., channel]
        found[f"{name}: share of black"] = float((plane == 0).mean())
        for quantile in QUANTILES:
            found[f"{name}: {quantile}% quantile"] = float(np.percentile(plane, quantile))
        found |= {f"{name}: {key}": value for key, value in spectrum(plane).items()}
    return found


def nuclei_mask(plane: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where nuclei are, as Lu et al. (2019) find them.

    Otsu's threshold of the raw picture applied to its blur (σ = 5 pixels of 0.32 µm), holes under 300 pixels filled.
    """
    if plane.min() == plane.max():
        return np.zeros(plane.shape, bool)
    smooth = ndimage.gaussian_filter(plane.astype(float), 5)
    return morphology.remove_small_holes(smooth > filters.threshold_otsu(plane), max_size=299)


def nuclei(mask: Bool[np.ndarray, "h w"]) -> tuple[list[float], int]:
    """Areas (µm²) of the nuclei of a mask that are not cut, and the count of all; those of 100 pixels or more."""
    everything = measure.regionprops(measure.label(morphology.remove_small_objects(mask, max_size=99)))
    whole = measure.regionprops(segmentation.clear_border(measure.label(mask)))
    return [r.area * UM_PER_PIXEL**2 for r in whole if r.area >= 100], len(everything)


def contrast(plane: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """(n - c) / (n + c) of the mean in nuclei, n, and in what lies within `AROUND` of them, c; NaN of a black field."""
    around = ndimage.binary_dilation(mask, iterations=round(AROUND / UM_PER_PIXEL)) & ~mask
    if not mask.any() or not around.any():
        return np.nan
    within, beside = float(plane[mask].mean()), float(plane[around].mean())
    return (within - beside) / (within + beside) if within + beside else np.nan


def spectrum(plane: Real[np.ndarray, "h w"]) -> dict[str, float]:
    """The slope of the radial power spectrum between 0.05 and 1 cycles per µm, and the share of power per band."""
    power, frequency = radial_power(plane)
    chosen = (frequency > 0.05) & (frequency < 1) & (power > 0)
    if chosen.sum() < 2:
        return {"spectral slope": np.nan, **{f"{name} power": np.nan for name in BANDS}}
    rings = power * frequency  # power of a ring is density × circumference
    shares = {
        name: rings[(frequency > low) & (frequency <= high)].sum() / rings.sum() for name, (low, high) in BANDS.items()
    }
    slope = np.polyfit(np.log(frequency[chosen]), np.log(power[chosen]), 1)[0]
    return {"spectral slope": float(slope), **{f"{name} power": float(share) for name, share in shares.items()}}


def radial_power(plane: Real[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Mean power at each radial frequency (cycles per µm), mean grey level removed, edges tapered."""
    taper = np.outer(np.hanning(plane.shape[0]), np.hanning(plane.shape[1]))
    power = np.abs(np.fft.rfft2((plane - plane.mean()) * taper)) ** 2
    ring = _rings(plane.shape)
    mean = np.bincount(ring, power.ravel()) / np.maximum(np.bincount(ring), 1)
    rings = np.arange(1, min(plane.shape) // 2)
    return mean[rings], rings / (min(plane.shape) * UM_PER_PIXEL)


@functools.cache
def _rings(shape: tuple[int, int]) -> np.ndarray:
    """The ring, in cycles per shorter side, of every frequency of a real transform."""
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    return np.rint(radius * min(shape)).astype(int).ravel()


def compare(simulated: Sequence[Mapping[str, float]], real: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Each statistic: the simulated median, the real median and 5–95% spread, and whether the one lies in the other."""
    rows = []
    for name in simulated[0]:
        median = float(np.nanmedian([found[name] for found in simulated]))
        row = {"statistic": name, "simulated": median}
        if real:
            low, middle, high = np.nanpercentile([found[name] for found in real], (5, 50, 95))
            row |= {"real": middle, "5%": low, "95%": high, "within": bool(low <= median <= high)}
        rows.append(row)
    return rows
