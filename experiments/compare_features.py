"""Anyone's features beside ours: tables of the same cells, matched by id, in every benchmark with intervals.

`python -m experiments.compare_features --h5ad mine.h5ad subcell.csv --against features.h5ad` asks every set of features
(of a table with `var["layer"]`, each layer) how well neighbours, an L1-penalised logistic regression and a random
forest tell the classes of cells of other proteins, and how near images of one class lie. Classes, proteins, fields and
cell lines come from the table after `--against`. Where that has all labels of cells' fields, in `obsm["labels"]`, the
fields are ranked by each of their classes. Intervals are of resamples of proteins (or fields), drawn whole.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hpax import launch

if TYPE_CHECKING:
    import pandas as pd

    from hpax.features.benchmarks import Score
    from hpax.formats.feature_tables import FeatureTable
    from hpax.metrics.field_neighbours import FieldBenchmark
    from hpax.metrics.neighbours import Benchmark


@dataclasses.dataclass(frozen=True)
class Config:
    """Which tables, and how they are asked."""

    h5ad: tuple[Path, ...] = ()  # tables of features, .h5ad or .csv, the cells' ids first
    against: Path = Path("features.h5ad")  # the table whose obs says what is known of cells; its features are asked too
    label: str = "label"  # the column of classes; cells without one are left out
    protocol: str = "protein"  # the column that is left out together, as strict as can be: "field" where few proteins
    missing: Literal["error", "drop"] = "error"  # cells that a table lacks: name them, or compare those that all have
    k: tuple[int, ...] = (1, 5, 11, 25, 50)  # neighbours
    classifiers: bool = True  # minutes on thousands of cells
    trees: int = 500  # of the forest
    data: Literal["real", "simulated"] = "real"  # what the cells are; for the record
    seed: int = 0  # of folds, forests and draws


SWEEPS: dict[str, Sequence[launch.Difference]] = {}


def run(config: Config, workdir: Path) -> launch.Result:
    """Matches the tables, asks every set of features, leaves scores.csv and the page."""
    from hpax.features import benchmarks
    from hpax.formats import feature_tables

    names = distinct([config.against, *config.h5ad])
    with launch.opening():
        reference, *others = (feature_tables.read(path) for path in (config.against, *config.h5ad))
    tables = dict(zip(names, [reference, *others], strict=True))
    obs = matched(config, reference, others)
    known = benchmarks.Known.of(obs, protocol=config.protocol, label=config.label)
    by_table = named(obs.index, tables)
    sets = {title: features for of_table in by_table.values() for title, features in of_table.items()}
    with launch.opening():
        benchmarks.check_names(list(sets), max(config.k))
    nearest = {name: benchmarks.neighbours_of(features, known, k=config.k) for name, features in sets.items()}
    ranked = ranked_fields(config, tables)
    kinds = tuple(benchmarks.CLASSIFIERS) if config.classifiers else ()
    k = config.k[min(2, len(config.k) - 1)]
    scores = Scores(
        of_cells=benchmarks.scores(sets, known, nearest, kinds=kinds, trees=config.trees, seed=config.seed),
        lead=benchmarks.lead(nearest, k, benchmarks.by_neighbours),
        of_fields=benchmarks.scored(ranked, benchmarks.by_fields),
        lead_of_fields=benchmarks.lead(ranked, k, benchmarks.by_fields),
    )
    benchmarks.frame(scores.everything).to_csv(workdir / "scores.csv", index=False)
    write_page(config, scores, workdir / "index.html")
    first = scores.of_cells[0]
    counts = {"cells": first.cells, "groups": first.groups, "classes": first.classes}
    counts["left out"] = len(reference.ids) - len(obs)
    asked = {benchmarks.KNN.format(k): best_titles(by_table, nearest, k)}
    if ranked:
        asked[benchmarks.FIELDS.format(k)] = best_titles(by_table, ranked, k)
        counts |= next(iter(ranked.values())).counts
    metrics = benchmarks.metrics(scores.everything, spread_of=tuple(asked))
    return launch.Result(metrics=metrics, counts=counts, data=config.data, headline=headline(metrics, asked))


@dataclasses.dataclass(frozen=True)
class Scores:
    """What was asked of all sets, and how far the best one is ahead of each other."""

    of_cells: "Sequence[Score]"
    lead: "Sequence[Score]"
    of_fields: "Sequence[Score]"  # empty where fields do not show several classes
    lead_of_fields: "Sequence[Score]"

    @property
    def everything(self) -> "list[Score]":
        """All of them in order."""
        return [*self.of_cells, *self.of_fields, *self.lead, *self.lead_of_fields]


def write_page(config: Config, scores: Scores, path: Path) -> None:
    """A table of every benchmark, and one of what is ahead beyond its interval, of cells and of fields."""
    from hpax.explore import page
    from hpax.features import benchmarks

    first, sections = scores.of_cells[0], []
    about = (
        f"{first.cells} {config.data} cells of {first.classes} classes; a cell's class is told from cells of another "
        f"{config.protocol} only, {first.groups} in all"
    )
    parts = {"": (scores.of_cells, about)}
    if scores.of_fields:
        field = scores.of_fields[0]
        ranked = f"{field.groups} fields ranked by {field.classes} classes, {field.cells} cells"
        parts["Fields of several classes"] = (scores.of_fields, ranked)
    for title, (found, on) in parts.items():
        sections.append(page.Section(title, [page.Table(*benchmarks.table(found), f"Value [95% interval]; {on}.")]))
    leads = {"The best set": scores.lead, "Fields: the best set": scores.lead_of_fields}
    for title, found in leads.items():
        rows = [[score.features, benchmarks.written(score.interval)] for score in found]
        if rows:
            differences = page.Table(["difference", found[0].benchmark], rows, "Difference [95% interval]")
            sections.append(page.Section(f"{title} minus each other, over the same resamples", [differences]))
    page.write(path, page.page("Features compared", about, sections))


def best_titles(
    by_table: "Mapping[str, Mapping[str, np.ndarray]]", results: "Mapping[str, Benchmark | FieldBenchmark]", k: int
) -> list[str]:
    """Of every table the layer whose neighbours tell most."""
    return [max(titles, key=lambda title: results[title].interval[k].value) for titles in by_table.values()]


def headline(metrics: Mapping[str, float], asked: Mapping[str, Sequence[str]]) -> list[str]:
    """Benchmark → the best layers: what neighbours of all layers tell, and leads over the best layers alone."""
    shown = []
    for benchmark, best in asked.items():
        for name in metrics:
            features, there, _ = name.partition(f", {benchmark}")
            _, minus, other = features.partition(" minus ")
            if there and (not minus or other in best):
                shown.append(name)
    return shown


def ranked_fields(config: Config, tables: "Mapping[str, FeatureTable]") -> "dict[str, FieldBenchmark]":
    """Every set → what neighbours tell of fields that show several classes, by the cells that all tables have.

    Empty where the reference, the first table, does not know all labels of its cells' fields.
    """
    from hpax.features import benchmarks

    reference = next(iter(tables.values()))
    shared = np.ones(len(reference.ids), bool)
    for table in tables.values():
        shared &= reference.ids.isin(table.ids)
    labels = None if reference.labels is None else reference.labels[shared]
    known = benchmarks.FieldLabels.of(reference.obs[shared], labels)
    sets: dict[str, np.ndarray] = {}
    for of_table in named(reference.ids[shared], tables).values():
        sets |= of_table
    found = benchmarks.fields_of(sets, known, k=config.k)
    if not found:
        wanted = '0/1 labels of fields of several classes in obsm["labels"]'
        print(f"note: fields are not ranked, as {reference.name} has no {wanted}, or too few fields show one")
    return found


def matched(config: Config, reference: "FeatureTable", others: "Sequence[FeatureTable]") -> "pd.DataFrame":
    """What is known of the cells that are compared: those with a class, which all tables have.

    Raises:
        LaunchError: a column is missing, a table lacks cells that the reference has, or every class is of one group.
    """
    from hpax.features import benchmarks

    obs = reference.obs
    if lacking := [name for name in (config.label, config.protocol) if name not in obs]:
        raise launch.LaunchError(
            f"{config.against} must have the columns {config.label} and {config.protocol} in obs, it lacks "
            f"{', '.join(lacking)}; it has {', '.join(obs.columns)}: choose with --label and --protocol"
        )
    obs = obs[benchmarks.text(obs, config.label) != ""]
    for table in others:
        if config.missing == "drop":
            obs = obs[obs.index.isin(table.ids)]
        else:
            try:
                table.of(obs.index)
            except ValueError as error:
                remedy = " (--missing drop)" if len(table.ids) else ""
                raise launch.LaunchError(f"{error}{remedy}") from error
    if obs.empty:
        raise launch.LaunchError("the tables must share cells with a class, they share none; check the ids")
    groups = obs.groupby(config.label, observed=True)[config.protocol].nunique()
    if groups.max() < 2:
        raise launch.LaunchError(
            f"a class must occur in two groups by {config.protocol} to be told, none of {len(groups)} does; give cells "
            "of more groups, or leave out less together with --protocol, such as field"
        )
    return obs


def distinct(paths: Sequence[Path]) -> list[str]:
    """What tables are called: files without their ending, and of those that are alike, the folders that they lie in.

    Raises:
        LaunchError: two lie in folders of one name, too.
    """
    stems = [path.stem for path in paths]
    names = []
    for path in paths:
        name = path.stem if stems.count(path.stem) == 1 else path.absolute().parent.name
        if name in names:
            raise launch.LaunchError(f"tables must have different names, two are {name}; rename a file")
        names.append(name)
    return names


def named(ids: "pd.Index", tables: "Mapping[str, FeatureTable]") -> "dict[str, dict[str, np.ndarray]]":
    """Table → what each of its layers is called → the features of these cells."""
    from hpax.features.tables import title

    sets: dict[str, dict[str, np.ndarray]] = {name: {} for name in tables}
    for name, table in tables.items():
        for layer, features in table.of(ids).items():
            sets[name][title(name, name if layer == table.name else layer)] = features
    return sets


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
