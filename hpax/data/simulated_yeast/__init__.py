"""Crops of simulated budding yeast, of proteins of known location."""

from hpax.data.simulated_yeast.simulated_yeast import Config
from hpax.data.simulated_yeast.simulated_yeast import SimulatedYeast as DataSet

__all__ = ["Config", "DataSet"]
