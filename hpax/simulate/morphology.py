"""The cell lines: how many cells, how large, how long, how crowded, with which cytoskeleton.

Sizes are of the order that HPA fields show. They make the lines distinct; they are no measurements of them.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Morphology:
    """The typical shape of the cells of one line; sizes in µm, spreads are standard deviations of logarithms."""

    density: float  # cells per 10,000 µm²; a default field (164 µm wide) is 26,844 µm²
    clumping: float  # 0 = spread evenly, 1 = only in colonies
    nucleus_area: float  # µm²
    nucleus_aspect: float  # long axis over short axis
    cell_area: float  # µm², of a cell without neighbours
    elongation: float  # long axis over short axis
    nucleus_spread: float = 0.22
    cell_spread: float = 0.25
    protrusions: float = 0.0  # mean number of processes
    protrusion_length: float = 0.0  # of a process, relative to the cell's radius
    ruffling: float = 0.06  # unevenness of the outline, relative to the cell's radius
    nucleoli: float = 3.0  # mean number
    microtubules: int = 90  # filaments per cell
    bundling: float = 0.0  # 0 = an aster, 1 = all filaments along the cell's axis
    wander: float = 0.16  # bending of filaments, radians per µm
    er_reach: float = 9.0  # µm over which the ER thins out from the nucleus


CELL_LINES: dict[str, Morphology] = {
    "A-431": Morphology(8.0, 0.5, 195, 1.3, 1150, 1.2, ruffling=0.05, microtubules=140, wander=0.22, nucleoli=3.5),
    "A549": Morphology(6.0, 0.2, 185, 1.25, 1200, 1.5, protrusions=0.8, protrusion_length=0.6, microtubules=150),
    "HEK 293": Morphology(
        density=11.0,
        clumping=0.8,
        nucleus_area=140,
        nucleus_aspect=1.25,
        cell_area=430,
        elongation=1.4,
        protrusions=1.5,
        protrusion_length=0.9,
        microtubules=90,
        bundling=0.2,
    ),
    "HeLa": Morphology(
        7.0, 0.35, 200, 1.35, 1100, 1.5, protrusions=1, protrusion_length=0.5, microtubules=150, nucleoli=4
    ),
    "PC-3": Morphology(
        density=5.5,
        clumping=0.2,
        nucleus_area=185,
        nucleus_aspect=1.45,
        cell_area=900,
        elongation=1.9,
        protrusions=1.5,
        protrusion_length=0.9,
        ruffling=0.1,
        microtubules=140,
        bundling=0.3,
    ),
    "SH-SY5Y": Morphology(
        density=9.5,
        clumping=0.6,
        nucleus_area=120,
        nucleus_aspect=1.35,
        cell_area=380,
        elongation=1.7,
        protrusions=2.2,
        protrusion_length=2.0,
        microtubules=110,
        bundling=0.5,
        wander=0.1,
    ),
    "U-2 OS": Morphology(
        density=4.8,
        clumping=0.1,
        nucleus_area=225,
        nucleus_aspect=1.4,
        cell_area=1900,
        elongation=1.5,
        protrusions=0.6,
        protrusion_length=0.4,
        microtubules=200,
        nucleoli=4,
    ),
    "U-251 MG": Morphology(
        density=5.2,
        clumping=0.2,
        nucleus_area=205,
        nucleus_aspect=1.45,
        cell_area=1050,
        elongation=2.4,
        protrusions=1.6,
        protrusion_length=1.3,
        microtubules=160,
        bundling=0.6,
        wander=0.1,
    ),
}
"""Eight of the lines that the HPA images, by the HPA's names."""
