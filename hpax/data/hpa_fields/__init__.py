"""Fields of the Human Protein Atlas, as Kaggle ships or proteinatlas.org serves them."""

from hpax.data.hpa_fields.hpa_fields import Config
from hpax.data.hpa_fields.hpa_fields import HpaFields as DataSet

__all__ = ["Config", "DataSet"]
