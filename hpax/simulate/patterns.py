"""The 19 localisation patterns: one function of (cell, style) each, returning the protein where 1 is bright."""

from collections.abc import Callable

import numpy as np

from hpax.simulate import stains
from hpax.simulate.cell import Cell, Plane, alive, at_angle, spots, threads, walk
from hpax.simulate.proteome import Style

MITOTIC = {0: 16, 1: 6, 2: 16, 3: 16, 4: 16, 5: 16, 7: 17, 10: 11}
"""What a location becomes while a cell divides: without an envelope the nucleus' proteins spread in the cell, the
nuclear membrane joins the ER, the Golgi falls into vesicles and the microtubules form the spindle."""


def nucleoplasm(cell: Cell, style: Style) -> Plane:
    """The whole nucleus, more or less without the nucleoli."""
    grain = 0.8 + (0.06 + 0.16 * style.contrast) * cell.noise("nucleoplasm", 0.35 * style.size)
    return _nuclear(cell) * grain * (1 - (0.35 + 0.6 * style.spread) * cell.nucleolar)


def nuclear_membrane(cell: Cell, style: Style) -> Plane:
    """A thin line around the nucleus, faint within."""
    line = np.exp(-0.5 * (cell.envelope / (0.32 * style.size)) ** 2)
    uneven = np.clip(1 + 0.15 * cell.noise("lamina", 0.8), 0.4, 1.5)
    return (line * uneven + (0.05 + 0.15 * style.spread) * _nuclear(cell)) * cell.inside


def nucleoli(cell: Cell, style: Style) -> Plane:
    """The nucleoli filled, the rest of the nucleus faint."""
    grain = np.clip(0.9 + 0.2 * style.contrast * cell.noise("granular", 0.35), 0.3, 1.5)
    return cell.nucleolar * grain + 0.16 * style.spread * _nuclear(cell)


def fibrillar_centers(cell: Cell, style: Style) -> Plane:
    """A few fine dots within each nucleolus."""
    draw = cell.draw("fibrillar_centers")
    image = 0.12 * cell.nucleolar + 0.1 * style.spread * _nuclear(cell)
    for centre, radius in cell.nucleoli:
        count = 2 + draw.poisson(2.5 * style.number * radius)
        dots = centre + 0.75 * radius * np.sqrt(draw.uniform(size=count)) * np.exp(
            2j * np.pi * draw.uniform(size=count)
        )
        image = image + spots(cell, dots, 0.22 * style.size, draw.uniform(0.5, 1, count))
    return np.minimum(image, 1.2) * cell.inside


def nuclear_speckles(cell: Cell, style: Style) -> Plane:
    """Twenty or more uneven patches between the nucleoli, on a haze."""
    level = 1.0 - 0.25 * np.log(style.number)
    patches = np.clip(3 * (cell.noise("speckles", 0.55 * style.size) - level), 0, 1)
    apart = np.clip(-cell.envelope - 0.6, 0, 1) * (1 - cell.nucleolar)
    return patches * apart + (0.1 + 0.2 * style.spread) * _nuclear(cell) * (1 - 0.8 * cell.nucleolar)


def nuclear_bodies(cell: Cell, style: Style) -> Plane:
    """A handful of round, separate bodies in the nucleus."""
    draw = cell.draw("nuclear_bodies")
    count = 2 + draw.poisson(4 * style.number)
    room = np.where(cell.envelope < -1.0, 1 - cell.nucleolar, 0)
    points = cell.sample(draw, room, count)
    bodies = spots(cell, points, 0.42 * style.size, draw.uniform(0.7, 1.2, len(points)))
    return np.minimum(1.3 * bodies, 1.2) * cell.inside + (0.04 + 0.15 * style.spread) * _nuclear(cell)


def endoplasmic_reticulum(cell: Cell, style: Style) -> Plane:
    """The net of the ER and the envelope that it continues."""
    fade = np.exp(-np.maximum(cell.envelope, 0) / (5 + 8 * style.spread)) * np.minimum(cell.membrane / 0.7, 1)
    net = np.where(cell.envelope > 0, fade * stains.reticulum(cell, "er"), 0.06)
    return (0.95 * net + 0.35 * np.exp(-0.5 * (cell.envelope / 0.35) ** 2)) * cell.inside


