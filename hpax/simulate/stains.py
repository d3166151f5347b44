"""The three structural stains of one cell: nucleus, microtubules, endoplasmic reticulum. 1 is bright."""

import numpy as np

from hpax.simulate.cell import Cell, Plane, alive, at_angle, spots, threads, walk


def nucleus(cell: Cell) -> Plane:
    """DNA: grainy, with dark nucleoli; condensed chromosomes in a mitotic cell."""
    if cell.mitotic:
        return np.clip(-cell.envelope / 0.3, 0, 1) * (1.25 + 0.25 * cell.noise("chromatin", 0.5)) * cell.inside
    grain = 0.78 + 0.11 * cell.noise("chromatin", 0.35) + 0.11 * cell.noise("chromatin", 1.0)
    return np.clip(-cell.envelope / 0.5, 0, 1) * grain * (1 - 0.6 * cell.nucleolar) * cell.inside


def microtubules(cell: Cell) -> Plane:
    """Filaments from the centrosome (some from elsewhere around the nucleus) to the cell's edge, or a spindle."""
    if cell.mitotic:
        return spindle(cell) + 0.06 * cell.inside
    draw, morphology = cell.draw("microtubules"), cell.morphology
    area = cell.inside.sum() * cell.um_per_pixel**2
    count = int(morphology.microtubules * np.sqrt(min(area / morphology.cell_area, 2.0))) + 1
    around = draw.uniform(0, 2 * np.pi, count)
    ring = cell.centre + np.exp(1j * around) * (at_angle(cell.nucleus_contour, around) + draw.exponential(1.8, count))
    aster = draw.uniform(size=count) < 0.35
    origin = np.where(aster, cell.centrosome + draw.normal(0, 0.4, (count, 2)) @ (1, 1j), ring)
    across = around + draw.choice((-1, 1), count) * draw.uniform(0.2, 1.9, count)
    heading = np.where(aster, draw.uniform(0, 2 * np.pi, count), across)
    along = cell.axis + np.pi * draw.integers(0, 2, count) + draw.normal(0, 0.3, count)
    heading = np.where(draw.uniform(size=count) < morphology.bundling, along, heading)
    paths = walk(cell, draw, origin, heading, steps=50, step=0.8, wander=morphology.wander * 2)
    network = threads(cell, paths, 0.13, alive(cell, paths, 8 + draw.exponential(24, count)))
    return (
        (1.15 * (1 - np.exp(-0.42 * network)) + 0.07 * cell.thickness)
        * np.where(cell.envelope > 0, 1, 0.15)
        * cell.inside
    )


def spindle(cell: Cell) -> Plane:
    """Two fans of fibres from the poles to the chromosomes, with short asters."""
    draw = cell.draw("spindle")
    image = np.zeros(cell.inside.shape)
    for pole in cell.poles:
        ends = cell.centre + np.exp(1j * cell.axis) * draw.uniform(-1, 1, 34) * 0.85 * cell.nucleus_contour.max()
        along = np.linspace(0, 1, 9)[:, None]
        bow = 0.5 * np.sin(np.pi * along) * (ends - cell.centre) * 0.45
        image += threads(cell, pole + along * (ends - pole) + bow, 0.16, 0.45)
        rays = np.exp(1j * draw.uniform(0, 2 * np.pi, 16)) * draw.uniform(1, 3.5, 16)
        image += threads(cell, pole + np.array([[0], [1]]) * rays, 0.14, 0.3) + 0.7 * spots(
            cell, np.array([pole]), 0.45
        )
    return (1 - np.exp(-0.8 * image)) * cell.inside


def endoplasmic_reticulum(cell: Cell) -> Plane:
    """A net around the nucleus that thins out towards the edge."""
    fade = np.exp(-np.maximum(cell.envelope, 0) / cell.morphology.er_reach) * np.minimum(cell.membrane / 0.7, 1)
    sheet = np.where(cell.envelope > 0, reticulum(cell, "er"), 0.14 + 0.03 * cell.noise("er", 0.35))
    return np.where(cell.inside, 0.9 * fade * sheet, 0)


def reticulum(cell: Cell, name: str) -> Plane:
    """A random fine net of tubules and sheets, mostly between 0.3 and 1."""
    tubules = np.exp(-((cell.noise(name, 0.42) / 0.6) ** 2))
    patches = np.clip(1 + 0.3 * cell.noise(name, 2.0), 0.4, 1.7)
    return (0.3 + 0.7 * tubules) * patches
