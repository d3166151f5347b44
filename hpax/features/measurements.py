"""Measurements of cells after the modules of CellProfiler (Carpenter et al. 2006), of crops without masks.

Intensity, radial distribution, granularity, texture, colocalisation, Zernike moments and shape. CellProfiler measures
objects that it segmented; a crop has one, the nucleus in its middle (of yeast, which has no stain of it, the cell), and
what lies around it is told by the distance from that object's edge.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import skimage.measure
from jaxtyping import Bool, Complex128, Float, Float64, Int, Num
from scipy import ndimage
from skimage import filters, morphology

from hpax import atlas
from hpax.features import handcrafted

LAYER = "cellprofiler-like"
RINGS = (-0.5, 0.0, 0.5, 1.0, 2.0)
"""What parts a cell into rings: distances from the edge of its object, in radii of it, below 0 inside."""
WEDGES = 8  # of a ring, for how unevenly light lies in it
GRAINS = 8  # pixels of the radius of the largest grains that are told apart
TEXTURE_SCALE = 3  # pixels between the two of a pair
ZERNIKE = 9  # the highest degree
BRIGHT = 0.15  # of the highest value: pixels above it count for Manders' coefficients

Plane = Float64[np.ndarray, "h w"]


def names(channels: Sequence[str] = atlas.CHANNELS) -> tuple[str, ...]:
    """The name of each feature of cells with these channels, the protein first."""
    return tuple(_measured(np.zeros((16, 16, len(channels))), channels))


def encode(
    images: Float[np.ndarray, "b h w c"], channels: Sequence[str] = atlas.CHANNELS
) -> dict[str, Float[np.ndarray, "b k"]]:
    """One layer, `LAYER`, of the features `names`; an encoder for `hpax.features.extract`.

    Args:
        images: in [0, 1].
        channels: the protein first, then the marker of the object in the crop's middle, then others.
    """
    rows = [list(_measured(np.asarray(image, np.float64), channels).values()) for image in images]
    return {LAYER: np.array(rows, np.float64).reshape(len(rows), len(names(channels)))}


def _measured(image: Float64[np.ndarray, "h w c"], channels: Sequence[str]) -> dict[str, float]:
    """Name → value of every feature of one cell."""
    planes = dict(zip(channels, np.moveaxis(image, -1, 0), strict=True))
    protein, *markers = channels
    thing = central_object(planes[channels[1]])
    ring, wedge = rings(thing)
    found: dict[str, float] = {}
    for channel, plane in planes.items():
        parts = _intensity(plane) | _radial(plane, ring, wedge) | _texture(plane)
        found |= {f"{channel}_{name}": value for name, value in parts.items()}
    for marker in markers:
        parts = colocalisation(planes[protein], planes[marker])
        found |= {f"{protein}_{marker}_{name}": value for name, value in parts.items()}
    parts = _granularity(planes[protein]) | zernike(planes[protein])
    found |= {f"{protein}_{name}": value for name, value in parts.items()}
    return found | {f"object_{name}": value for name, value in _shape(thing).items()}


def central_object(marker: Plane) -> Bool[np.ndarray, "h w"]:
    """What is brighter than Otsu's threshold and nearest to the middle; a disc there, if the marker is flat."""
    h, w = marker.shape
    y, x = np.mgrid[:h, :w]
    from_middle = np.hypot(y - (h - 1) / 2, x - (w - 1) / 2)
    smooth = ndimage.gaussian_filter(marker, 1)
    if np.ptp(smooth) < 1e-9:
        return from_middle <= min(h, w) / 6
    pieces, _ = ndimage.label(smooth > filters.threshold_otsu(smooth))
    return pieces == pieces.ravel()[np.where(pieces > 0, from_middle, np.inf).argmin()]