def golgi(cell: Cell, style: Style) -> Plane:
    """Short ribbons gathered beside the nucleus, near the centrosome."""
    draw = cell.draw("golgi")
    reach = 1.5 + 1.6 * style.spread
    near = np.exp(-0.5 * (np.abs(cell.z - cell.centrosome) / reach) ** 2) * (cell.cytoplasm & (cell.membrane > 0.6))
    start = cell.sample(draw, near, int(16 + 10 * style.number))
    tangent = np.angle(start - cell.centre) + np.pi / 2 + draw.normal(0, 0.5, len(start))
    paths = walk(cell, draw, start, tangent, steps=6, step=0.5, wander=0.7)
    ribbons = threads(cell, paths, 0.32 * style.size, alive(cell, paths, draw.integers(2, 7, len(start))))
    return 1.15 * (1 - np.exp(-1.2 * ribbons)) * cell.inside + 0.05 * _cytosolic(cell)


def intermediate_filaments(cell: Cell, style: Style) -> Plane:
    """Curly bundles that wrap the nucleus and thin out towards the edge."""
    draw = cell.draw("intermediate_filaments")
    count = int(60 * style.number) + 20
    around = draw.uniform(0, 2 * np.pi, count)
    start = cell.centre + np.exp(1j * around) * (at_angle(cell.nucleus_contour, around) + draw.exponential(1.6, count))
    heading = around + np.pi / 2 * draw.choice((-1, 1), count) + draw.normal(0, 0.4, count)
    paths = walk(cell, draw, start, heading, steps=26, step=0.8, wander=0.22 + 0.25 * style.contrast)
    bundles = threads(cell, paths, 0.18 * style.size, alive(cell, paths, 6 + draw.exponential(10, count)))
    return (1 - np.exp(-0.55 * bundles)) * np.where(cell.envelope > 0, 1, 0.12) * cell.inside


def actin_filaments(cell: Cell, style: Style) -> Plane:
    """Straight parallel stress fibres over the whole cell, and a bright edge."""
    draw = cell.draw("actin_filaments")
    count = int(28 * style.number) + 10
    middle = cell.sample(draw, cell.inside * (cell.membrane > 0.8), count)
    direction = np.exp(1j * (cell.axis + draw.normal(0, 0.06 + 0.12 * style.contrast, len(middle))))
    along = np.linspace(-1, 1, 25)[:, None]
    paths = middle + along * direction * draw.uniform(4, 15, len(middle))
    within = cell.inside[cell.indices(paths[1:])] * draw.uniform(0.25, 1.1, len(middle))
    fibres = threads(cell, paths, 0.17 * style.size, within)
    edge = np.exp(-cell.membrane / 0.7) * (0.4 + 0.4 * style.spread)
    return np.where(cell.inside, (1 - np.exp(-0.9 * fibres)) * (0.1 if cell.mitotic else 1) + edge, 0)


def microtubules(cell: Cell, style: Style) -> Plane:
    """The filaments of the microtubule stain, more or less of them, on a faint cytosol."""
    stain = stains.microtubules(cell)
    return stain ** (0.8 + 0.5 * style.contrast) * np.clip(
        1 + 0.15 * cell.noise("coat", 0.4), 0.2, 2
    ) + 0.08 * _cytosolic(cell)


def mitotic_spindle(cell: Cell, style: Style) -> Plane:
    """The spindle of a dividing cell; nothing in the others."""
    if not cell.mitotic:
        return 0.05 * _cytosolic(cell)
    return stains.spindle(cell) + (0.06 + 0.1 * style.spread) * _cytosolic(cell)


def centrosome(cell: Cell, style: Style) -> Plane:
    """Two dots side by side next to the nucleus, or one at each pole of a spindle."""
    draw = cell.draw("centrosome")
    pair = 0.35 * style.size * np.exp(1j * draw.uniform(0, 2 * np.pi))
    dots = np.array(cell.poles if cell.mitotic else (cell.centrosome + pair, cell.centrosome - pair))
    satellites = cell.centrosome + draw.normal(0, 1.4, (int(8 * style.spread), 2)) @ (1, 1j)
    image = 1.6 * spots(cell, dots, 0.36 * style.size)
    if len(satellites) and not cell.mitotic:
        image = image + 0.35 * spots(cell, satellites, 0.25)
    return np.minimum(image, 1.4) * cell.inside + 0.05 * _cytosolic(cell)


def plasma_membrane(cell: Cell, style: Style) -> Plane:
    """A line along the cell's edge, faint within."""
    line = np.exp(-0.5 * (cell.membrane / (0.38 * style.size)) ** 2)
    ruffles = np.clip(1 + (0.2 + 0.3 * style.contrast) * cell.noise("ruffles", 1.2), 0.3, 2)
    return np.where(cell.inside, line * ruffles + 0.08 * (0.5 + style.spread), 0)


