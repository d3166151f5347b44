"""What `hpax score` does."""

import csv
import dataclasses
import io
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib.figure
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hpax import atlas, files, launch
from hpax.commands.score import Config
from hpax.explore import page
from hpax.formats import kaggle
from hpax.metrics import bootstrap, counting, detection


def check(config: Config) -> int:
    """Lists every defect of the submission; 1 if there is one that is more than a warning."""
    defects = kaggle.report(config.submission, config.truth)
    print(*defects, f"{len(defects)} defects", sep="\n")
    return int(any(not defect.warning for defect in defects))


def run(config: Config) -> dict[str, Any]:
    """Score, write everything into the workdir, and return what result.json holds."""
    start = time.perf_counter()
    verified = read_verified(config.verified)
    counts, ids = counting.from_csv(config.truth, config.submission, verified=verified)
    scores = detection.score(counts, iou=config.iou)
    record = summary(scores)
    spread = None
    if config.bootstrap:
        spread = bootstrap.intervals(counts, scores, resamples=config.bootstrap, seed=config.seed)
        record["bootstrap"] = {"resamples": config.bootstrap, "seed": config.seed, **dataclasses.asdict(spread)}
        record["bootstrap"]["ap"] = dict(zip(atlas.LOCATIONS, record["bootstrap"]["ap"], strict=True))
    if config.split:
        record["split"] = {
            part: summary(detection.score(counts.select(images), iou=config.iou))
            for part, images in read_parts(config.split, ids).items()
        }
    if config.against:
        other, _ = counting.from_csv(config.truth, config.against, verified=verified)
        pair = (counts, scores), (other, detection.score(other, iou=config.iou))
        compared = bootstrap.compare(*pair, resamples=config.bootstrap or 1000, seed=config.seed)
        record["against"] = {"submission": config.against.name, **dataclasses.asdict(compared)}
    config.workdir.mkdir(parents=True, exist_ok=True)
    pictures = {"average_precision": bars(scores, spread), "precision_recall": curves(scores)}
    for name, figure in pictures.items():
        files.write_bytes(config.workdir / f"{name}.png", png(figure))
    record |= {"truth": config.truth.name, "submission": config.submission.name, "verified": config.verified}
    record["wall_s"] = round(time.perf_counter() - start, 3)
    files.write_json(config.workdir / "result.json", launch.plain(record))
    print(scores.table())
    print_extras(record)
    page.write(config.workdir / "index.html", overview(config, scores, pictures))
    print(f"the page: {config.workdir / 'index.html'}")
    return record


def overview(config: Config, scores: detection.Scores, pictures: Mapping[str, matplotlib.figure.Figure]) -> str:
    """The page: the table, and the pictures."""
    rows: list[list[str | float | None]] = []
    for name, ap, count in zip(atlas.LOCATIONS, scores.ap[0].tolist(), scores.truths.tolist(), strict=True):
        rows.append([name, ap, count])
    rows.append(["mean of all classes", scores.mean(), int(scores.truths.sum())])
    rows.append(["mean of classes with truth", scores.mean("present"), int(scores.truths.sum())])
    caption = f"Average precision at IoU {scores.thresholds[0]:g}; a dash where there is no truth."
    table = page.Table(["class", "AP", "true objects"], rows, caption)
    shown = []
    for name, figure in pictures.items():
        title = name.replace("_", " ").capitalize()
        shown.append(page.Section(title, [page.Picture(pixels(figure), f"{title} of every class")]))
    about = f"{config.submission.name} against {config.truth.name}, {scores.images} images."
    return page.page("Score of a submission", about, [page.Section("Classes", [table]), *shown])


def png(figure: matplotlib.figure.Figure) -> bytes:
    """A figure as a PNG file."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


def pixels(figure: matplotlib.figure.Figure) -> UInt8[np.ndarray, "h w 3"]:
    """A figure as an image."""
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def summary(scores: detection.Scores) -> dict[str, Any]:
    """The numbers of result.json, those of the first threshold by name and all thresholds under `by_iou`."""
    by_iou = [
        {
            "iou": threshold,
            "map_fixed": scores.mean("fixed", index),
            "map_present": scores.mean("present", index),
            "ap": dict(zip(atlas.LOCATIONS, scores.ap[index].tolist(), strict=True)),
            "true_positives": dict(zip(atlas.LOCATIONS, scores.hits[index].tolist(), strict=True)),
            "matched_cells": int(scores.matched_cells[index]),
            "mean_matched_iou": float(scores.matched_iou[index]),
        }
        for index, threshold in enumerate(scores.thresholds)
    ]
    counts = {
        "images": scores.images,
        "truth_objects": int(scores.truths.sum()),
        "predicted_objects": int(scores.detections.sum()),
        "ignored_objects": scores.ignored,
        "truth_cells": scores.true_cells,
        "predicted_cells": scores.predicted_cells,
        "classes_with_truth": int((scores.truths > 0).sum()),
    }
    return {**by_iou[0], **counts, "by_iou": by_iou}


def read_verified(name: str) -> Literal["all", "truth"] | dict[str, Collection[int]]:
    """The `verified` of `counting.from_csv` by its name, or from a CSV as `read_classes` reads it."""
    if name == "all":
        return "all"
    return "truth" if name == "truth" else read_classes(Path(name))


def read_classes(path: Path) -> dict[str, Collection[int]]:
    """The classes of each ID in a CSV `ID,Classes`, separated by |; a ValueError names the line that has none such."""
    found: dict[str, Collection[int]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                classes = {int(part) for part in row["Classes"].split("|") if part}
                found[row["ID"]] = np.flatnonzero(np.isin(range(len(atlas.LOCATIONS)), sorted(classes))).tolist()
                if len(found[row["ID"]]) != len(classes):
                    raise ValueError(f"classes {sorted(classes)}")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"{path} line {line} must be an ID and classes in 0..18 such as 0|16 ({error})"
                ) from error
    return found


def read_parts(path: Path, ids: Sequence[str]) -> dict[str, list[int]]:
    """The numbers of the images of each part in a CSV `ID,Usage`; a ValueError if an image has none."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        usage = {row.get("ID"): row.get("Usage") for row in csv.DictReader(file)}
    if missing := [id for id in ids if not usage.get(id)]:
        raise ValueError(f"{path} must give every image a Usage, {len(missing)} have none, as {missing[0]!r}; add them")
    parts: dict[str, list[int]] = {}
    for number, id in enumerate(ids):
        parts.setdefault(str(usage[id]), []).append(number)
    return dict(sorted(parts.items()))


