"""Several ways in which each location shows in real fields; an antibody takes one of them. 1 is bright.

Made by eye and by what annotators of the Human Protein Atlas call by one name. Each is a function of (cell, style), as
those of `patterns` are, and lies where its name says.
"""

from collections.abc import Callable

import numpy as np

from hpax.simulate import patterns, stains
from hpax.simulate.cell import Cell, Paths, Plane, Points, alive, at_angle, spots, threads, walk
from hpax.simulate.proteome import Style

Pattern = Callable[[Cell, Style], Plane]


def nuclear(cell: Cell) -> Plane:
    """1 in the nucleus, with soft edges."""
    return np.clip(-cell.envelope / 0.4, 0, 1) * cell.inside


def cytosolic(cell: Cell) -> Plane:
    """The thickness of the cell outside the nucleus."""
    return cell.thickness * np.clip(cell.envelope / 0.4, 0, 1) * cell.inside


def tangent(draw: np.random.Generator, cell: Cell, start: Points, spread: float) -> np.ndarray:
    """Headings around the nucleus, either way."""
    sides = draw.choice((-1, 1), len(start))
    return np.angle(start - cell.centre) + np.pi / 2 * sides + draw.normal(0, spread, len(start))


def lopsided(cell: Cell, share: float) -> Plane:
    """1 on the centrosome's side of the nucleus, down to 1 - `share` on the other."""
    side = np.angle(cell.centrosome - cell.centre)
    return 1 - share * (0.5 - 0.5 * np.cos(np.angle(cell.z - cell.centre) - side))


def punctate_nucleoplasm(cell: Cell, style: Style) -> Plane:
    """The nucleus filled by fine dots that hardly stand out of it."""
    draw = cell.draw("punctate_nucleoplasm")
    area = cell.nucleus.sum() * cell.um_per_pixel**2
    room = np.where(cell.envelope < -0.4, 1 - 0.8 * cell.nucleolar, 0)
    points = cell.sample(draw, room, int(area * min(style.number, 3)))
    dots = spots(cell, points, 0.2 * style.size, draw.uniform(0.1, 0.6, len(points)))
    return np.minimum(dots, 1.2) * cell.inside + 0.45 * nuclear(cell) * (1 - 0.7 * style.spread * cell.nucleolar)


def even_nucleoplasm(cell: Cell, style: Style) -> Plane:
    """The nucleus filled evenly, the nucleoli with it or not at all, faintly in the cytosol too."""
    grain = 0.85 + 0.1 * style.contrast * cell.noise("nucleoplasm", 0.9)
    return nuclear(cell) * grain * (1 - style.spread * cell.nucleolar) + 0.12 * style.contrast * cytosolic(cell)


def folded_envelope(cell: Cell, style: Style) -> Plane:
    """A line around the nucleus and along folds across it, on more or less of a haze."""
    draw = cell.draw("folded_envelope")
    image = patterns.nuclear_membrane(cell, style)
    count = draw.poisson(1.2)
    around = draw.uniform(0, 2 * np.pi, count)
    start = cell.centre + np.exp(1j * around) * 0.97 * at_angle(cell.nucleus_contour, around)
    heading = around + np.pi + draw.normal(0, 0.5, count)
    paths = _wander(draw, start, heading, steps=9, step=0.6, bend=0.3)
    within = alive(cell, paths, draw.integers(3, 9, count)) * cell.nucleus[cell.indices(paths[1:])]
    folds = threads(cell, paths, 0.25 * style.size, within * 0.7)
    return image + folds * cell.inside + 0.4 * style.contrast * nuclear(cell)


def nucleolar_rims(cell: Cell, style: Style) -> Plane:
    """Bright rims around nucleoli that are darker within, in a faint nucleus."""
    inner = cell.nucleolar
    rim = 4 * inner * (1 - inner)
    return rim + (0.15 + 0.4 * style.contrast) * inner + (0.05 + 0.3 * style.spread) * nuclear(cell)


