"""What real fields vary in: the one table of ranges that randomised fields are drawn from (domain randomisation).

Each row is a number that a randomised field has, the distribution that it is drawn from, and the reason. A row has a
stream of randomness of its own, so that a further row, or a wider one, leaves the others as they are. Reasons: (look)
what fields of the Human Protein Atlas showed beside simulated ones; (HPA) how the HPA stains and images, Thul et al.
2017; (optics) what a confocal microscope of numerical aperture 1.2 to 1.4 does; (margin) wider than anything seen, so
that a network has to do without it; (cells) what brings statistics of simulated cells near to those of 1,314 real ones
on 55 fields: how much protein nuclei show against cytoplasm, grey levels, grain, spectra (`experiments.simulate_atlas`
prints most of them). No label was looked at, and no row was fitted by an optimiser.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from hpax.simulate.streams import stream

Draw = Callable[[np.random.Generator], float]
Row = TypeVar("Row")


def uniform(low: float, high: float) -> Draw:
    """Evenly between two bounds."""
    return lambda draw: float(draw.uniform(low, high))


def log_uniform(low: float, high: float) -> Draw:
    """Evenly in its logarithm between two positive bounds."""
    return lambda draw: float(np.exp(draw.uniform(np.log(low), np.log(high))))


def factor(spread: float) -> Draw:
    """A factor around 1, normal in its logarithm with this deviation, cut at three of them."""
    return lambda draw: float(np.exp(spread * np.clip(draw.normal(), -3, 3)))


def sometimes(share: float, other: Draw, default: float = 0.0) -> Draw:
    """Drawn from `other` in this share of cases, else `default`."""
    return lambda draw: other(draw) if draw.uniform() < share else default


def _row(distribution: Draw) -> Any:
    return dataclasses.field(metadata={"distribution": distribution})


@dataclasses.dataclass(frozen=True)
class Staining:
    """Of an antibody: how it binds and what else it binds to. Brightness relative to a well stained structure."""

    strength: float = _row(factor(0.8))  # as `Optics.antibody_spread` (look)
    cytosol: float = _row(log_uniform(0.04, 0.4))  # unspecific: every field has some (cells)
    nucleus: float = _row(log_uniform(0.04, 0.45))  # likewise (cells)
    puncta: float = _row(sometimes(0.5, log_uniform(0.05, 0.5)))  # peak of unspecific dots (look)
    puncta_density: float = _row(log_uniform(0.01, 0.25))  # dots per µm² of a cell (look)
    grain: float = _row(log_uniform(0.25, 1.1))  # deviation over mean per 0.1 µm²: few antibodies, hence grains (cells)
    expression: float = _row(log_uniform(0.12, 0.8))  # deviation of the logarithm of a cell's level (look)
    second: float = _row(uniform(0.25, 1.0))  # strength of further locations, which are listed after the main one (HPA)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of one location as an antibody shows it; see `Style`."""

    brightness: float = _row(factor(0.3))  # (look)
    size: float = _row(factor(0.22))  # of filaments, dots and edges: 0.15 to 0.5 µm (optics, look)
    number: float = _row(factor(0.45))  # of dots, filaments and bodies (look)
    contrast: float = _row(uniform(0, 1))  # each kind says of what (margin)
    spread: float = _row(uniform(0, 1))  # likewise


@dataclasses.dataclass(frozen=True)
class Culture:
    """Of a field's cells: factors of their line's morphology, since lines look different from passage to passage."""

    density: float = _row(factor(0.4))  # from single cells to confluence (look)
    size: float = _row(factor(0.25))  # area of cells; pixel sizes are not exact either (look, margin)
    nucleus: float = _row(factor(0.18))  # area of nuclei (look)
    elongation: float = _row(uniform(0.0, 2.0))  # of what is over 1 (look)
    protrusions: float = _row(uniform(0.0, 1.8))  # (look)
    ruffling: float = _row(log_uniform(0.6, 1.6))  # (look)
    nucleoli: float = _row(uniform(0.5, 1.5))  # one large one to many (look)
    nucleolus: float = _row(uniform(0.8, 1.4))  # radius (look)
    filaments: float = _row(log_uniform(0.8, 2.2))  # microtubules fill a cell in most lines (look)
    bundling: float = _row(uniform(0.0, 0.7))  # added to the line's: parallel flows (look)
    wander: float = _row(log_uniform(0.5, 1.5))  # (look)
    scattered: float = _row(uniform(0.0, 0.6))  # share of microtubules that start anywhere in the cell (look)
    er_reach: float = _row(log_uniform(1.0, 4.0))  # (look)
    debris: float = _row(sometimes(0.4, log_uniform(0.5, 8.0)))  # pieces per cell, bright in all but DNA (look)


