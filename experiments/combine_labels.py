"""Image-level and cell-level models together (Le et al. 2022): which way of combining them labels single cells best.

Trains both kinds on the labels of fields. Simulated cells: a cell-level model learns once more from what each cell
truly shows, the ceiling; another learns what such a model says of training cells whose proteins it never saw; every way
of combining them is scored on the cells of other proteins by the competition's metric. `--fields FOLDER`: your fields
and their table of labels, cross-validated, then learnt whole; `--test FOLDER` labels another folder. Leaves models/
(which `hpax.load` reads), submission.csv, cells.h5ad, tables, and index.html, the page to look at.

Networks are kept beside the arms, in `models`, by what they were trained with: arms that share one train it once.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hpax import launch
from hpax.recipes import configs, data_configs

if TYPE_CHECKING:
    from hpax.explore import page
    from hpax.recipes import weak_study
    from hpax.recipes.weak_labels import Shelf

FIELD_FILE, CELL_FILE = configs.FIELD_FILE, configs.CELL_FILE
STUDENT_FILE = "distilled.safetensors"
ABOUT = "Networks that learnt 19 patterns from labels of whole fields, asked about single cells. All are simulated."
ABOUT_FOLDER = "Networks that learnt the patterns of your fields from labels of whole fields. All cells are {kind}."


@dataclasses.dataclass(frozen=True)
class Config(configs.Weak):
    """What to learn from, how, and how long."""

    data: Annotated[data_configs.Data, tyro.conf.arg(name="")] = data_configs.Data()
    ceiling: bool = True  # simulated: train on true labels of cells, too, to know what labels of fields cost
    cross_validate: int = 5  # a folder: folds of its groups; 0: train on all of it at once
    test: Path | None = None  # another folder, whose cells are labelled
    truth: Path | None = None  # the true cells of that folder, as a submission's CSV
    seed: int = 1  # of the simulated atlas, the first parameters, and the batches; segment-cells learnt from atlas 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cross_validate == 1 or self.cross_validate < 0:
            raise ValueError(f"cross_validate must be 2 or more folds, or 0 for none, got {self.cross_validate}")
        if self.test is not None and self.data.fields is None:
            raise ValueError("a test folder needs fields to learn from; give their folder with --fields")


FAST = {
    "atlas.proteins": 76,
    "atlas.size": 384,
    "field.window": 128,
    "field.um_per_pixel": 0.96,
    "field.optimizer.steps": 40,
    "cell.optimizer.steps": 60,
    "folds": 0,
    "cross_validate": 2,
}
PRESETS: dict[str, launch.Difference] = {"fast": FAST, "le2022": configs.LE2022, "shipped": configs.SHIPPED}

ABLATION = (
    {},
    {"start": "fresh"},
    *launch.grid(**{"field.pooling": ["average", "gem"]}),
    *launch.grid(**{"field.loss.name": ["focal", "focal_lovasz_bce"]}),
    {"field.puzzle": 1.0},
    {"field.copy_paste": True},
    {"field.window": 64, "field.um_per_pixel": 2.56},
    *launch.grid(**{"cell.loss.name": ["focal", "focal_lovasz_bce"]}),
    {"cell.resolution": 32},
    {"cell.masked": False},
    *({"cell.bag": bag, "cell.cells": 8, "cell.optimizer.batch_size": 4} for bag in ("max", "noisy-or")),
)
"""What each choice is worth. With `--no-ceiling --folds 0` an arm trains what it changes, and nothing else."""

SWEEPS = {
    "ablation": ABLATION,
    "masks": launch.grid(**{"masks": ["networks", "classical", "true"]}),
    "variation": launch.grid(**{"atlas.varying": [0.0, 0.35, 1.0]}),
    "frequencies": launch.grid(**{"atlas.balanced": [True, False]}),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, combines, scores; leaves the models, a submission, tables and a page."""
    from hpax.recipes.weak_labels import Shelf  # here and below, so that help is quick

    shelf = Shelf(workdir.parents[1] / "models", config.data.kind)
    recipe = config.seeded(config.seed)
    result = run_simulated if config.data.fields is None else run_folder
    return result(config, recipe, shelf, workdir)