def mitochondria(cell: Cell, style: Style) -> Plane:
    """Short worms throughout the cytoplasm, crowded around the nucleus."""
    draw = cell.draw("mitochondria")
    crowd = np.exp(-np.maximum(cell.envelope, 0) / (4 + 5 * style.spread)) * (cell.cytoplasm & (cell.membrane > 0.8))
    count = int(20 + 0.11 * style.number * cell.cytoplasm.sum() * cell.um_per_pixel**2)
    start = cell.sample(draw, crowd, min(count, 400))
    heading = np.angle(start - cell.centrosome) + draw.normal(0, 0.9, len(start))
    paths = walk(cell, draw, start, heading, steps=9, step=0.5, wander=0.55)
    lengths = draw.uniform(2, 4 + 6 * style.contrast, len(start))
    worms = threads(cell, paths, 0.24 * style.size, alive(cell, paths, lengths))
    return (1 - np.exp(-0.8 * worms)) * np.where(cell.envelope > 0, 1, 0.15) * cell.inside


def aggresome(cell: Cell, style: Style) -> Plane:
    """One large uneven clump beside the nucleus, on a faint cytosol."""
    away = (cell.centrosome - cell.centre) / max(abs(cell.centrosome - cell.centre), 1e-9)
    radius = (1.7 + 0.8 * style.spread) * style.size
    depth = 1 - np.abs(cell.z - cell.centrosome - 0.7 * away) / radius + 0.22 * cell.noise("clump", 0.7)
    return np.clip(2.5 * depth, 0, 1.1) * cell.cytoplasm + 0.1 * (0.5 + style.contrast) * _cytosolic(cell)


def cytosol(cell: Cell, style: Style) -> Plane:
    """An even fill of the cytoplasm that thins with the cell, the nucleus darker."""
    grain = np.clip(1 + (0.08 + 0.14 * style.contrast) * cell.noise("cytosol", 0.4 * style.size), 0.2, 2)
    leak = 0.06 + 0.22 * style.spread
    return 0.85 * grain * np.where(cell.envelope > 0, _cytosolic(cell), leak * cell.inside)


def vesicles(cell: Cell, style: Style) -> Plane:
    """Many separate dots throughout the cytoplasm."""
    draw = cell.draw("vesicles")
    crowd = np.exp(-np.maximum(cell.envelope, 0) / (5 + 12 * style.spread)) * (cell.cytoplasm & (cell.membrane > 0.7))
    points = cell.sample(draw, crowd, int(25 + 35 * style.number))
    large = draw.uniform(size=len(points)) < 0.25 + 0.4 * style.contrast
    bright = draw.uniform(0.4, 1.2, len(points))
    fine = spots(cell, points[~large], 0.22 * style.size, bright[~large])
    coarse = spots(cell, points[large], 0.36 * style.size, bright[large])
    return np.minimum(fine + coarse, 1.3) * cell.inside + 0.06 * _cytosolic(cell)


def negative(cell: Cell, style: Style) -> Plane:
    """Nothing but a trace of unspecific staining."""
    return 0.02 * _cytosolic(cell)


def _nuclear(cell: Cell) -> Plane:
    """1 in the nucleus, with soft edges."""
    return np.clip(-cell.envelope / 0.4, 0, 1) * cell.inside


def _cytosolic(cell: Cell) -> Plane:
    """The thickness of the cell outside the nucleus."""
    return cell.thickness * np.clip(cell.envelope / 0.4, 0, 1) * cell.inside


PATTERNS: tuple[Callable[..., Plane], ...] = (
    nucleoplasm,
    nuclear_membrane,
    nucleoli,
    fibrillar_centers,
    nuclear_speckles,
    nuclear_bodies,
    endoplasmic_reticulum,
    golgi,
    intermediate_filaments,
    actin_filaments,
    microtubules,
    mitotic_spindle,
    centrosome,
    plasma_membrane,
    mitochondria,
    aggresome,
    cytosol,
    vesicles,
    negative,
)
"""In the order of atlas.LOCATIONS."""


DILUTED = 0.5
"""Brightness of a nuclear protein once it has spread in a dividing cell, relative to the nucleus."""


def show(cell: Cell, location: int, style: Style) -> Plane:
    """The protein of `location` in this cell, dividing or not."""
    drawn = MITOTIC.get(location, location) if cell.mitotic else location
    brightness = style.brightness * (DILUTED if drawn == 16 != location else 1)
    return brightness * PATTERNS[drawn](cell, style)
