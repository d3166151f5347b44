"""What each way of combining weakly supervised models is worth on cells whose truth is known (the simulated atlas)."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hpax.data import FieldSource, mask_sources
from hpax.data.mask_sources import MaskSource
from hpax.metrics import classification, detection
from hpax.models import CellClassifier, Ensemble
from hpax.predict import combine
from hpax.predict.strategies import Opinions, pooled, strategies, variants
from hpax.recipes import classify, scoring, weak_labels
from hpax.recipes.datasets import Split
from hpax.recipes.weak_labels import Shelf
from hpax.segment import borders

RARE = 6  # classes of the fewest training fields
GAPS = {
    "field copied": ("field copied", "ensemble", "ensemble, ceiling"),
    "labels copied": ("labels copied", "labels × cell", "labels × ceiling"),
    "labels copied, with distilled": ("labels copied", "labels × cell with distilled", "labels × ceiling"),
}
"""What is the same for all cells of a field, what weak labels make of it, and what true labels of cells would."""

COMPARED = ("field copied", "ensemble", "ensemble, ceiling", "labels copied", "labels × cell", "labels × ceiling")
CALIBRATED = ("field copied", "cell", "ensemble", "ceiling")
VARIATION = {"all cells agree": (-1.0, 0.0), "up to half differ": (0.0, 0.5), "most differ": (0.5, 1.0)}
"""Kinds of fields → more than the first and at most the second share of cells that differ from their field."""

Predictions = dict[str, list[Float[np.ndarray, "_ n"]]]
"""Strategy → of each test field the probabilities of its cells, whose number differs from field to field."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """The models whose answers are combined."""

    ensemble: Ensemble
    ceiling: CellClassifier | None  # learnt from what each cell truly shows
    distilled: CellClassifier | None


def train_all(config: weak_labels.Config, split: Split, shelf: Shelf, *, ceiling: bool) -> Trained:
    """Everything that a study asks, each network once."""
    ensemble = weak_labels.train_ensemble(config, split.training, split.validation, shelf)
    best, student = None, None
    if ceiling:
        true = dataclasses.replace(config.cell, labels="cells")
        best = shelf.cell(true, split.training, split.validation, role="ceiling")
    if config.folds:
        student = weak_labels.train_distilled(config, split.training, split.validation, shelf)
    return Trained(ensemble, best, student)


def predict_all(trained: Trained, test: FieldSource) -> Predictions:
    """What every strategy says of the cells of each test field."""
    opinions, labels = list(weak_labels.opinions(trained.ensemble, test)), test.labels
    found: Predictions = {}
    for own, row in zip(opinions, labels, strict=True):
        for name, prob in strategies(own, row).items():
            found.setdefault(name, []).append(prob)
    found["ensemble, border weights"] = _weighted(test, found["ensemble"])
    if trained.distilled is not None:
        student = [trained.distilled.predict(field) for field in test]
        mean = [(own.cells + prob) / 2 for own, prob in zip(opinions, student, strict=True)]
        found |= variants("distilled", student, opinions, labels)
        found |= variants("cell with distilled", mean, opinions, labels)
    if trained.ceiling is not None:
        best = [trained.ceiling.predict(field) for field in test]
        found |= variants("ceiling", best, opinions, labels)
        found["ceiling, pooled + cell"] = _pooled(best, opinions)
    return found


def _weighted(test: FieldSource, ensemble: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The winners' weights of cells, by their size and whether the border cuts them."""
    found = []
    for field, prob in zip(test, ensemble, strict=True):
        weights = borders.weights(borders.cell_properties(field.found, field.um_per_pixel))
        found.append(combine.weighted(prob, weights))
    return found


def _pooled(best: Sequence[np.ndarray], opinions: Sequence[Opinions]) -> list[np.ndarray]:
    return [combine.weighted_mean(pooled(prob, own.field), prob) for own, prob in zip(opinions, best, strict=True)]


@dataclasses.dataclass(frozen=True)
class Study:
    """What was said of the test cells by each strategy, and what it is worth."""

    split: Split
    predictions: Predictions
    scores: dict[str, detection.Scores]

    def mean(self, strategy: str) -> float:
        """mAP of the classes with truth."""
        return self.scores[strategy].mean("present")

    @functools.cached_property
    def truth(self) -> Float[np.ndarray, "k n"]:
        """What each test cell truly shows."""
        return np.concatenate(list(classify.true_labels(self.split.test).values()))

    @functools.cached_property
    def variation(self) -> Float[np.ndarray, " f"]:
        """Of each test field the share of cells that do not show just what the field does."""
        shares = []
        for field, labels in zip(self.split.test, self.split.test.labels, strict=True):
            assert field.cell_labels is not None
            shares.append((field.cell_labels != labels).any(1).mean())
        return np.array(shares)

    def there(self, names: Sequence[str]) -> list[str]:
        """Those of the strategies that were taken."""
        return [name for name in names if name in self.predictions]

    def rarest(self) -> np.ndarray:
        """The classes, that with the fewest training fields first."""
        return np.argsort(self.split.training.labels.sum(0), kind="stable")

    def rare(self, strategy: str) -> float:
        """mAP of the classes with the fewest training fields."""
        return float(np.nanmean(self.scores[strategy].ap[0][self.rarest()[:RARE]]))


def study(split: Split, predictions: Predictions) -> Study:
    """Every strategy, scored."""
    scores = {name: scoring.score_cells(split.test, prob) for name, prob in predictions.items()}
    return Study(split, predictions, scores)


def with_masks(split: Split, masks: MaskSource = mask_sources.ground_truth) -> Split:
    """The same test fields with other masks, the true ones by default."""
    return split._replace(test=split.test.with_masks(masks))


def gap_closed(done: Study) -> dict[str, float]:
    """How much of what true labels of cells are worth weak labels reach; NaN where these are worth nothing."""
    found = {}
    for name, names in GAPS.items():
        if done.there(names) == list(names):
            start, reached, end = map(done.mean, names)
            found[f"gap closed, {name}"] = (reached - start) / (end - start) if end > start else np.nan
    return found


def of_rare_classes(done: Study) -> dict[str, float]:
    """mAP where examples are few."""
    return {f"mAP of the {RARE} rarest classes, {name}": done.rare(name) for name in done.there(COMPARED)}


def of_variation(done: Study) -> dict[str, float]:
    """mAP of fields by how many of their cells differ from the field."""
    found = {}
    for kind, (low, high) in VARIATION.items():
        own = np.flatnonzero((done.variation > low) & (done.variation <= high)).tolist()
        for name in done.there(COMPARED):
            prob = [done.predictions[name][place] for place in own]
            score = scoring.score_cells(done.split.test.part(own), prob)
            found[f"mAP of fields where {kind}, {name}"] = score.mean("present")
    return found


def of_calibration(done: Study) -> dict[str, float]:
    """How far probabilities are from frequencies, the mean over classes."""
    found = {}
    for name in done.there(CALIBRATED):
        score = classification.score(done.truth, np.concatenate(done.predictions[name]))
        found[f"calibration error, {name}"] = score.mean_error
    return found
