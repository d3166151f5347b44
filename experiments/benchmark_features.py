"""What features of cells know: inpainting beside every baseline, layer by layer, in the benchmarks of Lu et al. (2019).

Neighbours for k = 1 … 50 (Supplementary Table 1; Table 1 layer by layer), an L1-penalised logistic regression and a
random forest (Supplementary Table 2), pairwise distances within and across cell lines (Table 2, Figure 2B), each class
(Figure 2A), a share of the labels, spoilt images and other cell lines. Of the simulated atlas, networks learn from four
in five proteins and all is asked of the others; of real cells they learn from all, as published. Real fields that have
several labels are ranked by each of their classes. Intervals are of resamples of proteins or fields. The best layer of
each is chosen on the cells asked about, as published.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hpax import launch
from hpax.recipes import configs, data_configs

if TYPE_CHECKING:
    from hpax.explore import page
    from hpax.features.benchmarks import Score
    from hpax.models import Encoder
    from hpax.recipes.baselines import Describe
    from hpax.recipes.cells import Cells
    from hpax.recipes.feature_study import Study


ALL = ("inpainting", *configs.UNTRAINED_BASELINES, *configs.TRAINED_BASELINES)
RIVALS = tuple(name for name in ALL if name != "contrast of labels")  # it explains the ceiling, if asked for


@dataclasses.dataclass(frozen=True)
class Config:
    """Which cells, which features, and what is asked."""

    data: Annotated[data_configs.CellData, tyro.conf.arg(name="")] = data_configs.CellData()
    baselines: configs.Baselines = dataclasses.field(default_factory=configs.Baselines)
    features: tuple[str, ...] = RIVALS  # and "contrast of labels", "imagenet protein", "… colours", "… channels", each
    # "… at 224" as well, and all these of "vgg16 …", which needs --baselines.vgg16
    encoders: tuple[str, ...] = ()  # trained elsewhere: names of the catalogue, or files
    k: tuple[int, ...] = (1, 5, 11, 25, 50)  # neighbours
    best_by: int = 11  # the k by which a set's best layer is chosen
    classifiers: bool = True  # logistic regression and random forest, on the best layers
    trees: int = 500  # of the forest
    efficiency: bool = True  # shares of the labels
    robustness: bool = True  # spoilt images, other cell lines
    seed: int = 0  # of the simulated atlas, the first parameters, the pairs and the folds

    def __post_init__(self) -> None:
        known = (*ALL, *configs.TRANSFER_BASELINES)
        if unknown := [name for name in self.features if name not in known]:
            raise ValueError(f"features must be of {', '.join(known)}, got {', '.join(unknown)}")
        if self.best_by not in self.k or not self.features + self.encoders:
            raise ValueError(
                f"best_by must be one of k, {self.k}, got {self.best_by}; and one set of features at least"
            )


SWEEPS = {"width": launch.grid({"baselines.inpaint.network.width": [0.25, 0.5]})}
NETWORK, OPTIMIZER = "baselines.inpaint.network", "baselines.inpaint.optimizer"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "data.atlas.proteins": 57,
        "data.atlas.size": 256,
        f"{NETWORK}.width": 0.03,
        f"{OPTIMIZER}.steps": 2,
        "trees": 5,
        "k": (1, 11),
    }
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Makes every set of features, asks all, leaves a table of features for each, scores.csv and the page."""
    from hpax.features import benchmarks
    from hpax.recipes import baselines, feature_study
    from hpax.recipes import cells as cells_recipe

    with launch.opening():
        cells = cells_recipe.open_cells(config.data, config.seed)
    if not cells.labelled:
        raise launch.LaunchError("a benchmark needs two classes of cells in two groups each; label the fields first")
    study = feature_study.Study(
        cells=cells,
        describers=described(config, cells, workdir),
        workdir=workdir,
        k=config.k,
        best_by=config.best_by,
        seed=config.seed,
    )
    scores = {
        "Neighbours, layer by layer": study.layers,
        "The best minus each other, over the same resamples": study.lead,
        "Fields of several classes, layer by layer": study.of_fields,
        "Fields: the best minus each other": study.lead_of_fields,
        "Classifiers, on the best layer": study.learnt(trees=config.trees) if config.classifiers else [],
        "Pairwise distances": study.distances(),
        "Few labels": study.efficiency() if config.efficiency else [],
        "Spoilt images and other cell lines": study.robustness() if config.robustness else [],
    }
    everything = [score for part in scores.values() for score in part]
    benchmarks.frame(everything).to_csv(workdir / "scores.csv", index=False)
    write_page(config, study, scores, workdir / "index.html")
    shown = feature_study.best(study) | feature_study.ahead(study) | feature_study.of_fields(study)
    metrics = benchmarks.metrics(reported(study, everything)) | shown
    first = study.layers[0]
    counts = {"benchmark cells": first.cells, "classes": first.classes, f"groups by {cells.protocol}": first.groups}
    if study.fields:
        counts |= next(iter(study.fields.values())).counts
    if trains(config):
        counts |= baselines.counted(config.baselines, cells)
        counts["training proteins"] = cells.training.table["protein"].nunique()
    learnt = [f"{score.features}, {score.benchmark}" for score in scores["Classifiers, on the best layer"]]
    headline = [*shown, *learnt, f"chance, {study.criterion}"]
    return launch.Result(metrics=metrics, counts=counts, data=cells.origin, headline=headline)


