"""One simulated field: four images, index masks, and what every cell truly shows."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from scipy import ndimage

from hpax import atlas
from hpax.fields import Field, Masks
from hpax.simulate import layout, patterns, randomised, stains
from hpax.simulate.cell import Cell, Plane
from hpax.simulate.morphology import ALL_CELL_LINES, CELL_LINES
from hpax.simulate.optics import Optics, expose, strengths
from hpax.simulate.proteome import Protein
from hpax.simulate.streams import stream

SPINDLE = atlas.LOCATIONS.index("Mitotic spindle")
ENOUGH = 0.1  # share of the cells that must show a location before an annotator names it for the image

DEFAULT_OPTICS = Optics()

Realism = Literal["plain", "randomised"]
"""How a field looks: as one clean microscope sees one kind of each pattern, or as all of `ranges` allow."""


def cell_lines(realism: Realism = "plain") -> list[str]:
    """The cell lines that an atlas of that realism holds, in order."""
    return sorted(CELL_LINES if realism == "plain" else ALL_CELL_LINES)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedField(Field):
    """A field whose truth is known. Cell i of the masks, from 1, has row i-1 of `cell_labels`: what it shows.

    Its masks are the true ones; a cell without a visible nucleus is background.
    """

    labels: UInt8[np.ndarray, " 19"]  # as an annotator would give them
    cell_labels: UInt8[np.ndarray, "n 19"]  # what each cell shows, not what it could
    mitotic: Bool[np.ndarray, " n"]  # which cells divide

    @property
    def cells(self) -> UInt16[np.ndarray, "h w"]:
        """The true cells."""
        return self.found.cells

    @property
    def nuclei(self) -> UInt16[np.ndarray, "h w"]:
        """The true nuclei."""
        return self.found.nuclei

    @property
    def protein(self) -> str:
        """The protein that is stained."""
        return self.origin["protein"]

    @property
    def antibody(self) -> str:
        """The antibody that stains it."""
        return self.origin["antibody"]

    @property
    def cell_line(self) -> str:
        """A name in `CELL_LINES`."""
        return self.origin["cell_line"]


def field(
    protein: Protein,
    cell_line: str,
    index: int,
    *,
    seed: int,
    size: int = 512,
    um_per_pixel: float = 0.32,
    optics: Optics = DEFAULT_OPTICS,
    realism: Realism = "plain",
) -> SimulatedField:
    """The field `index` of a protein in a cell line: the same bytes whenever and wherever it is asked for.

    The field has 5 to 40 cells per (164 µm)², about 2% of them dividing; of a protein with Mitotic spindle every
    field has at least one, because annotators chose such fields. Antibodies take turns over the index. A cell shows
    each location of its protein, but for those that single-cell variation darkens (never the spindle, which varies
    by itself) and those that division turns into another (`patterns.MITOTIC`); a cell that shows none is Negative.
    `labels` names the locations of the protein that at least a tenth of the interphase cells show, and the spindle
    if a single cell does; Negative if there is none.

    Args:
        protein: from `proteome`, or made by hand.
        cell_line: a name in `ALL_CELL_LINES`.
        index: of the field among those of this protein and cell line.
        seed: of the data set; the looks of the protein have their own.
        size: pixels of a side; um_per_pixel: µm of one; together at least 16 µm.
        optics: the microscope of a plain field.
        realism: "randomised" draws what real fields vary in (`simulate.ranges`), the microscope too.

    Raises:
        ValueError: an unknown cell line, `optics` of a randomised field, a negative seed or index, a size or pixel
            that is too small or too large.
    """
    _check(cell_line, size, um_per_pixel)
    if realism == "randomised" and optics != DEFAULT_OPTICS:
        raise ValueError("a randomised field draws its own microscope; leave optics out, or take realism 'plain'")
    keys = (seed, protein.seed, protein.index, cell_line, index)
    antibody = protein.antibodies[index % len(protein.antibodies)]
    morphology, canvas = ALL_CELL_LINES[cell_line], layout.Canvas(size, um_per_pixel)
    look = randomised.look(protein, antibody, *keys) if realism == "randomised" else None
    morphology = randomised.cultured(morphology, look.culture) if look else morphology
    outlines = layout.place(stream(*keys, "place"), canvas, morphology, mitosis=SPINDLE in protein.locations)
    owner = layout.territories(outlines, canvas)
    cells = layout.cells(outlines, owner, canvas, morphology, *keys)
    signal = np.zeros((*canvas.shape, len(atlas.CHANNELS)))
    shown = [_paint(cell, signal[cell.window], protein, look) for cell in cells]
    truth, kept = _truth(cells, canvas)
    mitotic = np.array([cells[number].mitotic for number in kept], bool)
    cell_labels = np.array([shown[number] for number in kept], np.uint8).reshape(-1, len(atlas.LOCATIONS))
    return SimulatedField(
        id=f"{protein.name}_{antibody}_{cell_line}_{index}".replace(" ", "-"),
        image=_exposed(signal[canvas.field], look, optics, protein, antibody, keys, um_per_pixel),
        um_per_pixel=um_per_pixel,
        labels=annotate(cell_labels, mitotic, protein.locations),
        origin={"protein": protein.name, "antibody": antibody, "cell_line": cell_line},
        masks=truth,
        truth=truth,
        cell_labels=cell_labels,
        mitotic=mitotic,
    )


def _exposed(
    signal: Float[np.ndarray, "h w 4"],
    look: randomised.Look | None,
    optics: Optics,
    protein: Protein,
    antibody: str,
    keys: tuple[int | str, ...],
    um_per_pixel: float,
) -> UInt8[np.ndarray, "h w 4"]:
    """What the microscope makes of the stains."""
    draw = stream(*keys, "optics")
    if look:
        return randomised.exposed(signal, look, draw, um_per_pixel=um_per_pixel)
    binding = stream("antibody", protein.seed, protein.index, antibody)
    strength = strengths(optics, binding, stream(*keys, "strength"))
    return expose(signal, optics, draw, um_per_pixel=um_per_pixel, strength=strength)


def annotate(
    cell_labels: UInt8[np.ndarray, "n 19"], mitotic: Bool[np.ndarray, " n"], locations: tuple[int, ...]
) -> UInt8[np.ndarray, " 19"]:
    """Image labels: those of `locations` that enough interphase cells show, the spindle if any cell does."""
    votes = cell_labels[~mitotic].mean(0) if (~mitotic).any() else np.zeros(len(atlas.LOCATIONS))
    seen = [location for location in locations if location != SPINDLE and votes[location] >= ENOUGH]
    if SPINDLE in locations and cell_labels[:, SPINDLE].any():
        seen.append(SPINDLE)
    return atlas.multi_hot(seen or [atlas.NEGATIVE])


def _check(cell_line: str, size: int, um_per_pixel: float) -> None:
    if cell_line not in ALL_CELL_LINES:
        raise ValueError(f"cell line {cell_line!r} is not simulated; choose one of {sorted(ALL_CELL_LINES)}")
    if not 0.04 <= um_per_pixel <= 1.0:
        raise ValueError(
            f"um_per_pixel must be in [0.04, 1.0], got {um_per_pixel}; 0.08 is the HPA's, 0.32 the default"
        )
    if not 16 <= size * um_per_pixel <= 400:
        raise ValueError(
            f"a field must be 16 to 400 µm wide, got {size} pixels of {um_per_pixel} µm = {size * um_per_pixel:g} µm; "
            f"use a size between {int(np.ceil(16 / um_per_pixel))} and {int(400 / um_per_pixel)}"
        )


def _paint(
    cell: Cell, signal: Float[np.ndarray, "h w 4"], protein: Protein, look: randomised.Look | None
) -> UInt8[np.ndarray, " 19"]:
    """Add the cell's four stains to its window of `signal`; returns what it shows of the protein."""
    draw = cell.draw("expression")
    level = np.exp(draw.normal(0, (0.3, 0.18, 0.3, 0.25)))
    lit = [place for place in protein.locations if draw.uniform() >= protein.variation or place == SPINDLE]
    lit = [place for place in lit if place != atlas.NEGATIVE]
    shown = {patterns.MITOTIC.get(location, location) if cell.mitotic else location for location in lit}
    if not cell.mitotic:
        shown.discard(SPINDLE)
    if look:
        planes = randomised.stained(cell, protein, lit, look)
    else:
        planes = [level[channel] * np.maximum(plane, 0) for channel, plane in enumerate(_plain(cell, protein, lit))]
    for channel, plane in enumerate(planes):
        signal[..., channel] += plane
    return atlas.multi_hot(shown or [atlas.NEGATIVE])


