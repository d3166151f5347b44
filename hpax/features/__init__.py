"""Encoders and formulas that turn cells into feature tables."""

from hpax.features import classic
from hpax.features.extract import extract, on_devices

__all__ = ["classic", "extract", "on_devices"]