def bright_nucleoli(cell: Cell, style: Style) -> Plane:
    """The nucleoli, and the nucleoplasm at up to half of their brightness."""
    grain = np.clip(0.95 + 0.25 * style.contrast * cell.noise("granular", 0.35), 0.3, 1.5)
    return cell.nucleolar * grain + (0.15 + 0.4 * style.spread) * nuclear(cell) * (1 - cell.nucleolar)


def few_fibrillar_centers(cell: Cell, style: Style) -> Plane:
    """One to three small bright dots in the nucleus, within nucleoli, and little else."""
    draw = cell.draw("few_fibrillar_centers")
    chosen = [centre for centre, _ in cell.nucleoli][: int(draw.integers(1, 4))]
    dots = np.array(chosen, complex) + draw.normal(0, 0.25, (len(chosen), 2)) @ (1, 1j)
    image = 1.4 * spots(cell, dots, 0.3 * style.size, draw.uniform(0.6, 1.2, len(chosen)))
    return np.minimum(image, 1.4) * cell.inside + 0.15 * style.spread * nuclear(cell)


def clustered_fibrillar_centers(cell: Cell, style: Style) -> Plane:
    """Many dots that run together within each nucleolus, in a visible nucleus."""
    draw = cell.draw("clustered_fibrillar_centers")
    image = 0.3 * style.contrast * cell.nucleolar + (0.05 + 0.35 * style.spread) * nuclear(cell)
    for centre, radius in cell.nucleoli:
        count = 3 + draw.poisson(4 * style.number)
        away = 0.7 * radius * draw.normal(0, 0.5, (count, 2)) @ (1, 1j)
        image = image + spots(cell, centre + away, 0.24 * style.size, draw.uniform(0.4, 1.1, count))
    return np.minimum(image, 1.4) * cell.inside


def round_speckles(cell: Cell, style: Style) -> Plane:
    """Ten to forty round, bright speckles of unequal size, on a haze."""
    draw = cell.draw("round_speckles")
    room = np.where(cell.envelope < -0.8, 1 - cell.nucleolar, 0)
    points = cell.sample(draw, room, int(10 + 22 * min(style.number, 2)))
    small = draw.uniform(size=len(points)) < 0.5
    bright = draw.uniform(0.5, 1.3, len(points))
    image = spots(cell, points[small], 0.3 * style.size, bright[small])
    image = image + spots(cell, points[~small], 0.5 * style.size, bright[~small])
    return np.minimum(image, 1.3) * cell.inside + (0.05 + 0.3 * style.spread) * nuclear(cell)


def few_bodies(cell: Cell, style: Style) -> Plane:
    """One to six bodies of one size, small or large, in a nucleus that is faint or as visible as they are."""
    draw = cell.draw("few_bodies")
    room = np.where(cell.envelope < -0.8, 1 - cell.nucleolar, 0)
    points = cell.sample(draw, room, 1 + int(draw.integers(0, 6)))
    image = 1.2 * spots(cell, points, (0.25 + 0.3 * style.contrast) * style.size)
    return np.minimum(image, 1.3) * cell.inside + 0.45 * style.spread * nuclear(cell)


def granular_reticulum(cell: Cell, style: Style) -> Plane:
    """The ER unresolved: grains that thin out from the nucleus, over it as well, and hardly an envelope."""
    fade = np.exp(-np.maximum(cell.envelope, 0) / (4 + 14 * style.spread)) * np.minimum(cell.membrane / 0.7, 1)
    grains = np.clip(1 + (0.2 + 0.3 * style.contrast) * cell.noise("er grains", 0.4 * style.size), 0.2, 2)
    above = np.where(cell.envelope > 0, 1, 0.1 + 0.3 * style.contrast)
    envelope = 0.35 * (1 - style.contrast) * np.exp(-0.5 * (cell.envelope / 0.35) ** 2)
    return (0.85 * fade * grains * above + envelope) * cell.inside


