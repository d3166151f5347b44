"""Fluorescence images with hand-drawn nuclei, of the Data Science Bowl 2018."""

from hpax.data.dsb2018_nuclei.dsb2018_nuclei import Config
from hpax.data.dsb2018_nuclei.dsb2018_nuclei import Dsb2018Nuclei as DataSet

__all__ = ["Config", "DataSet"]
