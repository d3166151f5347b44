"""Mean average precision of detected cells: the score of the HPA single-cell competition, exactly and fast.

    from hpax.metrics import detection, counting
    found, ids = counting.from_csv("truth.csv", "submission.csv")  # or from_label_images, and merge
    print(detection.score(found).table())

The semantics are those of the Open Images challenge evaluator of the TensorFlow Object Detection API at a mask IoU of
0.6 (its IoU is float32, here float64: quotients within 3e-8 below a threshold differ). A detection whose best truth is
taken is a false positive, it never falls back to its second best. On equal scores a later image comes first; within an
image the listing's order counts, but the later listed is the first to claim a truth.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64

from hpax import atlas
from hpax.metrics.counting import Counts
from hpax.ops import matching

IOU = 0.6
"""The competition's threshold."""

Average = Literal["fixed", "present"]


class Ranking(NamedTuple):
    """The detections of every class by descending score, padded to one length: c classes, d detections."""

    image: Int32[np.ndarray, "c d"]  # row of `Counts.images`; −1 is padding
    score: Float64[np.ndarray, "c d"]
    tier: Int32[np.ndarray, "c d"]  # equal where scores are
    truth: Int32[np.ndarray, "c d"]  # numbered within the class over all images; −1 if there is none
    iou: Float64[np.ndarray, "c d"]


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `score` finds; k thresholds, c classes."""

    thresholds: tuple[float, ...]
    ap: Float64[np.ndarray, "k c"]  # NaN for a class without truth
    truths: Int64[np.ndarray, " c"]  # objects
    detections: Int64[np.ndarray, " c"]
    hits: Int64[np.ndarray, "k c"]  # true positives
    images: int
    predicted_cells: int  # masks with a pixel
    true_cells: int
    ignored: int  # detections of classes that were not evaluated in their image
    matched_cells: Int64[np.ndarray, " k"]  # pairs of masks that overlap each other most, and reach the threshold
    matched_iou: Float64[np.ndarray, " k"]  # their mean IoU; NaN without any
    ranking: Ranking
    hit: Bool[np.ndarray, "k c d"]  # which of the ranked detections are true positives

    def mean(self, average: Average = "fixed", threshold: int = 0) -> float:
        """The mAP at one of the thresholds, see `mean_ap`."""
        return float(mean_ap(self.ap[threshold], average))

    def curve(self, label: int, threshold: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Recall, precision and score after each detection of a class, in descending order of score."""
        detections = self.detections[label]
        found = np.cumsum(self.hit[threshold, label, :detections])
        precision = found / np.arange(1, detections + 1)
        with np.errstate(invalid="ignore"):
            return found / self.truths[label], precision, self.ranking.score[label, :detections]

    def table(self, threshold: int = 0) -> str:
        """A line for every class, and one for the means."""
        width = max(map(len, atlas.LOCATIONS))
        lines = [f"{'class':{width}}      AP  truths  detections    hits"]
        for index, name in enumerate(atlas.LOCATIONS):
            ap = "     –" if np.isnan(self.ap[threshold, index]) else f"{self.ap[threshold, index]:6.4f}"
            counts = f"{self.truths[index]:6}  {self.detections[index]:10}  {self.hits[threshold, index]:6}"
            lines.append(f"{name:{width}}  {ap}  {counts}")
        present = int((self.truths > 0).sum())
        lines.append(f"{'mean over ' + str(len(atlas.LOCATIONS)) + ' classes':{width}}  {self.mean():6.4f}")
        lines.append(f"{f'mean over the {present} with truth':{width}}  {self.mean('present', threshold):6.4f}")
        return "\n".join(lines)


