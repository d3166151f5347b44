"""How fast submissions are scored, at the size of the competition's test set, and beside pycocotools' COCOeval.

COCOeval gets one IoU threshold, one area range and 1,000 detections per image and class, on the same run lengths, and
is timed from decoded masks to AP as ours is, each the least of three. Its AP differs: it samples the precision envelope
at 101 recalls, where ours has the whole area; there, a detection whose best truth is taken may fall back to another
one, and on equal scores earlier images come first. On disjoint cells only the first matters: recalls agree.
"""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpax import launch
from hpax.metrics import drawn_submission

TEST_SET = drawn_submission.Size()


@dataclasses.dataclass(frozen=True)
class Config:
    """What to score; the default is the competition's test set."""

    seed: int = 0
    images: int = TEST_SET.images
    size: int = TEST_SET.size  # pixels, of each side
    coco: bool = True  # time pycocotools too; it is in the dev extra
    keep: bool = False  # leave the two CSVs in the workdir


SWEEPS = {"images": launch.grid(images=(100, 400, TEST_SET.images))}


def run(config: Config, workdir: Path) -> launch.Result:
    """Draw the files, time the command on them, then each part on decoded masks in this process."""
    from hpax.formats import kaggle
    from hpax.metrics import bootstrap
    from hpax.metrics.scoring_speed import beside_coco, parts, timed

    cells = round(TEST_SET.cells / TEST_SET.images * config.images)
    drawn = drawn_submission.Size(seed=config.seed, images=config.images, cells=cells, size=config.size)
    written, drawing = timed(lambda: drawn_submission.write(drawn, workdir))
    truth, submission = workdir / "truth.csv", workdir / "submission.csv"
    metrics = {"drawing the files (s)": drawing, **whole(truth, submission, workdir)}
    pairs = list(zip(kaggle.Table(submission), kaggle.Table(truth), strict=True))
    found, counts, scores = parts(pairs)
    metrics |= found
    _, metrics["bootstrap, 1000 resamples (s)"] = timed(lambda: bootstrap.intervals(counts, scores))
    metrics["mAP"] = scores.mean()
    headline = ["CSV to score (s)", "peak memory (GB)", "decoded to score (s)", "scoring alone (s)"]
    if config.coco:
        metrics |= beside_coco(pairs, scores, found["decoded to score (s)"])
        headline += ["pycocotools, decoded to score (s)", "times faster"]
    amounts = {**drawn_submission.counts(drawn), "CSV (MB)": round(written["submission (MB)"])}
    if not config.keep:
        truth.unlink()
        submission.unlink()
    return launch.Result(metrics=metrics, counts=amounts, data="simulated", headline=headline)


def whole(truth: Path, submission: Path, workdir: Path) -> dict[str, float]:
    """Seconds and peak memory of the whole command, from its start to its pictures."""
    paths = {"--truth": truth, "--submission": submission, "--workdir": workdir / "score"}
    options = [str(part) for name, path in paths.items() for part in (name, path.resolve())]
    line = [sys.executable, "-m", "experiments.score", *options]
    start = time.perf_counter()
    process = subprocess.Popen(line, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the command must succeed, it ended with {process.returncode}: {' '.join(line)}")
    return {"CSV to score (s)": seconds, "peak memory (GB)": usage.ru_maxrss * 1024 / 1e9}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
