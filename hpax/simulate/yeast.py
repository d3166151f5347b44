"""Simulated crops of budding yeast, as published screens have them: a tagged protein and a marker of the cytosol.

    proteins = yeast.proteome(proteins=170, seed=0)
    crops = yeast.crops(proteins[0], count=30, seed=0)  # (30, 64, 64, 2) uint16: protein, marker

A pure function of its arguments, like the human atlas. A pixel is about 0.12 µm, so that cells fill the crops as those
of Lu et al. (2019) do.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, UInt16
from scipy import ndimage

from hpax.simulate import yeast_cells, yeast_patterns
from hpax.simulate.proteome import Style
from hpax.simulate.streams import stream

__all__ = ["LOCATIONS", "SIZE", "YeastProtein", "crops", "proteome"]

SIZE = 64
"""Pixels of the side of a crop."""

LOCATIONS = tuple(yeast_patterns.PATTERNS)

RADIUS = 11.0, 23.0  # pixels, mean radius of a cell
PSF = 1.0, 1.6  # pixels, standard deviation in focus
PHOTONS = 15.0, 400.0  # per pixel at signal 1, between proteins
OFFSET = 0.03  # of full scale, of the camera


@dataclasses.dataclass(frozen=True)
class YeastProtein:
    """A tagged protein; everything about its looks follows from these fields."""

    name: str
    index: int
    locations: tuple[str, ...]  # of LOCATIONS, the main one first
    seed: int = 0

    @functools.cached_property
    def look(self) -> "Look":
        """This protein's own, the same in all of its cells."""
        draw = stream("yeast look", self.seed, self.index)
        styles = []
        for place in range(len(self.locations)):
            size, number = np.exp(draw.normal(0, (0.15, 0.3)))
            weight = 1.0 if place == 0 else draw.uniform(0.3, 0.9)
            styles.append(Style(weight, size, number, *draw.uniform(0, 1, 2)))
        return Look(
            styles=tuple(styles),
            photons=float(np.exp(draw.uniform(*np.log(PHOTONS)))),
            marker_photons=float(np.exp(draw.uniform(np.log(40), np.log(400)))),
            free=float(draw.uniform(0, 0.3) * (draw.uniform() < 0.6)),
            autofluorescence=float(draw.uniform(1, 8)),
            bleed_through=float(draw.uniform(0, 0.06)),
        )


@dataclasses.dataclass(frozen=True)
class Look:
    """How a protein is seen."""

    styles: tuple[Style, ...]  # of its locations
    photons: float  # per pixel at signal 1
    marker_photons: float
    free: float  # share in the cytosol
    autofluorescence: float  # photons per pixel in the thickest part of a cell
    bleed_through: float  # of the marker into the protein's channel


def proteome(*, proteins: int, seed: int = 0, multilocalised: float = 0.3) -> tuple[YeastProtein, ...]:
    """Proteins whose main locations take turns; so many have a second one.

    Raises:
        ValueError: no protein, or a share outside [0, 1].
    """
    if proteins < 1 or not 0 <= multilocalised <= 1:
        told = f"{proteins} and {multilocalised}"
        raise ValueError(f"a proteome needs at least 1 protein and a share in [0, 1] with two locations, got {told}")
    found = []
    for index in range(proteins):
        draw = stream("yeast locations", seed, index)
        locations = [LOCATIONS[index % len(LOCATIONS)]]
        if draw.uniform() < multilocalised:
            locations.append(str(draw.choice([name for name in LOCATIONS if name != locations[0]])))
        found.append(YeastProtein(f"YSIM{index + 1:04d}", index, tuple(locations), seed))
    return tuple(found)


def crops(protein: YeastProtein, *, count: int, seed: int = 0) -> UInt16[np.ndarray, "count 64 64 2"]:
    """Cells of one protein, each in the middle of its crop, with whatever neighbours reach in."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return np.stack([_crop(protein, index, seed) for index in range(count)])


def _crop(protein: YeastProtein, index: int, seed: int) -> UInt16[np.ndarray, "64 64 2"]:
    draw = stream("yeast crop", seed, protein.index, index)
    signal = np.zeros((SIZE, SIZE, 2))
    for cell in _cells(draw):
        signal += _lit(protein, cell, draw)
    return _exposed(signal, protein.look, draw)


def _cells(draw: np.random.Generator) -> list[yeast_cells.Cell]:
    """The cell in the middle, and up to four neighbours that touch it or nearly do."""
    radius = draw.uniform(*RADIUS)
    middle = (SIZE - 1) / 2
    y, x = middle + draw.normal(0, 1.0, 2)
    found = [yeast_cells.drawn(draw, SIZE, y=y, x=x, radius=radius)]
    taken = [(y, x, radius)]
    for _ in range(draw.integers(0, 5)):
        other, angle = draw.uniform(*RADIUS), draw.uniform(0, 2 * np.pi)
        far = radius * 1.1 + other * 1.1 + draw.exponential(4.0)
        y, x = middle + far * np.sin(angle), middle + far * np.cos(angle)
        if all(np.hypot(y - v, x - u) > 1.05 * (other + r) for v, u, r in taken):
            taken.append((y, x, other))
            found.append(yeast_cells.drawn(draw, SIZE, y=y, x=x, radius=other))
    return found


def _lit(protein: YeastProtein, cell: yeast_cells.Cell, draw: np.random.Generator) -> Float[np.ndarray, "64 64 2"]:
    """What a cell emits, in photons per pixel: protein, marker."""
    look = protein.look
    protein_level, marker_level = np.exp(draw.normal(0, (0.35, 0.3)))
    plane = np.zeros((SIZE, SIZE))
    for location, style in zip(protein.locations, look.styles, strict=True):
        plane += style.brightness * yeast_patterns.PATTERNS[location](cell, style, draw)
    plane = (1 - look.free) * plane * yeast_cells.inside(cell.depth + 1) + look.free * 0.7 * cell.volume
    dark = yeast_cells.inside(cell.vacuole_depth)
    marker = cell.volume * (1 - draw.uniform(0.35, 0.75) * dark)
    marker *= 1 + 0.12 * draw.normal() * yeast_cells.inside(cell.nucleus_depth)
    marker *= look.marker_photons * marker_level
    plane = look.photons * protein_level * plane + look.autofluorescence * cell.volume * (1 - 0.4 * dark)
    return np.stack([plane + look.bleed_through * marker, marker], -1)


def _exposed(
    signal: Float[np.ndarray, "64 64 2"], look: Look, draw: np.random.Generator
) -> UInt16[np.ndarray, "64 64 2"]:
    """Through the microscope: focus, background, photons, camera."""
    focus = draw.uniform(*PSF) + (draw.uniform(0, 2.5) if draw.uniform() < 0.25 else 0)
    image = np.empty(signal.shape)
    for channel in range(2):
        image[..., channel] = ndimage.gaussian_filter(signal[..., channel], focus, mode="nearest")
    image += draw.uniform(1, 6, 2) + draw.exponential(1.5, 2)
    image += draw.standard_normal(signal.shape) * np.sqrt(np.maximum(image, 0) + draw.uniform(0.5, 2.0) ** 2)
    gain = 0.25 / np.array([look.photons, look.marker_photons]) ** 0.85
    return np.rint(65535 * np.clip(OFFSET + gain * image, 0, 1)).astype(np.uint16)