@dataclasses.dataclass(frozen=True)
class Markers:
    """Of a field's structural stains."""

    tubulin_width: float = _row(log_uniform(0.10, 0.18))  # µm, standard deviation across a filament (optics)
    tubulin_pool: float = _row(uniform(0.0, 0.18))  # unpolymerised, throughout the cytosol (look)
    tubulin_depth: float = _row(uniform(0.2, 1.6))  # exponent of the cell's height in its brightness (look)
    tubulin_edge: float = _row(sometimes(0.4, uniform(0.1, 0.6)))  # cortical, in rounded lines (look)
    tubulin_in_nucleus: float = _row(uniform(0.05, 0.6))  # above and below it (look)
    er_contrast: float = _row(uniform(0.1, 0.8))  # of the net: mostly grainy, rarely resolved (look)
    er_in_nucleus: float = _row(uniform(0.08, 0.7))  # above and below it (look)
    er_depth: float = _row(uniform(0.2, 1.6))  # as `tubulin_depth` (look)
    er_edge: float = _row(sometimes(0.3, uniform(0.1, 0.4)))  # (look)
    expression: float = _row(uniform(0.15, 0.6))  # deviation of the logarithm of a cell's level, alike in both (look)
    er_grain: float = _row(log_uniform(0.2, 1.0))  # as an antibody's `grain` (cells)
    tubulin_grain: float = _row(log_uniform(0.1, 0.6))  # likewise (look)
    dna_grain: float = _row(uniform(0.02, 0.14))  # chromatin's contrast at each of two scales (look)
    dna_in_nucleoli: float = _row(uniform(0.3, 0.95))  # (look)


@dataclasses.dataclass(frozen=True)
class Microscope:
    """Of a field's exposure."""

    psf: float = _row(log_uniform(0.10, 0.28))  # µm, standard deviation: in focus to slightly out of it (optics)
    photons: float = _row(log_uniform(5.0, 45.0))  # of the protein per pixel at signal 1 (look)
    marker_photons: float = _row(log_uniform(15.0, 150.0))  # of the markers: well stained, long exposed (HPA, look)
    dna_photons: float = _row(log_uniform(15.0, 150.0))  # likewise
    correlated: float = _row(sometimes(0.5, uniform(0.3, 0.8)))  # pixels: noise after averaging or zooming (look)
    level: float = _row(log_uniform(0.4, 2.0))  # of the protein's exposure; dim fields and clipped ones (cells)
    section: float = _row(uniform(0.25, 0.85))  # of the cytoplasm's protein seen above and below the nucleus (cells)
    ceiling: float = _row(log_uniform(110.0, 450.0))  # grey levels to which the brightest 0.2% are set at most (look)
    marker_ceiling: float = _row(log_uniform(170.0, 600.0))  # of DNA and ER, likewise (look)
    tubulin_ceiling: float = _row(log_uniform(220.0, 700.0))  # of microtubules, whose crossings clip (cells)
    tubulin_level: float = _row(log_uniform(0.8, 3.0))  # (cells)
    er_level: float = _row(log_uniform(0.45, 2.5))  # (cells)
    dna_level: float = _row(log_uniform(0.5, 2.0))  # up to clipping (look)
    pedestal: float = _row(sometimes(0.12, uniform(0.02, 0.12)))  # of full scale, left everywhere; rare (look)
    black: float = _row(sometimes(0.45, log_uniform(0.005, 0.08)))  # signal set to black by hand, as users do (look)
    clipped: float = _row(uniform(1.0, 3.5))  # deviations of the dark noise that the offset takes away (look)
    gamma: float = _row(factor(0.2))  # of the exported picture (margin)
    haze: float = _row(sometimes(0.75, log_uniform(0.03, 0.35)))  # of the light, from out of focus layers (optics)
    haze_reach: float = _row(log_uniform(2.0, 10.0))  # µm (optics)
    bleed: float = _row(sometimes(0.6, log_uniform(0.005, 0.1)))  # share of a channel in the next towards red (optics)
    leak: float = _row(sometimes(0.3, log_uniform(0.005, 0.1)))  # of the microtubules in the protein (look, margin)
    vignette: float = _row(sometimes(0.4, uniform(0.0, 0.35)))  # lost at the corners (optics)
    quality: float = _row(sometimes(0.35, uniform(4.0, 30.0)))  # grey levels of a JPEG's coarsest step; 0: lossless


def drawn(table: type[Row], *keys: int | str) -> Row:
    """A row of numbers from `table`, a pure function of the keys."""
    rows = {}
    for field in dataclasses.fields(table):  # type: ignore[arg-type]  # every table is a dataclass
        rows[field.name] = field.metadata["distribution"](stream(*keys, table.__name__, field.name))
    return table(**rows)
