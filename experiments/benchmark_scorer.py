"""How fast submissions are scored, at the size of the competition's test set, and beside pycocotools' COCOeval.

COCOeval gets one IoU threshold, one area range and 1,000 detections per image and class, on the same run lengths, and
is timed from decoded masks to AP as ours is, each the least of three. Its AP differs: it samples the precision envelope
at 101 recalls, where ours has the whole area; there, a detection whose best truth is taken may fall back to another
one, and on equal scores earlier images come first. On disjoint cells only the first matters: recalls agree.
"""

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments import simulate_submission
from hpax import launch
from hpax.formats import kaggle, rle
from hpax.metrics import bootstrap, counting, detection

TEST_SET = simulate_submission.Config()
REPEATS = 3  # of what is timed on decoded masks; the least counts, for both sides


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
    cells = round(TEST_SET.cells / TEST_SET.images * config.images)
    drawn = simulate_submission.Config(seed=config.seed, images=config.images, cells=cells, size=config.size)
    written, drawing = timed(lambda: simulate_submission.run(drawn, workdir))
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
    amounts = {**written.counts, "CSV (MB)": round(written.metrics["submission (MB)"])}
    if not config.keep:
        truth.unlink()
        submission.unlink()
    return launch.Result(metrics=metrics, counts=amounts, data="simulated", headline=headline)


def timed(call: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """The result and the seconds, the least of so many times."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


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


def parts(
    pairs: Sequence[tuple[kaggle.Listing, kaggle.Listing]],
) -> tuple[dict[str, float], counting.Counts, detection.Scores]:
    """Seconds of overlaps and of scoring, of decoded masks."""
    counts, overlaps = timed(
        lambda: counting.merge(counting.from_listings(number, *pair) for number, pair in enumerate(pairs)), REPEATS
    )
    _, first = timed(lambda: detection.score(counts))
    scores, scoring = timed(lambda: detection.score(counts), REPEATS)
    metrics = {
        "decoded to score (s)": overlaps + scoring,
        "scoring alone (s)": scoring,
        "compilation (s)": first - scoring,
    }
    return metrics, counts, scores


def beside_coco(
    pairs: Sequence[tuple[kaggle.Listing, kaggle.Listing]], scores: detection.Scores, seconds: float
) -> dict[str, float]:
    """Seconds of COCOeval, and how far its numbers are from ours."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = coco(pair[1] for pair in pairs), coco(pair[0] for pair in pairs)
        evaluation = COCOeval(truth, found, "segm")
        evaluation.params.iouThrs = np.array([detection.IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [1000]
        _, other = timed(lambda: (evaluation.evaluate(), evaluation.accumulate()), REPEATS)
    precision, recall = evaluation.eval["precision"][0, :, :, 0, 0], evaluation.eval["recall"][0, :, 0, 0]
    ap: Float[np.ndarray, " c"] = np.where(recall < 0, np.nan, precision.mean(0))
    with np.errstate(invalid="ignore"):
        own = scores.hits[0] / scores.truths
    return {
        "pycocotools, decoded to score (s)": other,
        "times faster": other / seconds,
        "mAP of pycocotools": float(detection.mean_ap(ap)),
        "largest difference in AP": float(np.nanmax(np.abs(ap - scores.ap[0]))),
        "largest difference in recall": float(np.nanmax(np.abs(np.where(recall < 0, np.nan, recall) - own))),
    }


def coco(listings: Iterator[kaggle.Listing]) -> Any:
    """The same objects as pycocotools wants them, indexed."""
    from pycocotools.coco import COCO

    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, listing in enumerate(listings, 1):
        images.append({"id": number, "height": listing.height, "width": listing.width})
        texts = rle.encode(listing.runs, listing.masks, listing.pixels)
        areas = np.bincount(listing.runs[0], listing.runs[2] - listing.runs[1], minlength=listing.masks).tolist()
        masks = [{"size": [listing.height, listing.width], "counts": text} for text in texts]
        for label, value, mask in zip(
            listing.label.tolist(), listing.score.tolist(), listing.mask.tolist(), strict=True
        ):
            one = {"id": len(objects) + 1, "image_id": number, "category_id": label, "score": value, "iscrowd": 0}
            objects.append({**one, "segmentation": masks[mask], "area": areas[mask]})
    held = COCO()
    categories = [{"id": label} for label in range(counting.CLASSES)]
    held.dataset = {"images": images, "annotations": objects, "categories": categories}
    held.createIndex()
    return held


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
