"""A simulated atlas with known truth: a proteome, cell lines, fields of view. Numpy only, a pure function of seeds."""

from hpax.simulate.fields import Realism, SimulatedField, cell_lines, field
from hpax.simulate.morphology import ALL_CELL_LINES, CELL_LINES, Morphology
from hpax.simulate.optics import Optics
from hpax.simulate.proteome import Protein, Style, proteome

__all__ = [
    "ALL_CELL_LINES",
    "CELL_LINES",
    "Morphology",
    "Optics",
    "Protein",
    "Realism",
    "SimulatedField",
    "Style",
    "cell_lines",
    "field",
    "proteome",
]