def described(config: Config, cells: "Cells", workdir: Path) -> "dict[str, Describe]":
    """Name → what turns stored crops into features. What needs labels is left out where no protein is held out."""
    from hpax.features import benchmarks
    from hpax.recipes import baselines

    given: dict[str, Describe] = {}
    with launch.opening():  # what is wrong with one is said before anything is learnt
        names = (*config.features, *(Path(name).stem for name in config.encoders))
        benchmarks.check_names([f"{name} penultimate" for name in names], max(config.k))
        for name in config.encoders:
            stem = Path(name).stem
            if stem in given or stem in config.features:
                raise ValueError(f"sets of features must have different names, two are {stem}; rename a file")
            given[stem] = baselines.describe_prepared(cells, fitting(name, cells).encode)
        made: dict[str, Describe] = {}
        for name in config.features:
            if name in configs.TRANSFER_BASELINES:
                made[name] = baselines.make(name, config.baselines, cells, workdir)
    for name in config.features:
        if name in made:
            continue
        if name in configs.LABELLED_BASELINES and not cells.held_out:
            print(f"{name} is left out: these cells hold no protein out, so it would learn what it is asked")
            continue
        folder = workdir / "training" / name.replace(" ", "_")
        made[name] = baselines.make(name, config.baselines, cells, folder, seed=config.seed)
    return {name: made[name] for name in config.features if name in made} | given


def fitting(name: str, cells: "Cells") -> "Encoder":
    """An encoder that was trained elsewhere.

    Raises:
        LaunchError: it must be shown other channels, other sizes, or cells prepared in another way.
    """
    from hpax import models

    encoder = models.Encoder.load(name)
    if (encoder.channels, encoder.size) != (cells.channels, cells.size):
        told = f"{', '.join(encoder.channels)} at {encoder.size} pixels"
        raise launch.LaunchError(f"{name} must see {', '.join(cells.channels)} at {cells.size}, it sees {told}")
    apart = encoder.network.um_per_pixel / cells.um_per_pixel
    if not (math.isnan(apart) or 0.9 < apart < 1.1):
        told = f"{cells.um_per_pixel:.3g}, it learnt at {encoder.network.um_per_pixel:.3g}"
        raise launch.LaunchError(f"{name} must see the µm per pixel of these crops, {told}; change their crop_um")
    if encoder.masked or encoder.network.preprocessing != cells.preprocessing:
        raise launch.LaunchError(
            f"{name} must have learnt from cells as these are prepared ({cells.preprocessing}, with their neighbours), "
            f"it did not; describe them by `hpax embed --encoder {name}`, and ask experiments.compare_features"
        )
    return encoder


def reported(study: "Study", scores: "Sequence[Score]") -> "list[Score]":
    """What a record has room for: every layer by the criterion, and all of the best layers; scores.csv has the rest."""
    kept = {*study.best, *study.best.values()}
    criteria = study.criterion, study.criterion_of_fields
    return [score for score in scores if score.features in kept or score.benchmark in criteria]


def write_page(config: Config, study: "Study", scores: "Mapping[str, Sequence[Score]]", path: Path) -> None:
    """Figure 2 as a picture and a table of classes, then the tables of every benchmark."""
    from hpax.explore import charts, page
    from hpax.features import benchmarks
    from hpax.recipes import feature_study

    cells, first = study.cells, study.layers[0]
    about = (
        f"{first.cells} {cells.origin} cells of {first.classes} classes are told from cells of another "
        f"{cells.protocol} only ({first.groups} of these). {learning(config, cells)}"
    )
    values = feature_study.best(study)
    rows = {name: (values[f"best {name}"], *ends(values, f"best {name}")) for name in study.best}
    chart = charts.intervals(rows, across=f"balanced accuracy, {study.criterion}", reference=first_chance(study))
    picture = page.Picture(chart, "Balanced accuracy of each set of features with its interval", "Best layers; 95%")
    sections = [page.Section("Neighbours of the best layer", [picture]), page.Section("Classes", [classes(study)])]
    for title, found in scores.items():
        if found:
            columns, lines = benchmarks.table(found)
            sections.append(page.Section(title, [page.Table(columns, lines, f"Value [95%]; {cells.origin} cells")]))
    page.write(path, page.page("What features of cells know", about, sections))


def trains(config: Config) -> bool:
    """Whether a network learns here."""
    return bool({"inpainting", *configs.TRAINED_BASELINES} & set(config.features))


def learning(config: Config, cells: "Cells") -> str:
    """What networks were trained on here, in words; nothing where none was."""
    if not trains(config):
        return "No network was trained on these cells."
    told = f"Networks learnt from {len(cells.training)} cells of {cells.training.table['protein'].nunique()} proteins, "
    return told + ("none of which is asked about." if cells.held_out else "those asked about among them, unlabelled.")


def ends(values: Mapping[str, float], name: str) -> tuple[float, float]:
    """Of an interval."""
    return values[f"{name}, low (95%)"], values[f"{name}, high (95%)"]


def first_chance(study: "Study") -> float:
    """What neighbours at random tell."""
    return next(score.chance for score in study.layers if score.benchmark == study.criterion)


def classes(study: "Study") -> "page.Table":
    """The recall of each class by neighbours of each best layer."""
    from hpax.explore import page

    by_name = study.classes()
    names = next(iter(by_name.values()))[0]
    rows: list[Sequence[str | float | None]] = []
    for place, name in enumerate(names):
        rows.append([name, *(float(recall[place]) for _, recall in by_name.values())])
    return page.Table(["class", *by_name], rows, f"Share of the cells that {study.criterion} tells right")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
