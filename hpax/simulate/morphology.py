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
    fewest_nucleoli: int = 2
    nucleolus: float = 1.0  # factor of their radius
    microtubules: int = 90  # filaments per cell
    bundling: float = 0.0  # 0 = an aster, 1 = all filaments along the cell's axis
    wander: float = 0.16  # bending of filaments, radians per µm
    scattered: float = 0.0  # share of filaments that start anywhere in the cell; only randomised fields ask
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

FURTHER_CELL_LINES: dict[str, Morphology] = {
    "EFO-21": Morphology(6.5, 0.4, 200, 1.3, 950, 1.3, ruffling=0.08, microtubules=130),
    "HAP1": Morphology(11.0, 0.6, 125, 1.3, 420, 1.4, protrusions=1.0, protrusion_length=0.6, microtubules=90),
    "HUVEC TERT2": Morphology(4.5, 0.1, 210, 1.4, 1700, 1.7, protrusions=0.5, protrusion_length=0.5, microtubules=180),
    "HaCaT": Morphology(9.0, 0.7, 170, 1.25, 700, 1.2, ruffling=0.05, microtubules=120, wander=0.22),
    "RH-30": Morphology(
        5.0, 0.2, 190, 1.4, 1100, 2.2, protrusions=1.4, protrusion_length=1.2, microtubules=140, bundling=0.5
    ),
    "RPTEC TERT1": Morphology(7.0, 0.3, 165, 1.25, 1000, 1.3, ruffling=0.05, microtubules=140, bundling=0.1),
    "SK-MEL-30": Morphology(
        6.0, 0.2, 175, 1.35, 850, 2.2, protrusions=1.8, protrusion_length=1.4, microtubules=120, bundling=0.5
    ),
    "SiHa": Morphology(7.5, 0.5, 190, 1.3, 800, 1.3, protrusions=0.6, protrusion_length=0.5, microtubules=120),
    "hTCEpi": Morphology(6.5, 0.4, 190, 1.3, 1100, 1.4, ruffling=0.1, microtubules=140),
}
"""The other nine of the 2021 competition's lines, which randomised atlases hold as well; the same caution holds."""

ALL_CELL_LINES = CELL_LINES | FURTHER_CELL_LINES
