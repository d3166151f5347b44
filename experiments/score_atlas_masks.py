"""Score the masks of a segmentation tool against hand-corrected ones, with hand-given labels: a real run of the metric.

Reads the folder `hpa_single_cell_truth` of the one that HPAX_REAL_DATA names: index images of 100 fields and the
labels of their 1,484 cells. Each predicted cell takes the labels of the true cell that it overlaps most, its score is
the share of its pixels that lie there; so what is lost against an mAP of 1 is lost to segmentation. Writes `truth.csv`,
`submission.csv`, `cells.csv` (the matched cells of every image) and the plots of `hpax score`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hpax import atlas, launch


@dataclasses.dataclass(frozen=True)
class Config:
    """Where the masks are, and what to find out."""

    seed: int = 0  # of the bootstrap
    data: str = ""  # the folder hpa_single_cell_truth
    iou: tuple[float, ...] = (0.5, 0.6, 0.75, 0.9)
    resamples: int = 1000


def run(config: Config, workdir: Path) -> launch.Result:
    """Write both sides as the competition has them, read them back, and score."""
    from hpax.commands import scoring
    from hpax.formats import kaggle
    from hpax.metrics import bootstrap, corrected_masks, counting, detection

    folder = Path(config.data)
    if not (folder / "cells.csv").is_file():
        raise launch.LaunchError(
            f"--data must be the folder with cells.csv and the masks, got {config.data!r}; see the README"
        )
    truth, submission = workdir / "truth.csv", workdir / "submission.csv"
    for path, listings in zip((truth, submission), zip(*corrected_masks.fields(folder), strict=True), strict=True):
        kaggle.write(path, listings)
    counts, ids = counting.from_csv(truth, submission)
    scores = detection.score(counts, iou=config.iou)
    official = detection.score(counts)
    spread = bootstrap.intervals(counts, official, resamples=config.resamples, seed=config.seed)
    scoring.bars(official, spread).savefig(workdir / "average_precision.png", dpi=120)
    scoring.curves(official).savefig(workdir / "precision_recall.png", dpi=120)
    corrected_masks.write_cells(workdir / "cells.csv", counts, ids)
    print(official.table())
    metrics = {
        "mAP": official.mean(),
        "mAP of present classes": official.mean("present"),
        "mAP, low (95%)": spread.map_present.low,
        "mAP, high (95%)": spread.map_present.high,
        "matched cells": int(official.matched_cells[0]),
        "mean IoU of matched cells": float(official.matched_iou[0]),
    }
    headline = list(metrics)
    for index, threshold in enumerate(scores.thresholds):
        metrics[f"mAP at IoU {threshold:g}"] = scores.mean(threshold=index)
        metrics[f"matched cells at IoU {threshold:g}"] = int(scores.matched_cells[index])
    metrics |= {f"AP {name}": float(ap) for name, ap in zip(atlas.LOCATIONS, official.ap[0], strict=True)}
    amounts = {
        "images": official.images,
        "true cells": official.true_cells,
        "predicted cells": official.predicted_cells,
        "true objects": int(official.truths.sum()),
        "predicted objects": int(official.detections.sum()),
        "classes": int((official.truths > 0).sum()),
    }
    return launch.Result(metrics=metrics, counts=amounts, data="real", headline=headline)


SWEEPS: dict[str, Sequence[launch.Difference]] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
