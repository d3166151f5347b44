"""Encoders and formulas that turn cells into feature tables."""
