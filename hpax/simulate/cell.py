"""The geometry of one cell, and the brushes that draw in it. Lengths in µm; positions are complex, x + iy."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy import ndimage

from hpax.simulate.morphology import Morphology

Points = Complex[np.ndarray, "..."]
Paths = Complex[np.ndarray, "steps n"]
Plane = Float[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One cell in its window of the canvas; every plane covers the window, positions count from the canvas' corner."""

    window: tuple[slice, slice]
    um_per_pixel: float
    centre: complex  # of the nucleus
    axis: float  # radians, the long axis
    nucleus_contour: Float[np.ndarray, " angles"]  # radius of the nucleus at evenly spaced angles
    inside: Bool[np.ndarray, "h w"]  # the cell, nucleus included
    membrane: Plane  # distance to the cell's edge, 0 outside
    morphology: Morphology
    draw: Callable[[str], np.random.Generator]  # purpose → this cell's own numbers for it
    noise: Callable[[str, float], Plane]  # (name, scale) → smooth noise of mean 0 and variance 1
    centrosome: complex
    poles: tuple[complex, complex]  # of the spindle
    nucleoli: tuple[tuple[complex, float], ...]  # centre and radius
    mitotic: bool = False

    @functools.cached_property
    def z(self) -> Complex[np.ndarray, "h w"]:
        """The position of every pixel's centre."""
        rows, columns = (np.arange(s.start, s.stop) + 0.5 for s in self.window)
        return (columns[None] + 1j * rows[:, None]) * self.um_per_pixel

    @functools.cached_property
    def envelope(self) -> Plane:
        """Distance to the nuclear envelope along the ray from the centre: negative in the nucleus."""
        away = self.z - self.centre
        return np.abs(away) - at_angle(self.nucleus_contour, np.angle(away))

    @functools.cached_property
    def nucleus(self) -> Bool[np.ndarray, "h w"]:
        """The nucleus, or a mitotic cell's chromatin."""
        return self.inside & (self.envelope < 0)

    @functools.cached_property
    def cytoplasm(self) -> Bool[np.ndarray, "h w"]:
        """The cell without its nucleus."""
        return self.inside & (self.envelope >= 0)

    @functools.cached_property
    def nucleolar(self) -> Plane:
        """1 within the nucleoli, 0 elsewhere, with soft uneven edges; none in a mitotic cell."""
        if not self.nucleoli:
            return np.zeros(self.inside.shape)
        depth = np.max([1 - np.abs(self.z - z) / radius for z, radius in self.nucleoli], axis=0)
        return np.clip(4 * (depth + 0.12 * self.noise("nucleoli", 0.5)), 0, 1) * self.nucleus

    @functools.cached_property
    def thickness(self) -> Plane:
        """Height of the cell relative to its highest point: flat at the edge, high around the nucleus."""
        rim = np.minimum(self.membrane / 1.5, 1)
        return np.sqrt(rim) * (0.4 + 0.6 * np.exp(-np.maximum(self.envelope, 0) / 7))

    @functools.cached_property
    def walls(self) -> Complex[np.ndarray, "h w"]:
        """The push away from the nucleus, over 1.5 µm, and from the cell's edge, over 0.8 µm; up to length 1."""
        push = np.zeros(self.inside.shape, complex)
        for distance, reach in ((np.maximum(self.envelope, 0), 1.5), (self.membrane, 0.8)):
            near = np.minimum(distance, reach)
            along_y, along_x = np.gradient(near, self.um_per_pixel)
            push += (along_x + 1j * along_y) * (1 - near / reach)
        return push

    def indices(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Row and column in the window of each position, clipped to the window."""
        rows = (points.imag / self.um_per_pixel - self.window[0].start).astype(int)
        columns = (points.real / self.um_per_pixel - self.window[1].start).astype(int)
        bottom, right = self.inside.shape[0] - 1, self.inside.shape[1] - 1
        return np.minimum(np.maximum(rows, 0), bottom), np.minimum(np.maximum(columns, 0), right)

    def sample(self, draw: np.random.Generator, weight: Plane | Bool[np.ndarray, "h w"], count: int) -> Points:
        """`count` positions drawn in proportion to `weight`; none where it is 0 everywhere."""
        total = np.cumsum(weight)
        if total[-1] <= 0:
            return np.zeros(0, complex)
        chosen = np.searchsorted(total, draw.uniform(0, total[-1], count), side="right")
        jitter = draw.uniform(-0.5, 0.5, (2, count)) * self.um_per_pixel
        return self.z.ravel()[np.minimum(chosen, total.size - 1)] + jitter[0] + 1j * jitter[1]


def at_angle(
    contour: Float[np.ndarray, " angles"], angle: Float[np.ndarray, "*p"] | float
) -> Float[np.ndarray, "*p"] | float:
    """The radius of a contour, given at evenly spaced angles, in the direction `angle` (radians)."""
    return contour[np.asarray(angle * (len(contour) / (2 * np.pi))).astype(int) % len(contour)]


def splat(cell: Cell, points: Points, weights: np.ndarray | float = 1.0) -> Plane:
    """Density per µm² of weighted points, shared bilinearly among the four nearest pixels."""
    height, width = cell.inside.shape
    y = points.imag.ravel() / cell.um_per_pixel - cell.window[0].start - 0.5
    x = points.real.ravel() / cell.um_per_pixel - cell.window[1].start - 0.5
    weights = np.broadcast_to(weights, points.shape).ravel() / cell.um_per_pixel**2
    kept = (weights > 0) & (y > 0) & (x > 0) & (y < height - 1) & (x < width - 1)
    y, x, weights = y[kept], x[kept], weights[kept]
    row, column = y.astype(int), x.astype(int)
    down, right = y - row, x - column
    above, below = (row * width + column, 1 - down), ((row + 1) * width + column, down)
    density = np.zeros(height * width)
    for corner, share in (above, below):
        density += np.bincount(corner, weights * share * (1 - right), minlength=height * width)
        density += np.bincount(corner + 1, weights * share * right, minlength=height * width)
    return density.reshape(height, width)


def blur(cell: Cell, plane: Plane, sigma: float) -> Plane:
    """Gaussian blur by `sigma` µm, dark beyond the window."""
    return ndimage.gaussian_filter(plane, sigma / cell.um_per_pixel, mode="constant", truncate=3.0)


def spots(cell: Cell, points: Points, sigma: float, brightness: np.ndarray | float = 1.0) -> Plane:
    """Gaussian spots of standard deviation `sigma` µm whose peak is their brightness."""
    return blur(cell, splat(cell, points, brightness), sigma) * (2 * np.pi * sigma**2)


def threads(cell: Cell, paths: Paths, sigma: float, weights: np.ndarray | float = 1.0) -> Plane:
    """Lines along `paths`, `sigma` µm thick, whose ridge is about their weight.

    `weights` (steps-1, n) or a scalar fade or end a line.
    """
    pieces = np.diff(paths, axis=0)
    fine = max(1, int(np.ceil(np.abs(pieces).max(initial=0) / cell.um_per_pixel)))
    along = (np.arange(fine) + 0.5)[:, None, None] / fine
    points = paths[None, :-1] + along * pieces[None]
    density = splat(cell, points, np.broadcast_to(np.abs(pieces) * weights / fine, points.shape))
    return blur(cell, density, sigma) * (np.sqrt(2 * np.pi) * sigma)


def walk(
    cell: Cell,
    draw: np.random.Generator,
    start: Points,
    heading: np.ndarray,
    *,
    steps: int,
    step: float,
    wander: float,
    steer: float = 1.2,
) -> Paths:
    """Paths from `start` that keep their heading but for random turns (radians per µm) and the push of walls."""
    turns = draw.normal(0, wander * step, (steps, len(start)))
    turns = np.exp(1j * turns)
    direction = np.exp(1j * heading)
    path = [start]
    for turn in turns:
        direction = direction * turn + steer * step * cell.walls[cell.indices(path[-1])]
        direction /= np.maximum(np.abs(direction), 1e-9)
        path.append(path[-1] + step * direction)
    return np.array(path)


def alive(cell: Cell, paths: Paths, lengths: np.ndarray) -> Float[np.ndarray, "steps-1 n"]:
    """1 for the pieces of each path up to its length in steps and to where it first leaves the cell."""
    within = cell.inside[cell.indices(paths[1:])] & (np.arange(len(paths) - 1)[:, None] < lengths)
    return np.logical_and.accumulate(within, axis=0).astype(float)