def golgi_ribbon(cell: Cell, style: Style) -> Plane:
    """A twisted ribbon along a part of the nuclear envelope, which may lie over it."""
    draw = cell.draw("golgi_ribbon")
    count = int(10 + 12 * min(style.number, 2))
    spread = 0.3 + 1.0 * style.spread
    around = np.angle(cell.centrosome - cell.centre) + draw.normal(0, spread, count)
    away = at_angle(cell.nucleus_contour, around) + 0.4 + draw.exponential(0.9, count)
    start = cell.centre + np.exp(1j * around) * away
    paths = walk(cell, draw, start, tangent(draw, cell, start, 0.6), steps=9, step=0.5, wander=0.9, steer=0.4)
    ribbon = threads(cell, paths, 0.26 * style.size, alive(cell, paths, draw.integers(3, 10, count)))
    return 1.3 * (1 - np.exp(-1.1 * ribbon)) * cell.inside


def golgi_stacks(cell: Cell, style: Style) -> Plane:
    """Separate short stacks and dots near the nucleus, most of them on one side."""
    draw = cell.draw("golgi_stacks")
    near = np.exp(-np.maximum(cell.envelope, 0) / (1.2 + 2 * style.spread)) * lopsided(cell, 0.95) ** 3
    start = cell.sample(draw, near * (cell.cytoplasm & (cell.membrane > 0.6)), int(8 + 16 * min(style.number, 2)))
    paths = walk(cell, draw, start, draw.uniform(0, 2 * np.pi, len(start)), steps=4, step=0.4, wander=0.5)
    lengths = draw.integers(1, 5, len(start))
    stacks = threads(cell, paths, 0.28 * style.size, alive(cell, paths, lengths) * draw.uniform(0.5, 1.2, len(start)))
    return 1.2 * (1 - np.exp(-1.3 * stacks)) * cell.inside


def filament_cage(cell: Cell, style: Style) -> Plane:
    """A dense, fine basket around the nucleus, thickest on one side, with filaments that run out of it."""
    draw = cell.draw("filament_cage")
    count = int(70 + 50 * min(style.number, 2))
    around = draw.uniform(0, 2 * np.pi, count)
    away = at_angle(cell.nucleus_contour, around) + draw.exponential(1.2 + 2 * style.spread, count)
    start = cell.centre + np.exp(1j * around) * away
    paths = walk(cell, draw, start, tangent(draw, cell, start, 0.7), steps=24, step=0.7, wander=0.3)
    basket = threads(cell, paths, 0.13 * style.size, alive(cell, paths, 8 + draw.exponential(9, count)))
    haze = 0.3 * style.contrast * np.exp(-np.maximum(cell.envelope, 0) / 2.5) * lopsided(cell, 0.8)
    return _in_cytoplasm(cell, (1 - np.exp(-0.5 * basket)) * lopsided(cell, 0.5) + haze, 0.3)


def filament_network(cell: Cell, style: Style) -> Plane:
    """Fine curly filaments throughout the cytoplasm, over the nucleus too, in no order."""
    draw = cell.draw("filament_network")
    area = cell.inside.sum() * cell.um_per_pixel**2
    start = cell.sample(draw, cell.inside * (cell.membrane > 0.8), int(min(0.11 * area * min(style.number, 2), 220)))
    heading = draw.uniform(0, 2 * np.pi, len(start))
    paths = walk(cell, draw, start, heading, steps=22, step=0.7, wander=0.35 + 0.3 * style.contrast)
    net = threads(cell, paths, 0.13 * style.size, alive(cell, paths, 6 + draw.exponential(9, len(start))))
    return (1 - np.exp(-0.55 * net)) * np.where(cell.envelope > 0, 1, 0.35) * cell.inside


