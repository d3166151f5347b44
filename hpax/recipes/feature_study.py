"""Features of cells by every baseline, in every benchmark: what `experiments.benchmark_features` asks.

study = Study(cells, {"classic": describe, ...}, k=(1, 11), seed=0)
study.layers()  # neighbours, layer by layer
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
from jaxtyping import Bool, Float32

from hpax import data, progress
from hpax.features import benchmarks, handcrafted, tables
from hpax.features.benchmarks import Known, Score
from hpax.metrics import balanced_accuracy, field_neighbours, neighbours
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
        obsm = None if self.cells.all_labels is None else {"labels": self.cells.all_labels}
        batches = data.CellBatches(self.cells.everything, BATCH, prepare=lambda crops: crops)
        names = {"classic": handcrafted.names(self.cells.channels)}
        return tables.write(self.describers, batches, self.cells.obs(), paths, names=names, obsm=obsm)

    @functools.cached_property
    def sets(self) -> dict[str, Float32[np.ndarray, "n d"]]:
        """Title → features of the labelled cells: of every name, and of each of its layers where it has several."""
        found = {}
        for name, table in self.tables.items():
            for layer in tables.layers(table):
                features = tables.of_layer(table, layer)[self.labelled]
                found[tables.title(name, layer, tables.layers(table))] = features
        return found

    @functools.cached_property
    def nearest(self) -> dict[str, neighbours.Benchmark]:
        """Title → what neighbours tell for every k."""
        found = {}
        for name, features in progress.track(self.sets.items(), "neighbours", len(self.sets)):
            found[name] = benchmarks.neighbours_of(features, self.known, k=self.k)
        return found

    @functools.cached_property
    def layers(self) -> list[Score]:
        """Neighbours for every layer and k."""
        return benchmarks.scored(self.nearest, benchmarks.by_neighbours)

    @functools.cached_property
    def fields(self) -> dict[str, field_neighbours.FieldBenchmark]:
        """Title → what neighbours tell of whole fields, all cells; empty where no field shows several classes."""
        return tables.benchmark_fields(self.tables, k=self.k)

    @functools.cached_property
    def of_fields(self) -> list[Score]:
        """Neighbours of whole fields for every layer and k."""
        return benchmarks.scored(self.fields, benchmarks.by_fields)

    @functools.cached_property
    def best_of_fields(self) -> dict[str, str]:
        """As `best`, of whole fields; empty where these are not asked about."""
        return self._best(lambda title: self.fields[title].interval[self.best_by].value) if self.fields else {}

    @functools.cached_property
    def lead_of_fields(self) -> list[Score]:
        """As `lead`, of whole fields."""
        results = {best: self.fields[best] for best in self.best_of_fields.values()}
        return benchmarks.lead(results, self.best_by, benchmarks.by_fields)

    @functools.cached_property
    def best(self) -> dict[str, str]:
        """Name → the title of its layer whose neighbours tell most."""
        return self._best(lambda title: self.nearest[title].interval[self.best_by].value)

    def _best(self, score: Callable[[str], float]) -> dict[str, str]:
        """Name → the title of its layer that has the highest score."""
        best = {}
        for name, table in self.tables.items():
            titles = [tables.title(name, layer, tables.layers(table)) for layer in tables.layers(table)]
            best[name] = max(titles, key=score)
        return best

    @property
    def criterion(self) -> str:
        """The benchmark that the best layer is chosen by."""
        return benchmarks.KNN.format(self.best_by)

    @property
    def criterion_of_fields(self) -> str:
        """The same of whole fields."""
        return benchmarks.FIELDS.format(self.best_by)

    def classes(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Name → the classes, and the recall of each by neighbours of its best layer."""
        found = {}
        for name, best in self.best.items():
            result = self.nearest[best]
            found[name] = result.classes, result.recall[self.best_by]
        return found

    @functools.cached_property
    def lead(self) -> list[Score]:
        """How much more the neighbours of the best layer of all tell than each other set's, over the same resamples."""
        results = {best: self.nearest[best] for best in self.best.values()}
        return benchmarks.lead(results, self.best_by, benchmarks.by_neighbours)

    def learnt(self, *, trees: int) -> list[Score]:
        """Classifiers on the best layers."""
        found = []
        for name, best in progress.track(self.best.items(), "classifiers", len(self.best)):
            found += benchmarks.learnt(name, self.sets[best], self.known, trees=trees, seed=self.seed)
        return found

    def distances(self) -> list[Score]:
        """Pairwise distances of every layer."""
        found = []
        for name, features in progress.track(self.sets.items(), "pairwise distances", len(self.sets)):
            found += benchmarks.far(name, features, self.known, seed=self.seed)
        return found

    def efficiency(self) -> list[Score]:
        """A linear classifier of the best layers by a share of the training proteins' labels; none where none is held.

        The cells whose labels are known are drawn anew, at least one of each class; scores are means over draws.
        """
        if not self.cells.held_out:
            return []
        found = []
        for name, best in progress.track(self.best.items(), "few labels", len(self.best)):
            for share in SHARES:
                found.append(self._efficient(name, self.sets[best], share))
        return found

    def robustness(self) -> list[Score]:
        """Neighbours of the best layers, of cells asked about that a microscope spoilt; and of other cell lines.

        The cells that vote are not spoilt. Neighbours of other cell lines are of other groups as well.
        """
        found = []
        for what, corrupt in progress.track(CORRUPTIONS.items(), "spoilt images", len(CORRUPTIONS)):
            for name, spoilt in self._spoilt(corrupt).items():
                clean = self.sets[self.best[name]]
                scores = benchmarks.nearest(name, clean, self.known, k=self.best_by, asked=spoilt)
                found += self._renamed(scores, what)
        lines = self.known.lines
        if lines is not None and len(np.unique(lines)) > 1:
            for name, best in self.best.items():
                scores = benchmarks.nearest(name, self.sets[best], self.known, k=self.best_by, also=lines)
                found += self._renamed(scores, "another cell line")
        return found

    def _spoilt(self, corrupt: Callable[[np.ndarray], np.ndarray]) -> dict[str, Float32[np.ndarray, "q d"]]:
        """Name → features of its best layer of the cells asked about, corrupted; each batch of crops is read once."""
        layers = {name: self._layer(name) for name in self.describers}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.describers}
        for crops in self._crops(np.flatnonzero(self.labelled)[self.known.query]):
            spoilt = corrupt(crops)
            for name, describe in self.describers.items():
                parts[name].append(np.asarray(describe(spoilt)[layers[name]], np.float32))
        return {name: np.concatenate(each) for name, each in parts.items()}

    def _renamed(self, scores: Sequence[Score], benchmark: str) -> list[Score]:
        return [dataclasses.replace(score, benchmark=benchmark) for score in scores]

    def _layer(self, name: str) -> str:
        layers = tables.layers(self.tables[name])
        return next(layer for layer in layers if tables.title(name, layer, layers) == self.best[name])

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


