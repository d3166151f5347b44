"""Encoders and formulas that turn cells into feature tables."""

from hpax.features import handcrafted
from hpax.features.extract import Block, Encode, extract, on_devices, write

__all__ = ["Block", "Encode", "extract", "handcrafted", "on_devices", "write"]