def filament_bundles(cell: Cell, style: Style) -> Plane:
    """A few thick bundles that follow the cell's long axis and bend around the nucleus."""
    draw = cell.draw("filament_bundles")
    start = cell.sample(draw, cell.cytoplasm * np.exp(-np.maximum(cell.envelope, 0) / 4), int(14 + 14 * style.number))
    heading = cell.axis + np.pi * draw.integers(0, 2, len(start)) + draw.normal(0, 0.35, len(start))
    paths = walk(cell, draw, start, heading, steps=26, step=0.8, wander=0.16)
    lengths = 8 + draw.exponential(10, len(start))
    bundles = threads(cell, paths, 0.2 * style.size, alive(cell, paths, lengths) * draw.uniform(0.3, 1.3, len(start)))
    return (1 - np.exp(-0.8 * bundles)) * np.where(cell.envelope > 0, 1, 0.25) * cell.inside


def filament_fragments(cell: Cell, style: Style) -> Plane:
    """Short bright fibres near the nucleus and towards the edge, between them nothing."""
    draw = cell.draw("filament_fragments")
    start = cell.sample(draw, cell.cytoplasm & (cell.membrane > 0.5), int(12 + 26 * style.number))
    paths = walk(cell, draw, start, tangent(draw, cell, start, 0.4), steps=9, step=0.6, wander=0.25)
    lengths = draw.integers(2, 10, len(start))
    pieces = threads(cell, paths, 0.18 * style.size, alive(cell, paths, lengths) * draw.uniform(0.4, 1.3, len(start)))
    return (1 - np.exp(-0.9 * pieces)) * cell.inside


def focal_adhesions(cell: Cell, style: Style) -> Plane:
    """Short plaques behind the cell's edge that point inwards or along the axis, and faint fibres."""
    draw = cell.draw("focal_adhesions")
    border = np.exp(-(((cell.membrane - 1.5) / (0.8 + 1.5 * style.spread)) ** 2)) * cell.inside
    start = cell.sample(draw, border, int(14 + 30 * style.number))
    along = cell.axis + np.pi * draw.integers(0, 2, len(start))
    heading = np.where(draw.uniform(size=len(start)) < 0.5, np.angle(cell.centre - start), along)
    heading = heading + draw.normal(0, 0.35, len(start))
    paths = start + np.linspace(0, 1, 6)[:, None] * np.exp(1j * heading) * draw.uniform(0.8, 3.0, len(start))
    within = cell.inside[cell.indices(paths[1:])] * draw.uniform(0.4, 1.3, len(start))
    plaques = threads(cell, paths, 0.22 * style.size, within)
    faint = 0.35 * style.contrast * patterns.actin_filaments(cell, style)
    return (1.2 * (1 - np.exp(-plaques)) + faint) * cell.inside


def cortical_actin(cell: Cell, style: Style) -> Plane:
    """A thick, uneven band at the cell's edge with ruffles, and a fine mesh within."""
    band = np.exp(-cell.membrane / (0.5 + 0.9 * style.spread)) * np.clip(1 + 0.6 * cell.noise("ruffles", 1.5), 0.1, 2)
    mesh = np.clip(cell.noise("mesh", 0.4), 0, 2) * (0.1 + 0.25 * style.contrast) * cell.thickness
    ridges = np.clip(cell.noise("ridges", 0.7) - 1.2, 0, 1) * 0.5 * style.contrast
    return np.where(cell.inside, band + mesh + ridges, 0)


def actin_cables(cell: Cell, style: Style) -> Plane:
    """Few long bright cables along the edges and the axis of the cell, on a faint web of thin ones."""
    draw = cell.draw("actin_cables")
    weight = cell.inside * (0.15 + np.exp(-cell.membrane / 2.5)) * (cell.membrane > 0.4)
    start = cell.sample(draw, weight, int(5 + 8 * style.number))
    heading = cell.axis + np.pi * draw.integers(0, 2, len(start)) + draw.normal(0, 0.25, len(start))
    paths = walk(cell, draw, start, heading, steps=26, step=0.8, wander=0.03, steer=0.9)
    bright = draw.uniform(0.5, 1.4, len(start))
    cables = threads(cell, paths, 0.2 * style.size, alive(cell, paths, 8 + draw.exponential(14, len(start))) * bright)
    web = (0.2 + 0.4 * style.spread) * patterns.actin_filaments(cell, style)
    return (1.1 * (1 - np.exp(-1.2 * cables)) + web) * cell.inside