def bars(scores: detection.Scores, spread: bootstrap.Intervals | None) -> matplotlib.figure.Figure:
    """AP of each class, with its bootstrap interval where there is one, and the mean."""
    figure = matplotlib.figure.Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(atlas.LOCATIONS))
    axes.barh(place, np.nan_to_num(scores.ap[0]), color="#4c78a8")
    if spread:
        low, high = np.array([[interval.low, interval.high] for interval in spread.ap]).T
        axes.hlines(place, low, high, color="black", linewidth=1.2)
    for index in np.flatnonzero(np.isnan(scores.ap[0])).tolist():
        axes.text(0.005, index, "no truth", va="center", fontsize=8, color="grey")
    axes.axvline(scores.mean(), color="#e45756", label=f"mean over {len(place)} classes: {scores.mean():.4f}")
    names = [f"{name}  ({count})" for name, count in zip(atlas.LOCATIONS, scores.truths, strict=True)]
    axes.set_yticks(place, names, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(len(place) - 0.5, -0.5), xlabel=f"average precision at IoU {scores.thresholds[0]:g}")
    axes.set_title(f"{scores.images} images, {scores.truths.sum()} true objects (per class in brackets)", fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.05), fontsize=8, frameon=False)
    return figure


def curves(scores: detection.Scores) -> matplotlib.figure.Figure:
    """Precision over recall of each class, with its envelope, whose area is the AP."""
    figure = matplotlib.figure.Figure(figsize=(12, 9.5), layout="constrained")
    panels = figure.subplots(4, 5, sharex=True, sharey=True).ravel()
    for index, (name, axes) in enumerate(zip(atlas.LOCATIONS, panels, strict=False)):
        recall, precision, _ = scores.curve(index)
        if len(recall) and scores.truths[index]:
            above = np.maximum.accumulate(precision[::-1])[::-1]
            axes.fill_between([0, *recall], [above[0], *above], step="pre", color="#4c78a8", alpha=0.25)
            axes.plot(recall, precision, color="#4c78a8", linewidth=0.9)
        ap = "no truth" if math.isnan(scores.ap[0, index]) else f"AP {scores.ap[0, index]:.3f}"
        axes.set_title(f"{name[:28]}\n{ap}, {scores.truths[index]} true", fontsize=8)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    for axes in panels[len(atlas.LOCATIONS) :]:
        axes.set_axis_off()
    figure.supxlabel("recall")
    figure.supylabel("precision")
    return figure


def print_extras(record: Mapping[str, Any]) -> None:
    """What the table does not say."""
    matched = f"{record['matched_cells']} of {record['truth_cells']} true cells matched by one of"
    print(f"{matched} {record['predicted_cells']}, mean IoU {record['mean_matched_iou']:.4f}")
    for other in record["by_iou"][1:]:
        print(f"at IoU {other['iou']:g}: {other['map_fixed']:.4f} fixed, {other['map_present']:.4f} present")
    if "bootstrap" in record:
        for name in ("fixed", "present"):
            spread = record["bootstrap"][f"map_{name}"]
            told = f"{spread['low']:.4f} to {spread['high']:.4f} (95%), sd {spread['sd']:.4f}"
            print(f"mAP ({name}) over resampled images: {told}")
        if record["bootstrap"]["map_fixed"]["high"] <= record["bootstrap"]["map_fixed"]["value"]:
            print("fixed: few images; a class that a resample misses counts as 0 in it, so its interval lies low")
    for part, numbers in record.get("split", {}).items():
        print(f"{part}: mAP {numbers['map_fixed']:.4f} on {numbers['images']} images")
    if "against" in record:
        gain = record["against"]["difference"]
        span = f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        print(f"mAP minus that of {record['against']['submission']}: {span}, P = {record['against']['p']:.4f}")
