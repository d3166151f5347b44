"""What a classifier that learns from features tells of cells that it has not seen, cross-validated (Lu et al. 2019).

Protocol of Supplementary Table 2: an L1-penalised logistic regression and a random forest of 500 trees that each split
on the best of a fifth of the features, both with balanced classes, five folds. Folds hold whole groups (proteins, or
fields), which the published ones do not.
"""

import dataclasses
import warnings
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from hpax import ahead
from hpax.metrics import balanced_accuracy
from hpax.metrics.bootstrap import Interval

Kind = Literal["logistic", "forest"]

LARGE = 100_000  # numbers to learn from, above which processes are worth their start


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How well a classifier tells the class of a cell, and what that rests on."""

    interval: Interval  # balanced accuracy over all folds, and its spread over resamples of groups
    by_fold: tuple[float, ...]  # balanced accuracy of each fold; its mean is what is published
    folds: int  # that were learnt for
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
        folds: fewer where there are fewer groups, or fewer cells of every class; a class of fewer groups than folds is
            in some folds only.
        trees: of the forest.
        strength: inverse of the regression's penalty; scikit-learn's default, as published.
        query: the cells that are scored; all are learnt from. None scores all.
        seed: of the folds and the forest.

    Raises:
        ValueError: lengths differ, a feature is not finite, or fewer than two classes occur in two groups.
    """
    cells = np.asarray(features, np.float64)
    names, own_group = np.asarray(labels).astype(str), np.asarray(groups)
    asked = np.ones(len(names), bool) if query is None else np.asarray(query, bool)
    _check(cells, names, own_group, asked)
    single, kept = _in_two_groups(names, own_group)
    cells, names, own_group, asked = cells[kept], names[kept], own_group[kept], asked[kept]
    classes, codes = np.unique(names, return_inverse=True)  # numbers, as a forest misreads classes named by digits
    told, fold_of, unconverged = np.zeros(len(codes), int), np.zeros(len(codes), int), 0
    sides = _folds(codes, own_group, folds, seed)
    for fold, (learnt, left) in enumerate(sides):
        processes = ahead.cores() if cells[learnt].size > LARGE else 1
        model = classifier(kind, trees=trees, strength=strength, seed=seed, processes=processes)
        unconverged += fit(model, cells[learnt], codes[learnt])
        told[left], fold_of[left] = model.predict(cells[left]), fold
    by_fold = []
    for fold in np.unique(fold_of[asked]):
        rows = asked & (fold_of == fold)
        by_fold.append(balanced_accuracy.score(codes[rows], told[rows]))
    scored, counts = np.unique(codes[asked], return_counts=True)
    return Benchmark(
        interval=balanced_accuracy.interval(codes[asked], told[asked], own_group[asked], seed=seed),
        by_fold=tuple(by_fold),
        folds=len(sides),
        classes=tuple(classes[scored].tolist()),
        counts=tuple(counts.tolist()),
        groups=len(np.unique(own_group[asked])),
        single_group_classes=tuple(single),
        unconverged=unconverged,
    )


def _folds(
    codes: np.ndarray, groups: np.ndarray, count: int, seed: int
) -> list[tuple[Int[np.ndarray, " l"], Int[np.ndarray, " a"]]]:
    """Cells to learn from and cells to ask about; every group whole, every class as evenly as groups allow."""
    from sklearn.model_selection import StratifiedGroupKFold  # here, as it is slow to import

    most = min(count, len(np.unique(groups)), int(np.bincount(codes).max()))  # scikit-learn asks for the last
    splits = StratifiedGroupKFold(most, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # a rare one is in few folds
        sides = list(splits.split(codes, codes, groups))
    return [(learnt, asked) for learnt, asked in sides if len(asked)]


def classifier(kind: Kind, *, trees: int = 500, strength: float = 1.0, seed: int = 0, processes: int = 1) -> Any:
    """A scikit-learn classifier, not fitted: features standardised, then the one of that kind.

    Regressions of different classes are fitted by so many processes (liblinear draws from one state for all threads).
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "forest":
        forest = RandomForestClassifier(
            trees, max_features=0.2, class_weight="balanced", random_state=seed, n_jobs=ahead.cores()
        )
        return make_pipeline(StandardScaler(), forest)
    regression = LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", class_weight="balanced", random_state=seed
    )
    return make_pipeline(StandardScaler(), OneVsRestClassifier(regression, n_jobs=processes))


def fit(model: Any, features: Float[np.ndarray, "n c"], labels: Shaped[np.ndarray, " n"]) -> int:
    """Fits a classifier; how many of its regressions did not converge."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.multiclass import OneVsRestClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # they are counted; processes do not pass warnings on
        model.fit(features, labels)
    last = model[-1]
    if not isinstance(last, OneVsRestClassifier):
        return 0
    return sum(int(np.max(one.n_iter_) >= one.max_iter) for one in last.estimators_)


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