def microtubule_ends(cell: Cell, style: Style) -> Plane:
    """Short dashes throughout the cell that point outwards, as of proteins that sit on growing ends."""
    draw = cell.draw("microtubule_ends")
    area = cell.inside.sum() * cell.um_per_pixel**2
    start = cell.sample(draw, cell.cytoplasm & (cell.membrane > 0.5), int(min(0.13 * area * style.number, 300)))
    heading = np.angle(start - cell.centrosome) + draw.normal(0, 0.4, len(start))
    paths = walk(cell, draw, start, heading, steps=5, step=0.4, wander=0.3)
    dashes = threads(cell, paths, 0.16 * style.size, alive(cell, paths, draw.integers(1, 5, len(start))))
    return (1 - np.exp(-dashes)) * cell.inside + 0.1 * style.spread * cytosolic(cell)


def stained_microtubules(cell: Cell, style: Style) -> Plane:
    """As the stain of microtubules has them, dense and fine, on more or less of a cytosol."""
    network = microtubule_network(cell, 0.13 * style.size) + (0.05 + 0.3 * style.contrast) * cytosolic(cell)
    return _in_cytoplasm(cell, network, 0.2)


def hazy_spindle(cell: Cell, style: Style) -> Plane:
    """The spindle of a dividing cell with its poles, in a visible cytoplasm; a haze in the others."""
    haze = (0.04 + 0.2 * style.contrast) * (cytosolic(cell) + 0.5 * nuclear(cell))
    if not cell.mitotic:
        return haze * 0.7
    poles = spots(cell, np.array(cell.poles), 0.5 * style.size) * style.spread
    return np.minimum(stains.spindle(cell) + poles, 1.4) * cell.inside + haze


def single_centrosome(cell: Cell, style: Style) -> Plane:
    """One dot, small or large, beside or over the nucleus, and satellites around it or none."""
    draw = cell.draw("single_centrosome")
    inwards = (cell.centre - cell.centrosome) * draw.uniform(0, 0.35)
    dots = np.array(cell.poles if cell.mitotic else (cell.centrosome + inwards,))
    image = 1.6 * spots(cell, dots, (0.22 + 0.2 * style.contrast) * style.size)
    count = int(14 * style.number * max(style.spread - 0.3, 0)) * (not cell.mitotic)
    satellites = dots[0] + draw.normal(0, 1.0, (count, 2)) @ (1, 1j)
    image = image + spots(cell, satellites, 0.22, draw.uniform(0.2, 0.7, count))
    return np.minimum(image, 1.5) * cell.inside


def ruffled_membrane(cell: Cell, style: Style) -> Plane:
    """Bright stretches of the edge and faint ones, ruffles behind it, and grains where it is seen from above."""
    stretches = np.clip(0.6 + 0.8 * cell.noise("stretches", 2.5), 0.05, 2)
    line = np.exp(-0.5 * (cell.membrane / (0.35 * style.size)) ** 2) * stretches
    ruffles = np.clip(cell.noise("ruffles", 0.6) - 1.3, 0, 1) * np.exp(-cell.membrane / 4) * style.spread
    above = (0.08 + 0.3 * style.contrast) * np.clip(1 + 0.35 * cell.noise("grains", 0.35), 0.1, 2)
    return np.where(cell.inside, line + ruffles + above * np.minimum(cell.membrane / 0.5, 1) * 0.8, 0)


