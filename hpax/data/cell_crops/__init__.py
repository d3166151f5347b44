"""Single-cell crops in the layout of the published paired-cell-inpainting code, human and yeast."""

from hpax.data.cell_crops.cell_crops import CellCrops as DataSet
from hpax.data.cell_crops.cell_crops import Config

__all__ = ["Config", "DataSet"]
