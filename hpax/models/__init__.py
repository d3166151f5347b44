"""Trained networks: a catalogue of those that ship with hpax, their files, and grafting them into others.

from hpax import models
nuclei = models.load("segment-nuclei")
logits = nuclei.model.apply(nuclei.variables, images)
"""

from hpax.models.card import card
from hpax.models.ensemble import Labeller
from hpax.models.graft import graft
from hpax.models.segmenter import Segmenter
from hpax.models.store import ARCHITECTURES, NAMES, Pretrained, load, save

__all__ = ["ARCHITECTURES", "NAMES", "Labeller", "Pretrained", "Segmenter", "card", "graft", "load", "save"]