def junctions(cell: Cell, style: Style) -> Plane:
    """The edge in parts alone, thick there, and a faint cell."""
    parts = np.clip(3 * (cell.noise("contacts", 4.0) + 0.4), 0, 1.3)
    line = np.exp(-0.5 * (cell.membrane / (0.45 * style.size)) ** 2) * parts
    return np.where(cell.inside, line + (0.03 + 0.12 * style.spread) * cell.thickness, 0)


def microvilli(cell: Cell, style: Style) -> Plane:
    """Dots and short ridges all over the cell, nucleus included, and a line at its edge."""
    draw = cell.draw("microvilli")
    area = cell.inside.sum() * cell.um_per_pixel**2
    points = cell.sample(draw, cell.inside, int(min(0.35 * area * style.number, 900)))
    dots = spots(cell, points, 0.2 * style.size, draw.uniform(0.15, 0.7, len(points)))
    line = np.exp(-0.5 * (cell.membrane / (0.4 * style.size)) ** 2) * np.clip(1 + 0.4 * cell.noise("edge", 1.5), 0.2, 2)
    return np.where(cell.inside, np.minimum(0.5 * dots, 0.8) + line + 0.1 * style.spread, 0)


def mitochondrial_network(cell: Cell, style: Style) -> Plane:
    """Long thin tubes that branch and run together around the nucleus and thin out towards the edge."""
    draw = cell.draw("mitochondrial_network")
    start = _mitochondria(draw, cell, style, count=0.04)
    paths = walk(cell, draw, start, tangent(draw, cell, start, 0.9), steps=18, step=0.5, wander=0.45)
    lengths = 6 + draw.exponential(6, len(start))
    tubes = threads(cell, paths, 0.19 * style.size, alive(cell, paths, lengths))
    forks = paths[draw.integers(2, 14, len(start)), np.arange(len(start))]
    branches = walk(cell, draw, forks, draw.uniform(0, 2 * np.pi, len(start)), steps=8, step=0.5, wander=0.5)
    tubes += threads(cell, branches, 0.19 * style.size, alive(cell, branches, draw.integers(2, 8, len(start))))
    return _in_cytoplasm(cell, 1 - np.exp(-0.9 * tubes), 0.12)


def radial_mitochondria(cell: Cell, style: Style) -> Plane:
    """Long threads that run out from the nucleus along the microtubules."""
    draw = cell.draw("radial_mitochondria")
    start = _mitochondria(draw, cell, style, count=0.045)
    heading = np.angle(start - cell.centre) + draw.normal(0, 0.8, len(start))
    paths = walk(cell, draw, start, heading, steps=14, step=0.5, wander=0.45)
    threads_ = threads(cell, paths, 0.19 * style.size, alive(cell, paths, 4 + draw.exponential(5, len(start))))
    return _in_cytoplasm(cell, 1 - np.exp(-0.9 * threads_), 0.12)


def fragmented_mitochondria(cell: Cell, style: Style) -> Plane:
    """Short rods and grains, packed around the nucleus or on one side of it."""
    draw = cell.draw("fragmented_mitochondria")
    start = _mitochondria(draw, cell, style, count=0.16)
    paths = walk(cell, draw, start, draw.uniform(0, 2 * np.pi, len(start)), steps=3, step=0.4, wander=0.6)
    rods = threads(cell, paths, 0.21 * style.size, alive(cell, paths, draw.integers(1, 4, len(start))))
    return _in_cytoplasm(cell, 1 - np.exp(-rods), 0.12)


def clumped_aggresome(cell: Cell, style: Style) -> Plane:
    """One bright clump beside the nucleus with some grains around it."""
    draw = cell.draw("clumped_aggresome")
    count = int(10 * style.number)
    grains = spots(cell, cell.centrosome + draw.normal(0, 2.0, (count, 2)) @ (1, 1j), 0.3 * style.size)
    return np.minimum(patterns.aggresome(cell, style) + 0.6 * grains, 1.4) * cell.inside


