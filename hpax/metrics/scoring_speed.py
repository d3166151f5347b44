"""How long the parts of scoring take on decoded masks, and how long pycocotools' COCOeval does on the same."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from hpax.formats import kaggle, rle
from hpax.metrics import counting, detection

REPEATS = 3  # of what is timed on decoded masks; the least counts, for both sides


def timed(call: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """The result and the seconds, the least of so many times."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


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
