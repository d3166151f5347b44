"""Where the cells of a field lie and which pixels are theirs: touching cells around nuclei of their own."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt16
from scipy import ndimage

from hpax.simulate.cell import Cell, at_angle
from hpax.simulate.morphology import Morphology
from hpax.simulate.streams import stream
from hpax.simulate.texture import Textures

ANGLES = 512
MARGIN = 15.0  # µm simulated beyond the field, so that cells are cut by its border
FEWEST, MOST = 5, 40  # cells of a field of the default area
DEFAULT_AREA = (512 * 0.32) ** 2  # µm²
MITOTIC_RATE = 0.02
GAP = 1.2  # µm between two nuclei
VISIBLE = 4.0  # µm² of nucleus that make a cell part of the field's truth


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A field of `size` pixels with a margin around it; positions in µm from the margin's corner."""

    size: int
    um_per_pixel: float

    @property
    def margin(self) -> int:
        """Pixels beyond each side of the field."""
        return round(MARGIN / self.um_per_pixel)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, margins included."""
        return (self.size + 2 * self.margin,) * 2

    @property
    def field(self) -> tuple[slice, slice]:
        """The field within the canvas."""
        return (slice(self.margin, self.margin + self.size),) * 2

    @property
    def area(self) -> float:
        """Of the field, relative to a default one."""
        return (self.size * self.um_per_pixel) ** 2 / DEFAULT_AREA

    @property
    def safe(self) -> float:
        """How far from its border a cell of the field is surely whole, in µm, or as far as a small field allows."""
        return min(8.0, self.size * self.um_per_pixel / 4)

    def beyond(self, z: complex) -> float:
        """How far outside the field a position lies, in µm; negative within."""
        middle = self.shape[0] / 2 * self.um_per_pixel
        return max(abs(z.real - middle), abs(z.imag - middle)) - self.size / 2 * self.um_per_pixel


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
    """The contours of one cell, as radii at evenly spaced angles around the centre of its nucleus."""

    centre: complex
    axis: float
    nucleus: Float[np.ndarray, " angles"]
    reach: Float[np.ndarray, " angles"]
    mitotic: bool


def outline(draw: np.random.Generator, morphology: Morphology, centre: complex, *, mitotic: bool) -> Outline:
    """A cell of the line at `centre`, as far as it spreads without neighbours."""
    axis = draw.uniform(0, np.pi)
    if mitotic:
        return Outline(centre, axis, _plate(draw, axis), _round(draw, morphology), True)
    growth = draw.normal()
    area = morphology.nucleus_area * np.exp(morphology.nucleus_spread * growth)
    aspect = 1 + (morphology.nucleus_aspect - 1) * draw.gamma(4, 0.25)
    nucleus = _ellipse(area, aspect, axis + draw.normal(0, 0.2)) * (1 + _ripple(draw, 2, 5, 0.05))
    area = max(morphology.cell_area * np.exp(morphology.cell_spread * draw.normal() + 0.15 * growth), 1.6 * area)
    reach = _ellipse(area, 1 + (morphology.elongation - 1) * draw.gamma(4, 0.25), axis)
    reach = reach * (1 + 0.25 * draw.uniform() * np.cos(_angles() - draw.uniform(0, 2 * np.pi)))
    reach = reach * (1 + _ripple(draw, 2, 9, 2 * morphology.ruffling) + _ripple(draw, 9, 24, 0.3 * morphology.ruffling))
    reach = reach + np.sqrt(area / np.pi) * _protrusions(draw, morphology, axis)
    return Outline(centre, axis, nucleus, np.maximum(reach, nucleus + 1.2), False)


def place(draw: np.random.Generator, canvas: Canvas, morphology: Morphology, *, mitosis: bool) -> list[Outline]:
    """Outlines scattered over the canvas until the field holds its share of them; with `mitosis`, one divides."""
    typical = morphology.density * canvas.area * DEFAULT_AREA / 1e4
    wanted = int(np.clip(round(typical * np.exp(draw.normal(0, 0.3))), FEWEST * canvas.area, 0.85 * MOST * canvas.area))
    wanted = max(wanted, 1)
    crowd = _crowd(draw, canvas, morphology.clumping)
    placed: list[Outline] = []
    inside = beside = 0
    for _ in range(100 * wanted + 100):
        z = complex(*draw.uniform(0, canvas.shape[0] * canvas.um_per_pixel, 2))
        if draw.uniform() > crowd(z):
            continue
        away = canvas.beyond(z)
        forced = mitosis and away < -canvas.safe and not any(other.mitotic for other in placed)
        cell = outline(draw, morphology, z, mitotic=draw.uniform() < MITOTIC_RATE or forced)
        peeps = 0 <= away < cell.nucleus.max()
        if (peeps and beside >= MOST * canvas.area - wanted) or not _fits(cell, placed):
            continue
        placed.append(cell)
        inside, beside = inside + (away < 0), beside + peeps
        if inside == wanted:
            break
    return placed


def territories(outlines: list[Outline], canvas: Canvas) -> UInt16[np.ndarray, "h w"]:
    """The canvas divided among the cells: outline i owns the pixels i+1, in one piece around its nucleus.

    A pixel goes to the cell for which it is nearest relative to that cell's reach in its direction, 0 at the nuclear
    envelope and 1 at the edge; a nucleus is therefore always its own cell's, and two near cells touch.
    """
    owner = np.zeros(canvas.shape, np.uint16)
    nearest = np.ones(canvas.shape)
    for index, cell in enumerate(outlines, 1):
        window, away = _window(cell, canvas)
        nucleus, reach = (at_angle(contour, np.angle(away)) for contour in (cell.nucleus, cell.reach))
        distance = (np.abs(away) - nucleus) / (reach - nucleus)
        if cell.mitotic:  # rounded up, it gives way to nobody but another's nucleus
            distance = np.where((distance > 0) & (distance < 1), 1e-3 * distance, distance)
        wins = distance < nearest[window]
        owner[window][wins] = index
        nearest[window][wins] = distance[wins]
    return _in_one_piece(owner, outlines, canvas)


def cells(
    outlines: list[Outline],
    owner: UInt16[np.ndarray, "h w"],
    canvas: Canvas,
    morphology: Morphology,
    *keys: int | str,
) -> list[Cell]:
    """The geometry of the cells of which the field shows a part; `keys` seed whatever is drawn in them."""
    membrane = _distance_to_edges(owner, canvas.um_per_pixel)
    textures = Textures(canvas.shape, canvas.um_per_pixel, *keys)
    windows = ndimage.find_objects(owner, len(outlines))
    visible = set(np.unique(owner[canvas.field]).tolist()) - {0}
    return [
        _cell(outlines[index - 1], index, windows[index - 1], owner, membrane, canvas, morphology, textures, keys)
        for index in sorted(visible)
    ]


def _cell(
    cell: Outline,
    index: int,
    window: tuple[slice, slice],
    owner: UInt16[np.ndarray, "h w"],
    membrane: Float[np.ndarray, "h w"],
    canvas: Canvas,
    morphology: Morphology,
    textures: Textures,
    keys: tuple[int | str, ...],
) -> Cell:
    inside = owner[window] == index
    draw = stream(*keys, "organelles", index)
    side = np.exp(1j * (cell.axis + np.pi * draw.integers(2) + draw.normal(0, 0.6)))
    spindle = 0.5 * cell.reach.min() * 1j * np.exp(1j * cell.axis)
    return Cell(
        window=window,
        um_per_pixel=canvas.um_per_pixel,
        centre=cell.centre,
        axis=cell.axis,
        nucleus_contour=cell.nucleus,
        inside=inside,
        membrane=np.where(inside, membrane[window], 0),
        morphology=morphology,
        draw=lambda purpose: stream(*keys, purpose, index),
        noise=lambda name, scale: textures(name, scale)[window],
        centrosome=cell.centre + side * (at_angle(cell.nucleus, np.angle(side)) + 1.3),
        poles=(cell.centre + spindle, cell.centre - spindle),
        nucleoli=() if cell.mitotic else _nucleoli(draw, cell, morphology),
        mitotic=cell.mitotic,
    )


def _angles() -> Float[np.ndarray, " angles"]:
    return np.arange(ANGLES) * (2 * np.pi / ANGLES)


def _ellipse(area: float, aspect: float, axis: float) -> Float[np.ndarray, " angles"]:
    long, short = np.sqrt(area / np.pi * aspect), np.sqrt(area / np.pi / aspect)
    return long * short / np.hypot(short * np.cos(_angles() - axis), long * np.sin(_angles() - axis))


def _ripple(draw: np.random.Generator, low: int, high: int, size: float) -> Float[np.ndarray, " angles"]:
    """A random periodic function with `low` to `high` waves a turn, long ones strongest; deviation `size`."""
    waves = np.arange(low, high)
    amplitude = draw.normal(0, 1, len(waves)) / waves
    ripple = amplitude @ np.cos(waves[:, None] * _angles() + draw.uniform(0, 2 * np.pi, (len(waves), 1)))
    return size * ripple * np.sqrt(2 / np.sum(1 / waves**2))


def _protrusions(draw: np.random.Generator, morphology: Morphology, axis: float) -> Float[np.ndarray, " angles"]:
    """Processes that prefer the two ends of the cell."""
    extra = np.zeros(ANGLES)
    for _ in range(draw.poisson(morphology.protrusions)):
        direction = axis + np.pi * draw.integers(2) + draw.normal(0, 0.6)
        sharpness = draw.uniform(12, 60)
        length = morphology.protrusion_length * draw.uniform(0.4, 1.4)
        extra += length * np.exp(sharpness * (np.cos(_angles() - direction) - 1))
    return extra


def _plate(draw: np.random.Generator, axis: float) -> Float[np.ndarray, " angles"]:
    """Metaphase chromosomes: a bar seen edge-on, or a wider one seen at a slant."""
    length, width = draw.uniform(4.5, 6.0), draw.uniform(1.4, 2.6)
    return _ellipse(np.pi * length * width, length / width, axis) * (1 + _ripple(draw, 4, 14, 0.09))


def _round(draw: np.random.Generator, morphology: Morphology) -> Float[np.ndarray, " angles"]:
    radius = np.clip(np.sqrt(0.5 * morphology.cell_area / np.pi), 8.0, 10.5) * draw.uniform(0.92, 1.08)
    return radius * (1 + _ripple(draw, 2, 5, 0.02))


def _crowd(draw: np.random.Generator, canvas: Canvas, clumping: float) -> Callable[[complex], float]:
    """Position → probability that a cell may settle there: 1 in the middle of a colony."""
    extent = canvas.shape[0] * canvas.um_per_pixel
    middles = draw.uniform(0.1, 0.9, (draw.integers(1, 4), 2)) @ (1, 1j) * extent
    radius = extent * draw.uniform(0.25, 0.4)
    return lambda z: 1 - clumping * (1 - np.exp(-(np.min(np.abs(middles - z) / radius) ** 2)))


def _fits(cell: Outline, others: list[Outline]) -> bool:
    """Whether the nucleus clears every other one, and a rounded cell every other nucleus."""
    for other in others:
        towards = np.angle(other.centre - cell.centre)
        mine = at_angle(cell.reach if cell.mitotic else cell.nucleus, towards)
        theirs = at_angle(other.reach if other.mitotic else other.nucleus, towards + np.pi)
        if abs(other.centre - cell.centre) < mine + theirs + GAP:
            return False
    return True


def _window(cell: Outline, canvas: Canvas) -> tuple[tuple[slice, ...], np.ndarray]:
    """The part of the canvas that the cell may reach, and each pixel's position relative to the nucleus."""
    radius, scale = cell.reach.max(), canvas.um_per_pixel
    spans = [
        (max(0, int((middle - radius) / scale)), min(canvas.shape[0], int((middle + radius) / scale) + 2))
        for middle in (cell.centre.imag, cell.centre.real)
    ]
    rows, columns = (np.arange(*span) + 0.5 for span in spans)
    return tuple(slice(*span) for span in spans), (columns[None] + 1j * rows[:, None]) * scale - cell.centre


