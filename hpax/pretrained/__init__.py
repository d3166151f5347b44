"""Trained networks: a catalogue of those that ship with hpax, their files, and grafting them into others.

from hpax import pretrained
nuclei = pretrained.load("segment-nuclei")
logits = nuclei.model.apply(nuclei.variables, images)
"""

from hpax.pretrained.card import card
from hpax.pretrained.graft import graft
from hpax.pretrained.store import ARCHITECTURES, NAMES, Pretrained, load, save

__all__ = ["ARCHITECTURES", "NAMES", "Pretrained", "card", "graft", "load", "save"]
