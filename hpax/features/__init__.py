"""Encoders and formulas that turn cells into feature tables."""

from hpax.features import handcrafted
from hpax.features.extract import Encode, extract, on_devices

__all__ = ["Encode", "extract", "handcrafted", "on_devices"]
