"""A simulated atlas with known truth: a proteome, cell lines, fields of view. Numpy only, a pure function of seeds."""

from hpax.simulate.fields import Field, field
from hpax.simulate.morphology import CELL_LINES, Morphology
from hpax.simulate.optics import Optics
from hpax.simulate.proteome import Protein, Style, proteome

__all__ = ["CELL_LINES", "Field", "Morphology", "Optics", "Protein", "Style", "field", "proteome"]