def run_simulated(config: Config, recipe: configs.Weak, shelf: "Shelf", workdir: Path) -> launch.Result:
    """The study whose cells are known."""
    from hpax.recipes import datasets, weak_report, weak_study

    with launch.opening():
        split = datasets.open_fields(config.data, seed=config.seed)
    trained = weak_study.train_all(recipe, split, shelf, ceiling=config.ceiling)
    keep(trained, workdir)
    done = weak_study.study(split, weak_study.predict_all(trained, split.test))
    metrics = {f"mAP, {name}": done.mean(name) for name in done.predictions}
    headline = list(metrics)
    if config.data.masks != "true":
        exact = weak_study.with_masks(split)
        on_true = weak_study.study(exact, weak_study.predict_all(trained, exact.test))
        metrics |= {f"mAP on true masks, {name}": on_true.mean(name) for name in on_true.predictions}
    for of in (
        weak_study.gap_closed,
        weak_study.of_rare_classes,
        weak_study.of_variation,
        weak_study.of_calibration,
    ):
        metrics |= of(done)
        headline += of(done)
    weak_report.submit(split.test, done.predictions["ensemble"], workdir)
    metrics["mAP of the submission, 19 classes"] = weak_report.submission_map(split.test, workdir)
    weak_report.write_classes(workdir / "classes.csv", done)
    write_page(workdir, ABOUT, weak_report.sections(done, metrics))
    return launch.Result(metrics=metrics, counts=datasets.counts(split), data="simulated", headline=headline)


def keep(trained: "weak_study.Trained", workdir: Path) -> None:
    """The networks and their cards beside the results."""
    trained.ensemble.save(workdir / "models")
    trained.ensemble.fields[0].save(workdir / FIELD_FILE)
    trained.ensemble.cells[0].save(workdir / CELL_FILE)
    if trained.distilled is not None:
        trained.distilled.save(workdir / STUDENT_FILE)


def run_folder(config: Config, recipe: configs.Weak, shelf: "Shelf", workdir: Path) -> launch.Result:
    """Your fields: cross-validated, then learnt whole."""
    from hpax.recipes import datasets, folder_study, weak_labels, weak_report, weak_study

    with launch.opening():
        source = datasets.open_folder(config.data)
    metrics, counts, shown, done = {}, {"fields": len(source)}, [], None
    if config.cross_validate:
        done = folder_study.cross_validate(recipe, source, config.cross_validate, shelf, config.seed)
        metrics, counts = folder_study.metrics(done), folder_study.counts(done)
        folder_study.write_split(workdir / "split.csv", done)
        folder_study.write_predictions(workdir / "fields.csv", done)
        weak_report.submit(source, [prediction.cells for prediction in done.predictions], workdir)
        shown = folder_study.sections(done, metrics, config.data.kind)
    ensemble = weak_labels.train_ensemble(recipe, source, source.part([]), shelf)
    if done is not None:
        ensemble = folder_study.trusted(ensemble, done, config.data.kind)
    keep(weak_study.Trained(ensemble, None, None), workdir)
    if config.test is not None:
        finder = "networks" if isinstance(config.data.masks, Path) else config.data.masks  # those are of other fields
        there = dataclasses.replace(config.data, fields=config.test, masks=finder, annotations="")
        with launch.opening():
            test = datasets.open_folder(there, labelled=False)
        metrics |= folder_study.label_folder(ensemble, test, workdir / "test", config.truth)
        counts["test fields"] = len(test)
    write_page(workdir, ABOUT_FOLDER.format(kind=config.data.kind), shown)
    return launch.Result(metrics=metrics, counts=counts, data=config.data.kind, headline=list(metrics))


def write_page(workdir: Path, about: str, sections: "Sequence[page.Section]") -> None:
    """index.html, and its path on the console."""
    from hpax.explore import page

    page.write(workdir / "index.html", page.page("Labels of fields to labels of cells", about, list(sections)))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
