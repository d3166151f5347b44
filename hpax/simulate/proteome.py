"""A proteome: proteins with their locations, antibodies and cell-to-cell variation."""

import dataclasses

import numpy as np

from hpax import atlas
from hpax.simulate.streams import stream

FREQUENCIES = (8797, 1095, 2451, 3111, 1425, 1792, 775, 1846, 964, 998, 818, 78, 1734, 3262, 2013, 252, 5685, 593, 34)
"""How many of 21,806 images carry each class, in class order; skewed over two orders of magnitude."""


@dataclasses.dataclass(frozen=True)
class Style:
    """How one protein draws one location: factors around 1, shares between 0 and 1."""

    brightness: float = 1.0
    size: float = 1.0
    number: float = 1.0
    contrast: float = 0.5
    spread: float = 0.5


@dataclasses.dataclass(frozen=True)
class Protein:
    """One protein; everything about its looks follows from these fields."""

    name: str
    index: int
    locations: tuple[int, ...]  # class ids, the main one first; (atlas.NEGATIVE,) alone for a protein that is not seen
    antibodies: tuple[str, ...]
    variation: float = 0.0  # share of cells in which a location of this protein stays dark
    seed: int = 0

    def __post_init__(self) -> None:
        atlas.multi_hot(self.locations)
        if not self.locations or len(set(self.locations)) < len(self.locations):
            raise ValueError(
                f"locations must be one or more different classes, got {self.locations}; see atlas.LOCATIONS"
            )
        if not self.antibodies:
            raise ValueError(f"{self.name} needs an antibody to be seen; name at least one")
        if not 0 <= self.variation < 1:
            raise ValueError(f"variation must be in [0, 1), got {self.variation}; it is the share of dark cells")

    def style(self, location: int) -> Style:
        """This protein's own way of showing `location`; the same in every cell and field."""
        draw = stream("style", self.seed, self.index, location)
        brightness, size, number = np.exp(draw.normal(0, (0.2, 0.18, 0.3)))
        weight = 1.0 if location == self.locations[0] else draw.uniform(0.55, 1.0)
        return Style(0.72 * brightness * weight, size, number, *draw.uniform(0, 1, 2))


def proteome(
    *,
    proteins: int,
    seed: int = 0,
    balanced: bool = False,
    multilocalised: float = 0.55,
    varying: float = 0.35,
    frequencies: tuple[float, ...] = FREQUENCIES,
) -> tuple[Protein, ...]:
    """Proteins whose classes are as skewed as the HPA's, or balanced.

    Args:
        proteins: how many.
        seed: the proteome's identity; a protein's looks depend on it.
        balanced: the main location cycles through the 19 classes instead of being drawn by `frequencies`, and
            further ones are drawn evenly.
        multilocalised: share of all proteins with two or (one in five of these) three locations. Negative excludes
            every other class, so with few other proteins the share is as high as it can be.
        varying: share of proteins with single-cell variation, where a cell shows only a part of the locations.
        frequencies: relative frequency of each class when not balanced.

    Raises:
        ValueError: no protein, a share outside [0, 1], or not 19 positive frequencies.
    """
    _check(proteins, multilocalised, varying, frequencies)
    weights = np.ones(len(atlas.LOCATIONS)) if balanced else np.asarray(frequencies, float)
    draw = stream("proteome", seed)
    cycle = np.arange(proteins) % len(atlas.LOCATIONS)
    main = cycle if balanced else draw.choice(len(weights), proteins, p=weights / weights.sum())
    counts = _location_counts(draw, main, round(multilocalised * proteins))
    varies = np.zeros(proteins, bool)
    varies[draw.permutation(proteins)[: round(varying * proteins)]] = True
    return tuple(
        Protein(
            name=f"SIM{index + 1:05d}",
            index=index,
            locations=_locations(stream("locations", seed, index), int(main[index]), int(counts[index]), weights),
            antibodies=_antibodies(stream("antibodies", seed, index), index),
            variation=float(stream("variation", seed, index).uniform(0.2, 0.5)) if varies[index] else 0.0,
            seed=seed,
        )
        for index in range(proteins)
    )


def _check(proteins: int, multilocalised: float, varying: float, frequencies: tuple[float, ...]) -> None:
    if proteins < 1:
        raise ValueError(f"a proteome needs at least one protein, got {proteins}")
    for name, share in (("multilocalised", multilocalised), ("varying", varying)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be a share in [0, 1], got {share}")
    if len(frequencies) != len(atlas.LOCATIONS) or min(frequencies) <= 0:
        raise ValueError(f"frequencies must be {len(atlas.LOCATIONS)} positive numbers, got {frequencies}")


def _location_counts(draw: np.random.Generator, main: np.ndarray, multilocalised: int) -> np.ndarray:
    """How many locations each protein has: 1, or 2–3 for `multilocalised` of those that are not Negative."""
    counts = np.ones(len(main), int)
    chosen = draw.permutation(np.flatnonzero(main != atlas.NEGATIVE))[:multilocalised]
    counts[chosen] = np.where(draw.uniform(size=len(chosen)) < 0.2, 3, 2)
    return counts


def _locations(draw: np.random.Generator, main: int, count: int, weights: np.ndarray) -> tuple[int, ...]:
    others = weights.copy()
    others[[main, atlas.NEGATIVE]] = 0
    more = draw.choice(len(weights), count - 1, replace=False, p=others / others.sum())
    return (main, *(int(location) for location in more))


def _antibodies(draw: np.random.Generator, index: int) -> tuple[str, ...]:
    """One antibody, or two for every fifth protein or so."""
    return tuple(f"SAB{index + 1:05d}{letter}" for letter in "AB"[: 1 + (draw.uniform() < 0.2)])
