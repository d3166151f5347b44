"""Simulated fields of view with the truth of every cell."""

from hpax.data.simulated_fields.simulated_fields import Config
from hpax.data.simulated_fields.simulated_fields import SimulatedFields as DataSet

__all__ = ["Config", "DataSet"]
