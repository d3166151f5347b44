"""How proteins of each location look in budding yeast: what a dye would show, 0 nothing, about 1 bright.

The locations are those that screens of GFP-tagged strains tell apart (Huh et al. 2003, Nature; Chong et al. 2015,
Cell).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from hpax.simulate.proteome import Style
from hpax.simulate.yeast_cells import Cell, Plane, inside, rim

Pattern = Callable[[Cell, Style, np.random.Generator], Plane]


def spots(cell: Cell, points: Float[np.ndarray, "k 2"], sigma: float, strength: Float[np.ndarray, " k"]) -> Plane:
    """Gaussian spots of `sigma` pixels at (y, x)."""
    axis = np.arange(cell.size)
    rows = np.exp(-0.5 * ((axis[None] - points[:, :1]) / sigma) ** 2)
    columns = np.exp(-0.5 * ((axis[None] - points[:, 1:]) / sigma) ** 2)
    return np.einsum("k,ky,kx->yx", strength, rows, columns)


def anywhere(cell: Cell, draw: np.random.Generator, count: int, *, deepest: bool = False) -> Float[np.ndarray, "k 2"]:
    """Places in the cytoplasm, near the outline unless `deepest`."""
    angles = draw.uniform(0, 2 * np.pi, count)
    inset = cell.mother.short * (draw.uniform(0.15, 0.85, count) if deepest else draw.uniform(0.1, 0.45, count))
    points = [cell.mother.rim(np.array([a]), i)[0] for a, i in zip(angles, inset, strict=True)]
    return np.array(points).reshape(-1, 2)


def strengths(draw: np.random.Generator, count: int, spread: float) -> Float[np.ndarray, " k"]:
    """How bright spots are, around 1."""
    return np.exp(draw.normal(0, spread, count))


def cytoplasm(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """All but vacuoles; nuclei are left out as far as `spread` says."""
    empty = 1 - (0.55 + 0.4 * style.contrast) * inside(cell.vacuole_depth)
    nucleus = 1 - 0.75 * max(0.0, style.spread - 0.35) * inside(cell.nucleus_depth)
    return 0.8 * cell.volume * empty * nucleus


def nucleus(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The whole nucleus."""
    return inside(cell.nucleus_depth + (style.size - 1), 1.2)


