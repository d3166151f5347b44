"""The shape of budding yeast on a small image: mother and bud, nucleus, vacuoles; every depth in pixels."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

Plane = Float[np.ndarray, "s s"]


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """A part of a cell, in pixels."""

    y: float
    x: float
    long: float  # half axes
    short: float
    angle: float  # of the long axis, radians from x

    def rim(self, angles: Float[np.ndarray, " k"], inset: float = 0.0) -> Float[np.ndarray, "k 2"]:
        """(y, x) on the outline, or `inset` pixels within it, at angles from the long axis."""
        long, short = max(0.5, self.long - inset), max(0.5, self.short - inset)
        along, across = long * np.cos(angles), short * np.sin(angles)
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        return np.stack([self.y + along * sin + across * cos, self.x + along * cos - across * sin], -1)

    def depth(self, size: int) -> Plane:
        """How far within the outline each pixel lies, along the ray from the centre; below 0 outside."""
        y, x = np.mgrid[:size, :size]
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        along = (x - self.x) * cos + (y - self.y) * sin
        across = (y - self.y) * cos - (x - self.x) * sin
        far = np.hypot(along, across)
        relative = np.hypot(along / self.long, across / self.short)
        return np.where(relative > 1e-6, far * (1 / np.maximum(relative, 1e-6) - 1), min(self.long, self.short))


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A mother cell, its bud if it has one, and what fills them; planes are drawn once, when first asked for."""

    size: int  # pixels of the image's side
    mother: Ellipse
    bud: Ellipse | None
    nucleus: Ellipse
    vacuoles: tuple[Ellipse, ...]

    @functools.cached_property
    def depth(self) -> Plane:
        """Within the cell's outline."""
        parts = [self.mother] if self.bud is None else [self.mother, self.bud]
        return np.maximum.reduce([part.depth(self.size) for part in parts])

    @functools.cached_property
    def nucleus_depth(self) -> Plane:
        """Within the nucleus."""
        return self.nucleus.depth(self.size)

    @functools.cached_property
    def vacuole_depth(self) -> Plane:
        """Within a vacuole."""
        nowhere = np.full((self.size, self.size), -float(self.size))
        return np.maximum.reduce([nowhere, *(vacuole.depth(self.size) for vacuole in self.vacuoles)])

    @functools.cached_property
    def volume(self) -> Plane:
        """How much of the cell lies above and below each pixel: 1 at its thickest, 0 outside."""
        radius = max(self.mother.short, 1.0)
        return np.sqrt(np.clip(1 - (1 - np.clip(self.depth / radius, 0, 1)) ** 2, 0, 1))

    @property
    def neck(self) -> tuple[float, float, float] | None:
        """Between mother and bud: y, x, and the direction of the bud in radians."""
        if self.bud is None:
            return None
        direction = np.arctan2(self.bud.y - self.mother.y, self.bud.x - self.mother.x)
        far = np.hypot(self.bud.y - self.mother.y, self.bud.x - self.mother.x)
        reach = far - self.bud.long * 0.9
        return self.mother.y + reach * np.sin(direction), self.mother.x + reach * np.cos(direction), float(direction)


def inside(depth: Plane, soft: float = 0.8) -> Plane:
    """1 well within, 0 well outside, with an edge of `soft` pixels."""
    return 1 / (1 + np.exp(-np.clip(depth / soft, -40, 40)))


def rim(depth: Plane, width: float) -> Plane:
    """1 on the outline, falling off like a Gaussian of `width` pixels on both sides."""
    return np.exp(-0.5 * (depth / width) ** 2)


def drawn(draw: np.random.Generator, size: int, *, y: float, x: float, radius: float) -> Cell:
    """A cell around (y, x) of mean radius `radius` pixels; a third of all have a bud."""
    roundness = draw.uniform(0.74, 1.0)
    mother = Ellipse(y, x, radius / np.sqrt(roundness), radius * np.sqrt(roundness), draw.uniform(0, np.pi))
    bud = _bud(draw, mother) if draw.uniform() < 0.33 else None
    nucleus_radius = radius * draw.uniform(0.3, 0.42)
    nucleus = _within(draw, mother, nucleus_radius, at_most=0.55)
    vacuoles: list[Ellipse] = []
    for _ in range(draw.choice([0, 1, 2, 3], p=[0.1, 0.55, 0.22, 0.13])):
        own = radius * draw.uniform(0.25, 0.55) / np.sqrt(1 + len(vacuoles))
        others = [nucleus, *vacuoles]
        for _ in range(12):
            found = _within(draw, mother, own, at_most=0.75)
            if all(np.hypot(found.y - o.y, found.x - o.x) > 0.8 * (found.long + o.long) for o in others):
                vacuoles.append(found)
                break
    return Cell(size, mother, bud, nucleus, tuple(vacuoles))


def _bud(draw: np.random.Generator, mother: Ellipse) -> Ellipse:
    radius = mother.short * draw.uniform(0.3, 0.75)
    angle = draw.uniform(-0.9, 0.9) + draw.choice([0, np.pi])
    y, x = mother.rim(np.array([angle]), inset=-0.75 * radius)[0]
    return Ellipse(float(y), float(x), radius * 1.1, radius, float(np.arctan2(y - mother.y, x - mother.x)))


def _within(draw: np.random.Generator, mother: Ellipse, radius: float, *, at_most: float) -> Ellipse:
    """A nearly round part of the cell, its centre within so much of the way to the edge that is left to it."""
    room = at_most * np.sqrt(draw.uniform()) * max(0.0, 1 - radius / mother.short)
    angle = draw.uniform(0, 2 * np.pi)
    y, x = mother.rim(np.array([angle]))[0]
    squash = draw.uniform(0.85, 1.0)
    return Ellipse(
        float(mother.y + room * (y - mother.y)),
        float(mother.x + room * (x - mother.x)),
        radius,
        radius * squash,
        draw.uniform(0, np.pi),
    )
