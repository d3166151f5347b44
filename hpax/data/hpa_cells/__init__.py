"""Cells cut out of fields of the Human Protein Atlas, by index masks or by the published Otsu recipe."""

from hpax.data.hpa_cells.hpa_cells import Config
from hpax.data.hpa_cells.hpa_cells import HpaCells as DataSet

__all__ = ["Config", "DataSet"]