def score(counts: Counts, *, iou: float | Sequence[float] = IOU) -> Scores:
    """AP of every class, and counts, at one IoU threshold or several in one pass.

    Raises:
        ValueError: a threshold is not above 0 and at most 1.
    """
    thresholds = tuple(np.atleast_1d(np.asarray(iou, np.float64)).tolist())
    if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(f"IoU thresholds must be above 0 and at most 1, got {thresholds}; the competition's is {IOU}")
    ranking = rank(counts)
    truths = counts.truths.sum(0, dtype=np.int64)
    with jax.enable_x64(True):
        room = matching.bucket(int(truths.max(initial=0)))
        arrays = ranking.tier, ranking.truth, ranking.iou, truths, np.array(thresholds)
        ap, hit = map(np.asarray, matching.evaluate(*arrays, truths=room))
    reached = [counts.matched_iou[counts.matched_iou >= threshold] for threshold in thresholds]
    return Scores(
        thresholds=thresholds,
        ap=ap,
        truths=truths,
        detections=(ranking.image >= 0).sum(1),
        hits=hit.sum(2),
        images=len(counts.images),
        predicted_cells=int(counts.cells[:, 0].sum()),
        true_cells=int(counts.cells[:, 1].sum()),
        ignored=int(counts.ignored.sum()),
        matched_cells=np.array([len(part) for part in reached]),
        matched_iou=np.array([part.mean() if len(part) else np.nan for part in reached]),
        ranking=ranking,
        hit=hit,
    )


def mean_ap(ap: Float[np.ndarray, "*b c"], average: Average = "fixed") -> Float[np.ndarray | np.generic, "*b"]:
    """`fixed`: the leaderboard's mean over all classes, 0 for one without truth. `present`: over those with truth."""
    if average not in ("fixed", "present"):
        raise ValueError(f'average must be "fixed" or "present", got {average!r}')
    total, present = np.nansum(ap, -1), (~np.isnan(ap)).sum(-1)
    if average == "fixed":
        return total / ap.shape[-1]
    return np.where(present > 0, total / np.maximum(present, 1), np.nan)


def rank(counts: Counts) -> Ranking:
    """Order detections by (−score, −image, position) in each class, exactly in float64."""
    amounts = np.bincount(counts.label, minlength=counts.truths.shape[1])
    order = np.lexsort((counts.position, -counts.image))
    order = order[np.argsort(counts.label[order].astype(np.uint16), kind="stable")]
    table = np.full((len(amounts), matching.bucket(int(amounts.max(initial=0)))), -1)
    for row, part in zip(table, np.split(order, np.cumsum(amounts)[:-1]), strict=True):
        row[: len(part)] = part[np.argsort(-counts.score[part], kind="stable")]
    image = _numbers_to_rows(counts)
    earlier = np.cumsum(counts.truths, 0) - counts.truths
    truth = np.where(counts.truth >= 0, earlier[image, counts.label] + counts.truth, -1)
    columns = (
        (image, -1, np.int32),
        (counts.score, -np.inf, np.float64),
        (truth, -1, np.int32),
        (counts.iou, -1, np.float64),
    )
    image, score, truth, iou = (
        np.append(column, pad).astype(dtype).take(table, mode="wrap") for column, pad, dtype in columns
    )
    tier = np.zeros(table.shape, np.int32)
    np.cumsum(score[:, 1:] != score[:, :-1], axis=1, out=tier[:, 1:])
    return Ranking(image, score, tier, truth, iou)


def _numbers_to_rows(counts: Counts) -> Int64[np.ndarray, " d"]:
    """The row of `counts.images` of each detection."""
    order = np.argsort(counts.images)
    return order[np.searchsorted(counts.images[order], counts.image)]


def correlation(scores: Sequence[Scores], average: Average = "fixed") -> tuple[float, float]:
    """Pearson's r of mean matched IoU and mAP over submissions, and its two-tailed P (Le et al. 2022, r = −0.3).

    Raises:
        ValueError: there are fewer than three submissions.
    """
    if len(scores) < 3:
        raise ValueError(f"a correlation needs three or more submissions, got {len(scores)}")
    import scipy.stats  # takes a second to import, and only this needs it

    result = scipy.stats.pearsonr([s.matched_iou[0] for s in scores], [s.mean(average) for s in scores])
    return float(result.statistic), float(result.pvalue)
