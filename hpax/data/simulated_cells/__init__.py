"""Crops around each cell of simulated fields, with true labels."""

from hpax.data.simulated_cells.simulated_cells import Config
from hpax.data.simulated_cells.simulated_cells import SimulatedCells as DataSet

__all__ = ["Config", "DataSet"]