def _in_one_piece(owner: np.ndarray, outlines: list[Outline], canvas: Canvas) -> np.ndarray:
    """`owner` without the parts of a cell that are not joined to the middle of its nucleus."""
    for index, window in enumerate(ndimage.find_objects(owner, len(outlines)), 1):
        if window is None:
            continue
        mine = owner[window] == index
        pieces, count = ndimage.label(mine)
        if count > 1:
            centre = outlines[index - 1].centre / canvas.um_per_pixel
            row, column = int(centre.imag) - window[0].start, int(centre.real) - window[1].start
            owner[window][mine & (pieces != pieces[row, column])] = 0
    return owner


def _distance_to_edges(owner: np.ndarray, um_per_pixel: float) -> Float[np.ndarray, "h w"]:
    """µm from every pixel to the nearest one of another owner."""
    interior = owner > 0
    for axis in (0, 1):
        ahead = np.diff(owner, axis=axis) != 0
        low, high = (slice(None, -1), slice(1, None))
        index = (low, slice(None)) if axis == 0 else (slice(None), low)
        interior[index] &= ~ahead
        index = (high, slice(None)) if axis == 0 else (slice(None), high)
        interior[index] &= ~ahead
    return (ndimage.distance_transform_edt(interior) + 0.5 * (owner > 0)) * um_per_pixel


def _nucleoli(draw: np.random.Generator, cell: Outline, morphology: Morphology) -> tuple[tuple[complex, float], ...]:
    """The line's fewest round bodies or more, well within the nucleus, apart from each other."""
    size = np.sqrt(cell.nucleus.mean() / 8) * morphology.nucleolus
    chosen: list[tuple[complex, float]] = []
    for _ in range(morphology.fewest_nucleoli + draw.poisson(max(morphology.nucleoli - 2, 0))):
        radius = size * draw.uniform(0.9, 1.9)
        angle = draw.uniform(0, 2 * np.pi)
        room = max(at_angle(cell.nucleus, angle) - radius - 0.8, 0)
        z = cell.centre + np.exp(1j * angle) * room * np.sqrt(draw.uniform())
        if all(abs(z - other) > radius + r for other, r in chosen):
            chosen.append((z, radius))
    return tuple(chosen)