def nucleolus(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """A crescent on one side of the nucleus."""
    angle, radius = draw.uniform(0, 2 * np.pi), cell.nucleus.long
    shift = radius * (0.45 + 0.25 * style.spread)
    y, x = cell.nucleus.y + shift * np.sin(angle), cell.nucleus.x + shift * np.cos(angle)
    place = spots(cell, np.array([[y, x]]), 0.45 * radius * style.size, np.ones(1))
    return 1.1 * place * inside(cell.nucleus_depth + 0.5)


def nuclear_periphery(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The outline of the nucleus, grainy where pores are."""
    angles = draw.uniform(0, 2 * np.pi, 14)
    grains = spots(cell, cell.nucleus.rim(angles), 1.1, strengths(draw, 14, 0.4))
    return rim(cell.nucleus_depth, 1.1) * (1 - 0.5 * style.contrast) + 0.5 * style.contrast * grains


def er(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The nuclear envelope, and broken pieces beneath the plasma membrane."""
    angles = np.sort(draw.uniform(0, 2 * np.pi, 26))
    keep = np.sin(angles * draw.integers(2, 5) + draw.uniform(0, 6)) > -0.3 - 0.5 * style.spread
    cortex = spots(cell, cell.mother.rim(angles[keep], 2.2), 1.5, strengths(draw, int(keep.sum()), 0.3))
    return 0.85 * rim(cell.nucleus_depth, 1.3) + 0.55 * cortex + 0.12 * cell.volume


def mitochondria(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Tubes beneath the cortex, long or in pieces."""
    plane = np.zeros((cell.size, cell.size))
    for _ in range(max(2, round(draw.uniform(2, 6) * style.number))):
        length = draw.uniform(4, 24) * (0.4 + style.spread)
        count = max(3, int(length))
        angles = draw.uniform(0, 2 * np.pi) + np.arange(count) / cell.mother.short * draw.choice([-1, 1])
        inset = cell.mother.short * draw.uniform(0.1, 0.45) + np.cumsum(draw.normal(0, 0.45, count))
        points = [cell.mother.rim(np.array([a]), max(1.5, i))[0] for a, i in zip(angles, inset, strict=True)]
        plane += draw.uniform(0.5, 1.0) * spots(cell, np.array(points), 1.1 * style.size, np.full(count, 0.45))
    return plane


def vacuole(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The lumen."""
    return 0.9 * inside(cell.vacuole_depth)


def vacuole_membrane(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The rims of vacuoles."""
    return rim(cell.vacuole_depth, 1.1 * style.size)


def cell_periphery(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """The plasma membrane, smooth or patchy."""
    patches = spots(cell, cell.mother.rim(draw.uniform(0, 2 * np.pi, 18), 0.8), 1.6, strengths(draw, 18, 0.4))
    return rim(cell.depth - 1, 1.2) * (1 - 0.6 * style.contrast + 0.6 * style.contrast * np.clip(patches, 0, 1.5))


def eisosomes(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Many small dots in the membrane."""
    count = max(8, round(24 * style.number))
    on_rim = cell.mother.rim(draw.uniform(0, 2 * np.pi, count), 1.0)
    above = anywhere(cell, draw, count // 3, deepest=True)
    return spots(cell, on_rim, 0.9, 0.8 * strengths(draw, count, 0.4)) + spots(
        cell, above, 1.2, 0.25 * strengths(draw, len(above), 0.4)
    )


def actin(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Patches, most of them in the bud, or at one end."""
    count = max(4, round(9 * style.number))
    if cell.bud is not None:
        place = cell.bud.rim(draw.uniform(0, 2 * np.pi, count), draw.uniform(0.5, 2.5))
    else:
        place = cell.mother.rim(draw.normal(draw.uniform(0, 2 * np.pi), 0.9, count), 1.2)
    rest = cell.mother.rim(draw.uniform(0, 2 * np.pi, 4), 1.2)
    bright = spots(cell, place, 1.2 * style.size, strengths(draw, count, 0.35))
    return bright + 0.6 * spots(cell, rest, 1.2 * style.size, strengths(draw, 4, 0.35))


def bud_neck(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """A bar or two dots between mother and bud; a faint patch where a bud was or will be."""
    if cell.neck is None or cell.bud is None:
        place = cell.mother.rim(draw.uniform(0, 2 * np.pi, 1), 1.0)
        return spots(cell, place, 1.8 * style.size, np.array([draw.choice([0.15, 0.7])]))
    y, x, direction = cell.neck
    across = np.linspace(-0.7, 0.7, 7) * cell.bud.short
    if style.spread > 0.5:
        across = across[[0, -1]]
    points = np.stack([y + across * np.cos(direction), x - across * np.sin(direction)], -1)
    return spots(cell, points, 1.2 * style.size, np.full(len(points), 0.6 if len(points) > 2 else 1.1))


def golgi(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Several dots all over the cytoplasm."""
    count = max(3, round(7 * style.number))
    points = anywhere(cell, draw, count, deepest=True)
    return spots(cell, points, 1.2 * style.size, strengths(draw, count, 0.45))


def endosome(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """A few dots beside vacuoles."""
    count = max(1, round(3 * style.number))
    beside = cell.vacuoles[0] if cell.vacuoles else cell.nucleus
    points = beside.rim(draw.uniform(0, 2 * np.pi, count), -1.5)
    return spots(cell, points, 1.5 * style.size, strengths(draw, count, 0.3))


def peroxisomes(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Small dots of one brightness near the cortex."""
    count = max(2, round(5 * style.number))
    return spots(cell, anywhere(cell, draw, count), 1.0, strengths(draw, count, 0.15))


def lipid_particles(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """Clustered dots, some of them hollow."""
    count = max(3, round(6 * style.number))
    middle = anywhere(cell, draw, 1, deepest=True)
    points = middle + draw.normal(0, cell.mother.short * (0.15 + 0.3 * style.spread), (count, 2))
    plane = spots(cell, points, 1.6 * style.size, strengths(draw, count, 0.3))
    return (plane - 0.35 * spots(cell, points, 0.8, np.ones(count))).clip(0) * inside(cell.depth)


def spindle_pole(cell: Cell, style: Style, draw: np.random.Generator) -> Plane:
    """One dot at the nucleus' edge, or two opposite to each other."""
    angle = draw.uniform(0, 2 * np.pi)
    angles = np.array([angle, angle + np.pi])[: draw.integers(1, 3)]
    return spots(cell, cell.nucleus.rim(angles), 1.1, np.full(len(angles), 1.1))


PATTERNS: dict[str, Pattern] = {
    "actin": actin,
    "bud neck": bud_neck,
    "cell periphery": cell_periphery,
    "cytoplasm": cytoplasm,
    "eisosomes": eisosomes,
    "endosome": endosome,
    "ER": er,
    "Golgi": golgi,
    "lipid particles": lipid_particles,
    "mitochondria": mitochondria,
    "nuclear periphery": nuclear_periphery,
    "nucleolus": nucleolus,
    "nucleus": nucleus,
    "peroxisomes": peroxisomes,
    "spindle pole": spindle_pole,
    "vacuole": vacuole,
    "vacuole membrane": vacuole_membrane,
}
"""Location → what it looks like, in alphabetical order."""