def best(study: Study) -> dict[str, float]:
    """ "best NAME" → balanced accuracy of its best layer, and the ends of its interval."""
    by_title = {score.features: score.interval for score in study.layers if score.benchmark == study.criterion}
    found: dict[str, float] = {}
    for name, title in study.best.items():
        found |= by_title[title].named(f"best {name}")
    return found


def ahead(study: Study) -> dict[str, float]:
    """ "ahead of NAME" → how much more the best layer of all tells than the best of that set, and the interval's ends.

    Over the same resamples of proteins or fields, so that intervals that overlap may still leave one ahead.
    """
    return _ahead("ahead of", study.lead, study.best)


def of_fields(study: Study) -> dict[str, float]:
    """ "fields, best NAME", and how far the best set of all is ahead, of fields of several classes; chance, too."""
    found: dict[str, float] = {}
    for name, title in study.best_of_fields.items():
        result = study.fields[title]
        found |= result.interval[study.best_by].named(f"fields, best {name}")
        found["fields, chance"] = result.chance[study.best_by]
    return found | _ahead("fields, ahead of", study.lead_of_fields, study.best_of_fields)


def _ahead(name: str, lead: Sequence[Score], best: Mapping[str, str]) -> dict[str, float]:
    name_of = {title: each for each, title in best.items()}
    found: dict[str, float] = {}
    for score in lead:
        _, _, other = score.features.partition(" minus ")
        found |= score.interval.named(f"{name} {name_of[other]}")
    return found


def _drawn(rng: np.random.Generator, pool: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """That share of each class, at least one cell."""
    chosen = []
    for name in np.unique(labels):
        own = rng.permutation(pool[labels == name])
        chosen.append(own[: max(1, round(share * len(own)))])
    return np.concatenate(chosen)