def leaking_cytosol(cell: Cell, style: Style) -> Plane:
    """The cytoplasm, and the nucleus nearly as bright but for its nucleoli."""
    grain = np.clip(1 + 0.1 * cell.noise("cytosol", 0.5 * style.size), 0.2, 2)
    within = (0.15 + 0.5 * style.spread) * nuclear(cell) * (1 - 0.5 * cell.nucleolar)
    return 0.85 * grain * (cytosolic(cell) + within)


def granular_cytosol(cell: Cell, style: Style) -> Plane:
    """The cytoplasm in fine grains that run together."""
    fine = 0.35 + 0.3 * style.contrast
    grains = np.clip(0.8 + fine * cell.noise("cytosol", 0.3 * style.size) + 0.2 * cell.noise("lumps", 1.2), 0.02, 2.5)
    leak = np.where(cell.envelope > 0, cytosolic(cell), 0.3 * style.spread * cell.inside)
    return 0.8 * grains * leak


def fine_vesicles(cell: Cell, style: Style) -> Plane:
    """Very many fine dots of one size throughout the cytoplasm."""
    draw = cell.draw("fine_vesicles")
    area = cell.cytoplasm.sum() * cell.um_per_pixel**2
    crowd = np.exp(-np.maximum(cell.envelope, 0) / (6 + 20 * style.spread)) * (cell.cytoplasm & (cell.membrane > 0.5))
    points = cell.sample(draw, crowd, int(min(0.12 * area * style.number + 20, 500)))
    dots = spots(cell, points, 0.19 * style.size, draw.uniform(0.4, 1.2, len(points)))
    return np.minimum(dots, 1.3) * cell.inside


def perinuclear_vesicles(cell: Cell, style: Style) -> Plane:
    """Dots gathered on one side of the nucleus, some large, as lysosomes and endosomes are."""
    draw = cell.draw("perinuclear_vesicles")
    reach = 3 + 5 * style.spread
    near = np.exp(-0.5 * (np.abs(cell.z - cell.centrosome) / reach) ** 2) * (cell.cytoplasm & (cell.membrane > 0.6))
    points = cell.sample(draw, near, int(20 + 30 * style.number))
    large = draw.uniform(size=len(points)) < 0.5
    bright = draw.uniform(0.4, 1.2, len(points))
    image = spots(cell, points[~large], 0.22 * style.size, bright[~large])
    return np.minimum(image + spots(cell, points[large], 0.38 * style.size, bright[large]), 1.3) * cell.inside


def hollow_vesicles(cell: Cell, style: Style) -> Plane:
    """Rings around a dark middle, as of droplets and swollen endosomes, between fine dots."""
    draw = cell.draw("hollow_vesicles")
    points = cell.sample(draw, cell.cytoplasm & (cell.membrane > 1.0), int(10 + 22 * style.number))
    turn = 2 * np.pi * (np.arange(9) + 0.5) / 9
    rings = points[None] + np.exp(1j * turn)[:, None] * draw.uniform(0.5, 1.0, len(points)) * style.size
    image = spots(cell, rings, 0.2, 0.55)
    return np.minimum(image, 1.2) * cell.cytoplasm


def trace(cell: Cell, style: Style) -> Plane:
    """Nothing of its own."""
    return np.zeros(cell.inside.shape)


