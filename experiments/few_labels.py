"""What labels of your own add to the network that ships, and to others: 10, 25, 50 and 100% of them, cross-validated.

Each beginning sees every field once, and a regression on its features (hpax.recipes.probe) learns from a share of the
labels of four folds and answers for the fifth; it corrects what the shipped network says. No labels at all: what that
says by itself. Leaves
labels.csv and index.html with the figure.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from hpax import atlas, launch
from hpax.recipes import configs

if TYPE_CHECKING:
    from hpax.data import FieldSource
    from hpax.metrics.bootstrap import Interval

ABOUT = (
    "Cross-validated by group. A regression on what each network sees is all that learns; nothing was "
    "chosen by these numbers."
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, and how many of their labels for which network."""

    fields: Path = Path("fields")  # a folder of fields, as Kaggle or proteinatlas.org have them, with a table of labels
    data_dir: Path = Path("runs/data")  # where shards are built, once
    beginnings: tuple[Literal["shipped", "imagenet", "fresh", "intensity"], ...] = (
        "shipped",
        "imagenet",
        "fresh",
        "intensity",
    )
    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)  # of the labels of the fields that are learnt from
    strengths: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # inverse of the penalty: the choice
    folds: int = 5
    tta: int = 8  # views of a field whose features are averaged: 1, 2, 4 or 8 flips and rotations
    least: int = 4  # classes with fewer fields are left out of the scores
    seed: int = 0  # of the fresh parameters, the folds and the shares

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"shares must be above 0 and at most 1, got {self.shares}")


class Point(NamedTuple):
    """One score: what begins, with what share of the labels."""

    beginning: str
    share: float
    score: "Interval"

    @property
    def name(self) -> str:
        """As the record has it."""
        return f"field mAP, {self.beginning}, {self.share:.0%} of labels"


def run(config: Config, workdir: Path) -> launch.Result:
    """Sees every field by each network, learns from shares of the labels, scores."""
    from hpax.data import folders
    from hpax.recipes import probe  # here and below, so that help is quick

    kind = folders.kind(config.fields)
    with launch.opening():
        fields, unlabelled = probe.open_fields(config.fields, config.data_dir)
    group, often = probe.groups(fields), probe.frequent(fields.labels, config.least)
    points = []
    for beginning in config.beginnings:
        points += points_of(config, beginning, fields, group, often)
    write_points(workdir / "labels.csv", points)
    write_page(workdir, points, kind)
    metrics: dict[str, float] = {}
    for point in points:
        metrics |= point.score.named(point.name)
    labels = fields.labels[:, often]
    counts = {"fields": len(fields), "groups": len(np.unique(group)), "classes": len(often), "unlabelled": unlabelled}
    counts |= {f"fields of {atlas.LOCATIONS[label]}": int(fields.labels[:, label].sum()) for label in often}
    metrics["chance"] = float(labels.mean(0).mean())
    return launch.Result(
        metrics=metrics, counts=counts, data=kind, headline=[point.name for point in points] + ["chance"]
    )


def points_of(
    config: Config, beginning: str, fields: "FieldSource", group: np.ndarray, often: np.ndarray
) -> list[Point]:
    """The scores of one beginning, from no label (where it knows the classes) to all."""
    import scipy.special

    from hpax.metrics import classification
    from hpax.recipes import probe

    recipe = configs.Probe(configs.ProbeStart(init=beginning), tta=config.tta)  # type: ignore[arg-type]
    encode = probe.encoder(recipe, fields, seed=config.seed)
    seen = probe.encoded(encode, fields, um_per_pixel=probe.um_per_pixel(recipe)).of_classes(often)
    labels = fields.labels[:, often]
    points = []
    if seen.logits is not None:
        own = scipy.special.expit(seen.logits)
        points.append(Point(beginning, 0.0, classification.interval(labels, own, group.tolist())))
    for share in config.shares:
        predict = probe.probed(
            seen, labels, group, strengths=config.strengths, count=config.folds, seed=config.seed, share=share
        )
        answers = probe.cross_validated(group, predict, count=config.folds, seed=config.seed)
        points.append(Point(beginning, share, classification.interval(labels, answers, group.tolist())))
    return points


def write_points(path: Path, points: Sequence[Point]) -> None:
    """One row for each score."""
    from hpax.commands import tables

    rows = []
    for point in points:
        names = ("field mAP", "low (95%)", "high (95%)")
        numbers = (f"{value:.4f}" for value in (point.score.value, point.score.low, point.score.high))
        scores = dict(zip(names, numbers, strict=True))
        rows.append({"beginning": point.beginning, "share of labels": point.share, **scores})
    tables.write(path, rows)


def write_page(workdir: Path, points: Sequence[Point], kind: str) -> None:
    """index.html: the figure and the table."""
    from hpax.explore import charts, page

    lines: dict[str, tuple[list[float], list[float]]] = {}
    for point in points:
        across, up = lines.setdefault(point.beginning, ([], []))
        across.append(100 * point.share)
        up.append(point.score.value)
    figure = charts.curves(lines, across="% of labels", up="field mAP", title="")
    caption = "Field mAP by the share of labels that a regression learns from, for each beginning"
    rows: list[list[str | float | None]] = []
    for point in points:
        interval = f"{point.score.low:.3f} to {point.score.high:.3f}"
        rows.append([point.beginning, f"{point.share:.0%}", point.score.value, interval])
    table = page.Table(["beginning", "of labels", "field mAP", "95% over groups"], rows, f"{kind.capitalize()} fields")
    section = page.Section("What do labels add?", [page.Picture(figure, caption, caption), table])
    page.write(workdir / "index.html", page.page("From few labels", ABOUT, [section]))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
