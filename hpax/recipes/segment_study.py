"""A trained segmentation network held against methods that learn nothing, on fields that it never saw."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from hpax import atlas, models
from hpax.data.patches import CELL
from hpax.explore import colour, grids, overlays
from hpax.formats import fields as field_files
from hpax.formats import label_images
from hpax.images import nearest, percentile_normalise
from hpax.metrics import segmentation
from hpax.metrics.segmentation import KnownField, Method
from hpax.recipes import segment
from hpax.segment import baseline, classical

SHOWN = 6  # fields in a picture
SIDE = 384  # pixels of such a field
TUNING = 16  # training images on which the thresholds are tuned
THRESHOLDS = {"blur": [0.3, 0.6, 1.2], "smooth": [0.3, 0.6, 1.0], "apart": [2.5, 3.5, 5.0], "area": [4.0, 16.0]}
"""What is tried, in µm and µm²."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Methods, and what each was asked about: (method, fields) by names that say what is real."""

    asked: Mapping[str, Sequence[KnownField]]
    methods: Mapping[str, Method]
    scores: Mapping[tuple[str, str], segmentation.Scores]  # by method and fields


def study(fields: segment.Fields, trained: models.Network, *, real: Path | None, nuclei: str) -> Study:
    """The trained network and its rivals, on fields that it never saw.

    Args:
        fields: what it learnt from, and what it is asked about.
        trained: of the target of `fields`.
        real: cells: folder of real fields with cell_masks/{id}.png for some of them, to agree with.
        nuclei: cells: the network of the nuclei, by its name or file.
    """
    if fields.target == "nuclei":
        asked = {name: segment.annotated(source, "nuclei") for name, source in fields.held.items()}
        thresholds = tuned(segment.annotated(fields.known, "nuclei")[:TUNING])
        return compare(asked, {"network": segment.nuclei_by(trained), "otsu": thresholds})
    asked = {name: segment.annotated(source, "cells") for name, source in fields.held.items()}
    if real is not None:
        asked["real agreement"] = list(real_fields(real))
    return compare(asked, {"network": segment.cells_by(models.load_network(nuclei), trained), "grown": grown})


def compare(asked: Mapping[str, Sequence[KnownField]], methods: Mapping[str, Method]) -> Study:
    """Every method on all fields."""
    scores = {}
    for method, name in itertools.product(methods, asked):
        scores[method, name] = segmentation.score_method(methods[method], asked[name])
    return Study(asked, methods, scores)


def tuned(asked: Sequence[KnownField]) -> baseline.OtsuWatershed:
    """The thresholds that find most of the true nuclei in images that networks learn from."""
    arms = itertools.product(*THRESHOLDS.values())
    methods = [baseline.OtsuWatershed(**dict(zip(THRESHOLDS, arm, strict=True))) for arm in arms]
    return max(methods, key=lambda method: segmentation.score_method(method, asked).f1)


def grown(image: np.ndarray, um_per_pixel: float) -> Integer[np.ndarray, "h w"]:
    """The cells that are found without a network."""
    return classical.segment(image, um_per_pixel).cells


def real_fields(folder: Path) -> Iterator[KnownField]:
    """The fields of a folder that have a mask of their cells in cell_masks/{id}.png."""
    for files in field_files.find_fields(folder):
        path = folder / "cell_masks" / f"{files.id}.png"
        if path.exists():
            image, mask = field_files.read_field(files), label_images.read(path)
            yield KnownField(files.id, image, nearest(mask, image.shape[:2]), atlas.um_per_pixel(image.shape[1]))


def picture(done: Study) -> UInt8[np.ndarray, "h w 3"]:
    """The first fields, the true outlines, and those of each method."""
    shown = [field for asked in done.asked.values() for field in asked[:SHOWN]]
    rows = {"truth": [outlined(field, field.mask) for field in shown]}
    for name, method in done.methods.items():
        rows[name] = [outlined(field, method(field.image, field.um_per_pixel)) for field in shown]
    return grids.grid(list(rows.values()), names=list(rows), titles=[field.id for field in shown])


def outlined(field: KnownField, mask: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "side side 3"]:
    """The markers of a field with the outlines of a mask in white, in a square of SIDE pixels."""
    channels = np.moveaxis(field.image[..., CELL], -1, 0)
    light = np.stack([0.75 * percentile_normalise(channel) for channel in channels], axis=-1)
    painted = colour.picture(light, colours=("red", "yellow", "blue"))
    height, width = (round(SIDE * side / max(mask.shape)) for side in mask.shape)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[:height, :width] = np.asarray(Image.fromarray(painted).resize((width, height), Image.Resampling.BILINEAR))
    square[:height, :width][overlays.outlines(nearest(mask, (height, width)))] = 255
    return square


def metrics(done: Study) -> dict[str, float]:
    """ "network real f1" and the like: method, fields, number; objects match at an IoU above 0.5."""
    numbers = {}
    for (method, asked), scores in done.scores.items():
        numbers[f"{method} {asked} f1"] = scores.f1
        numbers[f"{method} {asked} matched iou"] = scores.matched_iou
        numbers[f"{method} {asked} mean ap"] = scores.mean_ap
        numbers[f"{method} {asked} mean image ap"] = scores.mean_image_ap
    return numbers


def counts(fields: segment.Fields, done: Study) -> dict[str, int]:
    """What the numbers rest on."""
    kinds = list(fields.held) + (["simulated"] if fields.target == "nuclei" else [])  # in the order of the views
    numbers = {}
    for kind, view in zip(kinds, fields.training, strict=True):
        numbers[f"training {kind} fields"] = len(view.source)
    held = {asked: scores for (_, asked), scores in done.scores.items()}
    numbers |= {f"held-out {asked} fields": scores.images for asked, scores in held.items()}
    return numbers | {f"held-out {asked} objects": scores.true for asked, scores in held.items()}
