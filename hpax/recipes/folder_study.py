"""Weakly supervised models of anyone's labelled fields: cross-validated, then trained on all of them."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hpax import atlas, files, models
from hpax.data import FieldSource, folders, splits
from hpax.explore import grids, labelled, page
from hpax.metrics import classification
from hpax.models import Ensemble, LabelPrediction
from hpax.predict import submission
from hpax.recipes import distil, weak_labels, weak_report
from hpax.recipes.weak_labels import Shelf

SHOWN = 6  # fields in the picture
LEAST = 4  # fields of a class that the mAP of frequent classes counts
VIEWS = ("field", "cells", "ensemble")
"""What a field's probabilities are: of the image-level network, of its cells' crops on average, of both."""

NOTE = (
    "Every field was asked about by networks that learnt from the other folds; no protein (where it is known, else no "
    "image) is on two sides. Nothing was chosen by these numbers."
)


@dataclasses.dataclass(frozen=True)
class CrossValidated:
    """Fields, their folds, and what networks that never saw them say."""

    source: FieldSource
    fold: np.ndarray
    predictions: list[LabelPrediction]

    def of_fields(self, view: str) -> Float[np.ndarray, "f n"]:
        """The probabilities of every field, by one of VIEWS; where no cell was found, the field's own."""
        rows = []
        for prediction in self.predictions:
            assert prediction.field is not None
            cells = prediction.cell_only if view == "cells" else prediction.cells
            rows.append(prediction.field if view == "field" or not len(cells) else cells.mean(0))
        return np.stack(rows)


def cross_validate(
    config: weak_labels.Config, source: FieldSource, count: int, shelf: Shelf, seed: int
) -> CrossValidated:
    """`count` folds, stratified by class, groups kept together."""
    fold = splits.stratified_folds(distil.groups(source), source.labels, count, seed=seed)
    return CrossValidated(source, fold, weak_labels.cross_validate(config, source, fold, shelf))


def metrics(done: CrossValidated) -> dict[str, float]:
    """Field mAP of every view with its interval over groups, over all classes and over frequent ones."""
    labels, groups = done.source.labels, distil.groups(done.source)
    often = np.flatnonzero(labels.sum(0) >= LEAST)
    found: dict[str, float] = {}
    for view in VIEWS:
        prob = done.of_fields(view)
        found |= classification.interval(labels, prob, groups).named(f"field mAP, {view}")
        if len(often):
            name = f"field mAP of classes with {LEAST} fields or more, {view}"
            found[name] = classification.score(labels[:, often], prob[:, often]).mean_ap
    present = labels.any(0)
    return found | {"chance": float(labels[:, present].mean())}


def counts(done: CrossValidated) -> dict[str, int]:
    """What the numbers rest on."""
    labels = done.source.labels
    return {
        "fields": len(labels),
        "groups": len(set(distil.groups(done.source))),
        "folds": len(np.unique(done.fold)),
        "cells": sum(len(prediction.cells) for prediction in done.predictions),
        "classes": int(labels.any(0).sum()),
        f"classes with {LEAST} fields or more": int((labels.sum(0) >= LEAST).sum()),
    }


def write_split(path: Path, done: CrossValidated) -> None:
    """Group and fold of every field, as `splits.read_split` reads them."""
    splits.write_split(path, done.source.ids, distil.groups(done.source), done.fold)


def write_predictions(path: Path, done: CrossValidated) -> None:
    """Field, fold and the probabilities of the ensemble, a column for each class."""
    with files.replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "fold", *atlas.LOCATIONS])
        for id, fold, prob in zip(done.source.ids, done.fold.tolist(), done.of_fields("ensemble"), strict=True):
            rows.writerow([id, fold, *(f"{value:.4f}" for value in prob)])


def sections(done: CrossValidated, found: dict[str, float], kind: folders.Kind) -> list[page.Section]:
    """The page, from top to bottom."""
    title = PICTURE.format(kind=kind)
    return [
        page.Section("How well are fields told?", [numbers_table(found, kind), page.Text(NOTE)]),
        page.Section("Each class", [classes_table(done)]),
        page.Section("Cells", [page.Picture(picture(done), title, title)]),
    ]


PICTURE = "Cells of {kind} fields in the colour of their most probable class; the fields' own labels stand above"


def numbers_table(found: dict[str, float], kind: folders.Kind) -> page.Table:
    """Every view with its interval."""
    rows: list[list[str | float | None]] = []
    for view in VIEWS:
        name = f"field mAP, {view}"
        interval = f"{found[f'{name}, low (95%)']:.3f} to {found[f'{name}, high (95%)']:.3f}"
        frequent = found.get(f"field mAP of classes with {LEAST} fields or more, {view}")
        rows.append([view, found[name], interval, frequent])
    rows.append(["chance", found["chance"], None, None])
    return page.Table(
        ["by", "field mAP", "95% over groups", f"classes with {LEAST} fields or more"],
        rows,
        f"{kind.capitalize()} fields",
    )