KINDS: tuple[tuple[Pattern, ...], ...] = (
    (patterns.nucleoplasm, punctate_nucleoplasm, even_nucleoplasm),
    (patterns.nuclear_membrane, folded_envelope),
    (patterns.nucleoli, nucleolar_rims, bright_nucleoli),
    (patterns.fibrillar_centers, few_fibrillar_centers, clustered_fibrillar_centers),
    (patterns.nuclear_speckles, round_speckles),
    (patterns.nuclear_bodies, few_bodies),
    (patterns.endoplasmic_reticulum, granular_reticulum),
    (patterns.golgi, golgi_ribbon, golgi_stacks),
    (
        patterns.intermediate_filaments,
        filament_cage,
        filament_network,
        filament_bundles,
        filament_fragments,
    ),
    (patterns.actin_filaments, focal_adhesions, cortical_actin, actin_cables),
    (stained_microtubules, stained_microtubules, patterns.microtubules, microtubule_ends),
    (patterns.mitotic_spindle, hazy_spindle),
    (patterns.centrosome, single_centrosome),
    (patterns.plasma_membrane, ruffled_membrane, junctions, microvilli),
    (patterns.mitochondria, mitochondrial_network, radial_mitochondria, fragmented_mitochondria),
    (patterns.aggresome, clumped_aggresome),
    (patterns.cytosol, leaking_cytosol, granular_cytosol),
    (patterns.vesicles, fine_vesicles, perinuclear_vesicles, hollow_vesicles),
    (trace,),
)
"""In the order of atlas.LOCATIONS; an antibody shows one of a location's kinds, all equally often."""


def microtubule_network(cell: Cell, width: float) -> Plane:
    """Filaments `width` µm thick that fill the cell: from around the nucleus, and from anywhere; the same every time.

    The stain and a protein that sits on microtubules show the same ones.
    """
    draw, morphology = cell.draw("microtubule_network"), cell.morphology
    area = cell.inside.sum() * cell.um_per_pixel**2
    count = int(morphology.microtubules * min(area / morphology.cell_area, 2.0) ** 0.7) + 4
    scattered = int(morphology.scattered * count)
    around = draw.uniform(0, 2 * np.pi, count - scattered)
    away = at_angle(cell.nucleus_contour, around) + draw.exponential(2, len(around))
    ring = cell.centre + np.exp(1j * around) * away
    start = np.concatenate([ring, cell.sample(draw, cell.cytoplasm, scattered)])
    outwards = np.angle(start - cell.centrosome) + draw.normal(0, 0.5, len(start))
    heading = np.where(draw.uniform(size=len(start)) < 0.5, outwards, tangent(draw, cell, start, 0.5))
    along = cell.axis + np.pi * draw.integers(0, 2, len(start)) + draw.normal(0, 0.25, len(start))
    heading = np.where(draw.uniform(size=len(start)) < morphology.bundling, along, heading)
    paths = walk(cell, draw, start, heading, steps=36, step=0.8, wander=morphology.wander * 1.5)
    network = threads(cell, paths, width, alive(cell, paths, 8 + draw.exponential(18, len(start))))
    return 1.1 * (1 - np.exp(-0.5 * network)) * cell.inside


def _mitochondria(draw: np.random.Generator, cell: Cell, style: Style, *, count: float) -> Points:
    """Where mitochondria begin: `count` per µm² of cytoplasm, around the nucleus, often more on one side."""
    near = np.exp(-np.maximum(cell.envelope, 0) / (1.5 + 8 * style.spread)) * lopsided(cell, 0.9 * style.contrast)
    area = cell.cytoplasm.sum() * cell.um_per_pixel**2
    wanted = int(8 + count * area * min(style.number, 2.5) * (0.5 + style.spread))
    return cell.sample(draw, near * (cell.cytoplasm & (cell.membrane > 0.7)), min(wanted, 300))


def _in_cytoplasm(cell: Cell, image: Plane, above: float) -> Plane:
    """The image with the nucleus at `above` of it."""
    return image * np.where(cell.envelope > 0, 1, above) * cell.inside


def _wander(
    draw: np.random.Generator, start: Points, heading: np.ndarray, *, steps: int, step: float, bend: float
) -> Paths:
    """Paths that nothing pushes."""
    turns = np.cumsum(draw.normal(0, bend, (steps, len(start))), axis=0)
    moves = step * np.exp(1j * (heading + turns))
    return np.concatenate([start[None], start + np.cumsum(moves, axis=0)])
