"""hpax: protein localisation in single cells from fluorescence microscopy."""

__version__ = "0.1.0"