def classes_table(done: CrossValidated) -> page.Table:
    """AP and chance of every class that some field shows, frequent ones first."""
    labels = done.source.labels
    columns = [classification.average_precision(labels, done.of_fields(view)) for view in VIEWS]
    rows: list[list[str | float | None]] = []
    for label in np.argsort(-labels.sum(0, dtype=np.int64), kind="stable"):
        if labels[:, label].any():
            ap = [float(column[label]) for column in columns]
            rows.append([atlas.LOCATIONS[label], int(labels[:, label].sum()), *ap, float(labels[:, label].mean())])
    return page.Table(["class", "fields", *VIEWS, "chance"], rows, "Average precision of fields; few fields say little")


def trusted(ensemble: Ensemble, done: CrossValidated, kind: folders.Kind) -> Ensemble:
    """The networks that learnt from all of the fields, each with a table of classes in its card: what networks of its
    kind said of the fields that they had not seen. `hpax label` shows it on its page.
    """
    caption = f"Networks that learnt from the other folds of the same {kind} fields; {len(done.source)} fields."
    fields, cells = [], []
    for model in ensemble.fields:
        fields.append(dataclasses.replace(model, network=_with_classes(model.network, done, "field", caption)))
    for classifier in ensemble.cells:
        cells.append(dataclasses.replace(classifier, network=_with_classes(classifier.network, done, "cells", caption)))
    return Ensemble(tuple(fields), tuple(cells))


def _with_classes(network: models.Network, done: CrossValidated, own: str, caption: str) -> models.Network:
    labels = done.source.labels
    alone, together = (classification.average_precision(labels, done.of_fields(view)) for view in (own, "ensemble"))
    rows = [["class", "fields", "chance", "AP, together", "AP, by itself", "trust"]]
    for label in np.argsort(-labels.sum(0, dtype=np.int64), kind="stable").tolist():
        fields, chance = int(labels[:, label].sum()), float(labels[:, label].mean())
        aps = [f"{ap[label]:.2f}" if fields else "–" for ap in (together, alone)]
        word = trust(fields, chance, float(together[label]))
        rows.append([atlas.LOCATIONS[label], str(fields), f"{chance:.2f}", *aps, word])
    return dataclasses.replace(network, card=models.with_table(network.card, "Classes", rows, caption))


def trust(fields: int, chance: float, ap: float) -> str:
    """A word for how far to trust a class, by the share of what chance leaves open that its average precision gains:
    good from two thirds, fair from a quarter, weak from a tenth; nothing is known of classes of few fields.
    """
    if fields < LEAST:
        return "too few fields to tell" if fields else "not known"
    gained = (ap - chance) / max(1 - chance, 1e-9)
    if gained < 0.1:
        return "do not trust"
    return "good" if gained >= 2 / 3 else "fair" if gained >= 0.25 else "weak"


def picture(done: CrossValidated) -> np.ndarray:
    """Fields evenly spread over the folder, cells in the colour of their label."""
    places = np.unique(np.linspace(0, len(done.source) - 1, SHOWN).astype(int)).tolist()
    shown, titles = [], []
    for place in places:
        field = done.source[place]
        names = [atlas.LOCATIONS[label] for label in np.flatnonzero(done.source.labels[place])]
        shown.append(labelled.labelled(field.image, field.found, done.predictions[place].cells, side=384))
        titles.append("; ".join(names)[:48])
    wide = max(each.shape[1] for each in shown)
    padded = [np.pad(each, ((0, 0), (0, wide - each.shape[1]), (0, 0))) for each in shown]
    half = -(-len(padded) // 2)
    sheets = []
    for start in range(0, len(padded), half):
        part = padded[start : start + half] + [np.zeros_like(padded[0])] * (start + half - len(padded))
        sheets.append(grids.grid([part], titles=(titles[start : start + half] + [""] * half)[:half]))
    return np.concatenate(sheets)


def label_folder(ensemble: Ensemble, source: FieldSource, workdir: Path, truth: Path | None) -> dict[str, float]:
    """Labels another folder's cells; leaves submission.csv and cells.h5ad, and scores them where a truth is given."""
    weak_report.submit(source, (ensemble.predict(field).cells for field in source), workdir)
    if truth is None:
        return {}
    return {"cell mAP of the test folder, 19 classes": weak_report.file_map(truth, workdir / submission.SUBMISSION)}
