"""Trained networks at work: fields to cells."""

from hpax.predict.segment import Segmenter

__all__ = ["Segmenter"]