def rings(thing: Bool[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
    """The ring of each pixel, the innermost 0, and its wedge about the object's centre."""
    inside, outside = ndimage.distance_transform_edt(thing), ndimage.distance_transform_edt(~thing)
    radius = math.sqrt(thing.sum() / math.pi)
    y, x = np.mgrid[: thing.shape[0], : thing.shape[1]]
    middle = ndimage.center_of_mass(thing)
    angle = np.arctan2(y - middle[0], x - middle[1])
    wedge = np.minimum(((angle + np.pi) / (2 * np.pi) * WEDGES).astype(int), WEDGES - 1)
    return np.digitize(np.where(thing, -inside, outside) / radius, RINGS), wedge


def _intensity(plane: Plane) -> dict[str, float]:
    low, median, high = np.quantile(plane, (0.25, 0.5, 0.75))
    total = plane.sum()
    middle = (np.array(plane.shape) - 1) / 2
    centre = np.array(ndimage.center_of_mass(plane)) if total > 0 else middle
    return {
        "integrated": float(total),
        "mean": float(plane.mean()),
        "sd": float(plane.std()),
        "min": float(plane.min()),
        "max": float(plane.max()),
        "lower_quartile": float(low),
        "median": float(median),
        "upper_quartile": float(high),
        "mad": float(np.median(np.abs(plane - median))),
        "mass_displacement": float(np.hypot(*(centre - middle))),
    }


def _radial(plane: Plane, ring: Int[np.ndarray, "h w"], wedge: Int[np.ndarray, "h w"]) -> dict[str, float]:
    """Of each ring: its share of all light, its mean next to that of the crop, and how uneven its wedges are."""
    count = len(RINGS) + 1
    place = (ring * WEDGES + wedge).ravel()
    light = np.bincount(place, plane.ravel(), count * WEDGES).reshape(count, WEDGES)
    pixels = np.bincount(place, minlength=count * WEDGES).reshape(count, WEDGES)
    shares = _ratio(light.sum(1), light.sum())
    means = _ratio(_ratio(light.sum(1), pixels.sum(1)), plane.mean())
    found = {}
    for number in range(count):
        filled = pixels[number] > 0
        own = light[number, filled] / pixels[number, filled]
        uneven = float(_ratio(own.std(), own.mean())) if filled.any() else 0.0
        found[f"ring{number}_share"] = float(shares[number])
        found[f"ring{number}_mean"] = float(means[number])
        found[f"ring{number}_unevenness"] = uneven
    return found


def _texture(plane: Plane) -> dict[str, float]:
    values = handcrafted.haralick(plane, (TEXTURE_SCALE,))[0]
    return {f"{name}_{TEXTURE_SCALE}": float(value) for name, value in zip(handcrafted.HARALICK, values, strict=True)}


def colocalisation(a: Plane, b: Plane) -> dict[str, float]:
    """Pearson's correlation, the slope of b on a, Manders' overlap with its k1, k2, m1 and m2, and rank-weighted m's.

    After Manders et al. (1993) and, for the last, Singan et al. (2011), as CellProfiler has them.
    """
    correlation, both = handcrafted.correlation(a, b), (a * b).sum()
    bright_a, bright_b = a > BRIGHT * a.max(), b > BRIGHT * b.max()
    bright, light_a, light_b = bright_a & bright_b, a[bright_a].sum(), b[bright_b].sum()
    ranks = [np.unique(plane, return_inverse=True)[1].reshape(plane.shape) for plane in (a, b)]
    most = max(int(rank.max()) for rank in ranks) + 1
    weight = bright * (most - np.abs(ranks[0] - ranks[1])) / most
    return {
        "correlation": float(correlation),
        "slope": float(_ratio(correlation * b.std(), a.std())),
        "overlap": float(_ratio(both, math.sqrt((a * a).sum() * (b * b).sum()))),
        "k1": float(_ratio(both, (a * a).sum())),
        "k2": float(_ratio(both, (b * b).sum())),
        "m1": float(_ratio((a * bright).sum(), light_a)),
        "m2": float(_ratio((b * bright).sum(), light_b)),
        "weighted_m1": float(_ratio((a * weight).sum(), light_a)),
        "weighted_m2": float(_ratio((b * weight).sum(), light_b)),
    }


def _granularity(plane: Plane) -> dict[str, float]:
    """The share of light, in per cent, that goes as grains of each radius are opened away."""
    first = last = float(plane.mean())
    eroded, found = plane, {}
    for radius in range(1, GRAINS + 1):
        eroded = ndimage.grey_erosion(eroded, footprint=morphology.disk(1))
        left = float(morphology.reconstruction(eroded, plane).mean())
        found[f"granularity_{radius}"] = float(_ratio(100 * (last - left), first))
        last = left
    return found


def zernike(plane: Plane) -> dict[str, float]:
    """The magnitudes of the Zernike moments in the largest disc about the middle, of light that sums to 1 there."""
    disc, basis = _zernike_basis(*plane.shape)
    light = plane[disc]
    light = _ratio(light, light.sum())
    return {name: float(abs((light * part).sum())) for name, part in basis.items()}


@functools.cache
def _zernike_basis(h: int, w: int) -> tuple[Bool[np.ndarray, "h w"], Mapping[str, Complex128[np.ndarray, " k"]]]:
    """The disc's pixels, and of each moment the conjugate polynomial there, times (degree + 1) / π."""
    y, x = np.mgrid[:h, :w]
    y, x = y - (h - 1) / 2, x - (w - 1) / 2
    radius = min(h, w) / 2
    disc = np.hypot(y, x) <= radius
    distance, angle = np.hypot(y, x)[disc] / radius, np.arctan2(y, x)[disc]
    found = {}
    for degree in range(ZERNIKE + 1):
        for order in range(degree % 2, degree + 1, 2):
            values = np.zeros(len(distance))
            for step in range((degree - order) // 2 + 1):
                below = math.factorial((degree + order) // 2 - step) * math.factorial((degree - order) // 2 - step)
                factor = (-1) ** step * math.factorial(degree - step) / (math.factorial(step) * below)
                values += factor * distance ** (degree - 2 * step)
            found[f"zernike_{degree}_{order}"] = (degree + 1) / math.pi * values * np.exp(-1j * order * angle)
    return disc, found


def _shape(thing: Bool[np.ndarray, "h w"]) -> dict[str, float]:
    told = skimage.measure.regionprops(thing.astype(np.uint8))[0]
    return {
        "area": float(told.area),
        "eccentricity": float(told.eccentricity),
        "extent": float(told.extent),
        "solidity": float(told.solidity),
        "form_factor": float(_ratio(4 * math.pi * told.area, told.perimeter**2)),
        "major_axis": float(told.axis_major_length),
        "minor_axis": float(told.axis_minor_length),
    }


def _ratio(a: Num[np.ndarray, "..."] | float, b: Num[np.ndarray, "..."] | float) -> np.ndarray:
    """The quotient; 0 where b is next to nothing."""
    small = np.abs(b) < 1e-12
    return np.where(small, 0.0, np.asarray(a) / np.where(small, 1.0, b))
