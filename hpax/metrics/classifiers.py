"""What a classifier that learns from features tells of cells that it has not seen, cross-validated (Lu et al. 2019).

Protocol of Supplementary Table 2: an L1-penalised logistic regression and a random forest of 500 trees that each split
on the best of a fifth of the features, both with balanced classes, five folds. Folds hold whole groups (proteins, or
fields), which the published ones do not.
"""

import dataclasses
import warnings
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import ArrayLike

from hpax.metrics import balanced_accuracy
from hpax.metrics.bootstrap import Interval

Kind = Literal["logistic", "forest"]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How well a classifier tells the class of a cell, and what that rests on."""

    interval: Interval  # balanced accuracy over all folds, and its spread over resamples of groups
    by_fold: tuple[float, ...]  # balanced accuracy of each fold; its mean is what is published
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # cells of each class
    groups: int
    single_group_classes: tuple[str, ...]  # left out: they cannot be learnt from one group and told in another
    unconverged: int  # fits that stopped before they converged

    @property
    def balanced_accuracy(self) -> float:
        """Over all folds together."""
        return self.interval.value


def benchmark(
    features: Float[np.ndarray, "n c"],
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    kind: Kind = "logistic",
    folds: int = 5,
    trees: int = 500,
    strength: float = 1.0,
    query: ArrayLike | None = None,
    seed: int = 0,
) -> Benchmark:
    """Tells each cell's class by a classifier that learnt from the cells of other groups.

    Args:
        features: one row per cell, finite; standardised by what a classifier learns from.
        labels: the class of each cell. Classes of a single group are left out.
        groups: what a fold holds whole, such as the protein or the field.
        kind: an L1-penalised logistic regression of each class, or a random forest.
        folds: fewer where a class has fewer groups.
        trees: of the forest.
        strength: inverse of the regression's penalty; scikit-learn's default, as published.
        query: the cells that are scored; all are learnt from. None scores all.
        seed: of the folds and the forest.

    Raises:
        ValueError: lengths differ, a feature is not finite, or fewer than two classes occur in two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    features, labels, groups = np.asarray(features, np.float64), np.asarray(labels).astype(str), np.asarray(groups)
    query = np.ones(len(labels), bool) if query is None else np.asarray(query, bool)
    _check(features, labels, groups, query)
    single, kept = _in_two_groups(labels, groups)
    features, labels, groups, query = features[kept], labels[kept], groups[kept], query[kept]
    classes, codes = np.unique(labels, return_inverse=True)  # numbers, as a forest misreads classes named by digits
    told, own, unconverged = np.zeros(len(labels), int), np.zeros(len(labels), int), 0
    splits = StratifiedGroupKFold(min(folds, len(np.unique(groups))), shuffle=True, random_state=seed)
    for fold, (learnt, left) in enumerate(splits.split(features, codes, groups)):
        model = classifier(kind, trees=trees, strength=strength, seed=seed)
        unconverged += fit(model, features[learnt], codes[learnt])
        told[left], own[left] = model.predict(features[left]), fold
    folds_asked = np.unique(own[query])
    scores = [balanced_accuracy.score(codes[query & (own == f)], told[query & (own == f)]) for f in folds_asked]
    asked, counts = np.unique(codes[query], return_counts=True)
    return Benchmark(
        interval=balanced_accuracy.interval(codes[query], told[query], groups[query], seed=seed),
        by_fold=tuple(scores),
        classes=tuple(classes[asked].tolist()),
        counts=tuple(counts.tolist()),
        groups=len(np.unique(groups[query])),
        single_group_classes=tuple(single),
        unconverged=unconverged,
    )


def classifier(kind: Kind, *, trees: int = 500, strength: float = 1.0, seed: int = 0) -> Any:
    """A scikit-learn classifier, not fitted: features standardised, then the one of that kind."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "forest":
        forest = RandomForestClassifier(trees, max_features=0.2, class_weight="balanced", random_state=seed)
        return make_pipeline(StandardScaler(), forest)
    regression = LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", class_weight="balanced", random_state=seed
    )
    return make_pipeline(StandardScaler(), OneVsRestClassifier(regression))


def fit(model: Any, features: Float[np.ndarray, "n c"], labels: Shaped[np.ndarray, " n"]) -> int:
    """Fits a classifier; how many of its parts did not converge."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, labels)
    return sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _in_two_groups(labels: np.ndarray, groups: np.ndarray) -> tuple[list[str], Bool[np.ndarray, " n"]]:
    """The classes of a single group, and the cells of all others."""
    single = [str(name) for name in np.unique(labels) if len(np.unique(groups[labels == name])) < 2]
    kept = ~np.isin(labels, single)
    if len(np.unique(labels[kept])) < 2:
        raise ValueError(
            f"two classes must occur in two groups each, {len(np.unique(labels[kept]))} do; give more cells"
        )
    return single, kept


def _check(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, query: np.ndarray) -> None:
    if len(sizes := {len(features), len(labels), len(groups), len(query)}) > 1:
        raise ValueError(f"features, labels, groups and query must be of the same cells, got lengths {sorted(sizes)}")
    if not np.isfinite(features).all():
        row = np.flatnonzero(~np.isfinite(features).all(1))[0]
        raise ValueError(f"features must be finite, those of row {row} are not; leave such cells out")
    if not query.any():
        raise ValueError("at least one cell must be asked about, got none; leave query out to ask for all")