def _plain(cell: Cell, protein: Protein, lit: list[int]) -> list[Plane]:
    """The four stains of a cell that shows `lit`, all of one kind."""
    first, *more = lit or [atlas.NEGATIVE]
    shown = 0 + patterns.show(cell, first, protein.style(first))  # a plane of its own
    for location in more:
        shown = shown + patterns.show(cell, location, protein.style(location))
    return [
        shown,
        stains.nucleus(cell),
        stains.microtubules(cell),
        stains.endoplasmic_reticulum(cell),
    ]


def _truth(cells: list[Cell], canvas: layout.Canvas) -> tuple[Masks, list[int]]:
    """Masks of cells and nuclei in the field, and which cells they number: those with enough of a nucleus in it."""
    masks, nuclei = (np.zeros(canvas.shape, np.uint16) for _ in range(2))
    kept: list[int] = []
    for number, cell in enumerate(cells):
        beyond = np.ones(canvas.shape, bool)
        beyond[canvas.field] = False
        visible = ~beyond[cell.window]
        nucleus = _largest(cell.nucleus & visible)
        if nucleus.sum() * canvas.um_per_pixel**2 < layout.VISIBLE:
            continue
        kept.append(number)
        masks[cell.window][_joined(cell.inside & visible, nucleus)] = len(kept)
        nuclei[cell.window][nucleus] = len(kept)
    return Masks(masks[canvas.field], nuclei[canvas.field]), kept


def _largest(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    pieces, count = ndimage.label(mask)
    return mask if count < 2 else pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def _joined(mask: Bool[np.ndarray, "h w"], core: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The piece of `mask` that holds `core`."""
    pieces, _ = ndimage.label(mask)
    return pieces == pieces[core][0]
