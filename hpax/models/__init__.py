"""Trained networks at work: a catalogue of those that ship with hpax, models that answer for anyone's fields, files.

from hpax import models
segmenter = models.Segmenter()  # the shipped networks
labeller = models.load("runs/combine_labels/default/seed1/models")
field = dataclasses.replace(field, masks=segmenter.predict(field))
probabilities = labeller.predict(field).cells
"""

import os
import pathlib

from hpax.models.adapt import adapted
from hpax.models.card import card, card_table, with_table
from hpax.models.card import summary as card_summary
from hpax.models.catalogue import Entry, catalogue
from hpax.models.cell_classifier import CellClassifier
from hpax.models.convert import convert
from hpax.models.encoder import Encoder
from hpax.models.ensemble import Ensemble, LabelPrediction
from hpax.models.ensemble import read as _read_ensemble
from hpax.models.field_classifier import FieldClassifier, FieldPrediction
from hpax.models.graft import graft
from hpax.models.segmenter import Segmenter
from hpax.models.store import ARCHITECTURES, INPAINTERS, NAMES, Network, load_network, save

Model = FieldClassifier | CellClassifier | Encoder | Ensemble | Network

__all__ = [
    "ARCHITECTURES",
    "NAMES",
    "CellClassifier",
    "Encoder",
    "Ensemble",
    "Entry",
    "FieldClassifier",
    "FieldPrediction",
    "LabelPrediction",
    "Model",
    "Network",
    "Segmenter",
    "adapted",
    "card",
    "card_summary",
    "card_table",
    "catalogue",
    "convert",
    "graft",
    "load",
    "load_network",
    "save",
    "with_table",
]


def load(name: str | os.PathLike) -> Model:
    """A model of the catalogue by its name, or from what a model's `save` wrote.

    A network of fields comes as FieldClassifier, of cells as CellClassifier, one that inpaints as Encoder, a folder as
    Ensemble; one that segments comes as Network, two of which make a Segmenter.

    Raises:
        ValueError: the name is unknown, or the file holds no network of hpax.
        FileNotFoundError: there is no such file.
    """
    if pathlib.Path(name).is_dir():
        return _read_ensemble(pathlib.Path(name))
    network = load_network(name)
    if network.architecture == "cam-net":
        return FieldClassifier(network)
    if network.architecture in INPAINTERS:
        return Encoder(network)
    return CellClassifier(network) if network.architecture == "cell-net" else network
