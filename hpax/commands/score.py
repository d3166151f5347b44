"""Scores a submission of the HPA single-cell competition against a truth: mask mAP at IoU 0.6, class by class.

    hpax score --truth T.csv --submission S.csv --workdir DIR

Prints a table; leaves result.json, average_precision.png, precision_recall.png and index.html in DIR. With --check it
only lists every defect of the submission, with exit status 1 if there is one. Files that would not be scored end with
exit status 2 and the first twenty defects.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from hpax.commands.command import Call, Command


@dataclasses.dataclass(frozen=True)
class Config:
    """What to score, and what else to find out."""

    truth: Path  # CSV in the layout of a submission; its scores are ignored
    submission: Path
    workdir: Path = Path("runs/score")
    verified: str = (
        "all"  # classes evaluated in an image besides its truth's: all, truth (none), or a CSV ID,Classes (0|16)
    )
    iou: tuple[float, ...] = (0.6,)  # thresholds; the first makes the table and the plots
    bootstrap: int = 0  # resamples of the images for intervals, such as 1000
    seed: int = 0  # of the bootstrap
    split: Path | None = None  # CSV ID,Usage: scores each part (Public, Private) too
    against: Path | None = None  # another submission to compare with, on the same resamples
    check: bool = False  # only list every defect


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Scores, or lists defects."""
    from hpax.commands import scoring

    if config.check:
        return {str(config.submission): "it has defects, listed above"} if scoring.check(config) else {}
    scoring.run(config)
    return {}


COMMAND = Command("score", __doc__, Config, work)
main = COMMAND.main
