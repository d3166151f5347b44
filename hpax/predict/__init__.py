"""Trained networks at work: fields to cells, and cells to labels."""

from hpax.predict.label import Labeller
from hpax.predict.segment import Segmenter

__all__ = ["Labeller", "Segmenter"]
