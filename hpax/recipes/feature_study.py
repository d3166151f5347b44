"""Features of cells by every baseline, in every benchmark: what `experiments.benchmark_features` asks.

study = Study(cells, {"classic": describe, ...}, k=(1, 11), seed=0)
study.layers()  # neighbours, layer by layer
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
from jaxtyping import Bool, Float32

from hpax import data
from hpax.features import benchmarks, tables
from hpax.features.benchmarks import Known, Score
from hpax.metrics import balanced_accuracy, neighbours
from hpax.ops.corruptions import CORRUPTIONS
from hpax.recipes.baselines import Describe
from hpax.recipes.cells import BATCH, Cells

SHARES = (0.01, 0.05, 0.1, 1.0)
"""Of the labels, for label efficiency."""

DRAWS = 5  # of each share of the labels below all


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Cells, what describes them, and where tables of their features are left."""

    cells: Cells
    describers: Mapping[str, Describe]
    workdir: Path
    k: tuple[int, ...]
    best_by: int  # the k by which the best layer is chosen, on the cells asked about, as published
    seed: int

    @functools.cached_property
    def known(self) -> Known:
        """What is known of the cells that have a class."""
        return Known.of(self.cells.obs()[self.labelled], protocol=self.cells.protocol)

    @functools.cached_property
    def labelled(self) -> Bool[np.ndarray, " n"]:
        """The cells that have a class."""
        return self.cells.labels != ""

    @functools.cached_property
    def tables(self) -> dict[str, anndata.AnnData]:
        """Name → its features of all cells, left in {name}.h5ad."""
        paths = {name: self.workdir / f"{name.replace(' ', '_')}.h5ad" for name in self.describers}
        source = self.cells.everything
        obsm = {"labels": source.labels} if "labels" in source.info.features else None
        batches = data.CellBatches(source, BATCH, prepare=lambda crops: crops)
        return tables.write(self.describers, batches, self.cells.obs(), paths, obsm=obsm)

    @functools.cached_property
    def sets(self) -> dict[str, Float32[np.ndarray, "n d"]]:
        """Title → features of the labelled cells: of every name, and of each of its layers where it has several."""
        found = {}
        for name, table in self.tables.items():
            for layer in tables.layers(table):
                features = tables.of_layer(table, layer)[self.labelled]
                found[title(name, layer, tables.layers(table))] = features
        return found

    @functools.cached_property
    def layers(self) -> list[Score]:
        """Neighbours for every layer and k."""
        found = []
        for name, features in self.sets.items():
            found += benchmarks.nearest(name, features, self.known, k=self.k)
        return found

    @functools.cached_property
    def best(self) -> dict[str, str]:
        """Name → the title of its layer whose neighbours tell most."""
        score = {each.features: each.interval.value for each in self.layers if each.benchmark == self.criterion}
        best = {}
        for name, table in self.tables.items():
            titles = [title(name, layer, tables.layers(table)) for layer in tables.layers(table)]
            best[name] = max(titles, key=lambda each: score[each])
        return best

    @property
    def criterion(self) -> str:
        """The benchmark that the best layer is chosen by."""
        return benchmarks.KNN.format(self.best_by)

    def classes(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Name → the classes, and the recall of each by neighbours of its best layer."""
        found = {}
        for name, best in self.best.items():
            known = self.known
            result = neighbours.benchmark(
                self.sets[best],
                known.labels,
                known.groups,
                k=self.best_by,
                query=known.query,
                drop_single_group_classes=True,
                resamples=1,
            )
            found[name] = result.classes, result.recall[self.best_by]
        return found

    def learnt(self, *, trees: int) -> list[Score]:
        """Classifiers on the best layers."""
        found = []
        for name, best in self.best.items():
            found += benchmarks.learnt(name, self.sets[best], self.known, trees=trees, seed=self.seed)
        return found

    def distances(self) -> list[Score]:
        """Pairwise distances of every layer."""
        found = []
        for name, features in self.sets.items():
            found += benchmarks.far(name, features, self.known, seed=self.seed)
        return found

    def efficiency(self) -> list[Score]:
        """A linear classifier of the best layers by a share of the training proteins' labels; none where none is held.

        The cells whose labels are known are drawn anew, at least one of each class; scores are means over draws.
        """
        if not self.cells.held_out:
            return []
        found = []
        for name, best in self.best.items():
            for share in SHARES:
                found.append(self._efficient(name, self.sets[best], share))
        return found

    def robustness(self) -> list[Score]:
        """Neighbours of the best layers, of cells asked about that a microscope spoilt; and of other cell lines."""
        found = []
        for what, corrupt in CORRUPTIONS.items():
            for name, describe in self.describers.items():
                layer, features = self._layer(name), self.sets[self.best[name]].copy()
                rows = np.flatnonzero(self.labelled)[self.known.query]
                features[self.known.query] = np.concatenate(
                    [np.asarray(describe(corrupt(crops))[layer], np.float32) for crops in self._crops(rows)]
                )
                found += self._renamed(benchmarks.nearest(name, features, self.known, k=self.best_by), what)
        lines = self.known.lines
        if lines is not None and len(np.unique(lines)) > 1:
            known = dataclasses.replace(self.known, groups=lines)
            for name, best in self.best.items():
                scores = benchmarks.nearest(name, self.sets[best], known, k=self.best_by)
                found += self._renamed(scores, "another cell line")
        return found

    def _renamed(self, scores: Sequence[Score], benchmark: str) -> list[Score]:
        return [dataclasses.replace(score, benchmark=benchmark) for score in scores]

    def _layer(self, name: str) -> str:
        layers = tables.layers(self.tables[name])
        return next(layer for layer in layers if title(name, layer, layers) == self.best[name])

    def _crops(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for part in np.split(rows, range(BATCH, len(rows), BATCH)):
            yield np.stack([cell["image"] for cell in self.cells.everything.__getitems__(part.tolist())])

    def _efficient(self, name: str, features: Float32[np.ndarray, "n d"], share: float) -> Score:
        from sklearn.linear_model import RidgeClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known, rng = self.known, np.random.default_rng(self.seed)
        classes = np.intersect1d(known.labels[known.query], known.labels[~known.query])
        asked = known.query & np.isin(known.labels, classes)
        pool = np.flatnonzero(~known.query & np.isin(known.labels, classes))
        spreads = []
        for _ in range(1 if share == 1 else DRAWS):
            chosen = _drawn(rng, pool, known.labels[pool], share)
            model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0, class_weight="balanced"))
            told = model.fit(features[chosen], known.labels[chosen]).predict(features[asked])
            spreads.append(balanced_accuracy.interval(known.labels[asked], told, known.groups[asked], seed=self.seed))
        mean = {part: float(np.mean([getattr(each, part) for each in spreads])) for part in ("value", "low", "high")}
        return Score(
            features=name,
            benchmark=f"linear, {share:.0%} of labels",
            interval=dataclasses.replace(spreads[0], **mean),
            chance=1 / len(classes),
            cells=int(asked.sum()),
            groups=len(np.unique(known.groups[asked])),
            classes=len(classes),
        )


def title(name: str, layer: str, layers: Sequence[str]) -> str:
    """What a layer of a set of features is called: by the set alone where it has no other."""
    return name if len(layers) == 1 else f"{name} {layer}"


def _drawn(rng: np.random.Generator, pool: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """That share of each class, at least one cell."""
    chosen = []
    for name in np.unique(labels):
        own = rng.permutation(pool[labels == name])
        chosen.append(own[: max(1, round(share * len(own)))])
    return np.concatenate(chosen)
