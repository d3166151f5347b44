"""The scorer's experiments: agreement with COCOeval on drawn cells, and with pycocotools' IoU on real ones."""

import csv
import json

import numpy as np
import pytest
from pycocotools import mask as coco

from experiments import benchmark_scorer, score_atlas_masks
from hpax.formats import label_images, rle
from hpax.metrics import corrected_masks, drawn_submission, scoring_speed
from hpax.ops import overlap

DRAWN = drawn_submission.Size(images=12, cells=150, size=160)


def test_recalls_are_those_of_cocoeval_and_areas_close():
    pairs = [pair[::-1] for pair in drawn_submission.pairs(DRAWN)]
    metrics, _, scores = scoring_speed.parts(pairs)
    beside = scoring_speed.beside_coco(pairs, scores, metrics["decoded to score (s)"])
    assert beside["largest difference in recall"] < 1e-12
    assert beside["mAP of pycocotools"] == pytest.approx(scores.mean(), abs=0.02)
    assert 0.2 < scores.mean() < 0.9


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    command = ["--images", "3", "--size", "128", "--workdir", str(tmp_path)]
    assert benchmark_scorer.main(command) == 0
    metrics = json.loads((tmp_path / "default" / "seed0" / "result.json").read_text())["metrics"]
    assert 0 < metrics["decoded to score (s)"] < metrics["CSV to score (s)"]
    assert not list(tmp_path.rglob("*.csv"))


def test_predicted_masks_carry_the_labels_of_the_cells_they_cover(tmp_path):
    truth = np.kron(np.array([[1, 2, 0], [3, 3, 0]], np.uint8), np.ones((10, 10), np.uint8))
    predicted = np.roll(truth, 1, axis=1)
    predicted[:5, 25:] = 4  # a cell that is none
    for side, image in (("truth", truth), ("predicted", predicted)):
        (tmp_path / f"{side}_masks").mkdir()
        label_images.write(tmp_path / f"{side}_masks" / "a.png", image)
    rows = [
        {"image_id": "a", "cell_index": index, "cell_labels": text} for index, text in ((1, "0;7"), (2, "18"), (3, ""))
    ]
    with open(tmp_path / "cells.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    ((true, found),) = corrected_masks.fields(tmp_path)
    assert (true.label.tolist(), true.mask.tolist()) == ([0, 7, 18], [0, 0, 1])
    assert (found.label.tolist(), found.mask.tolist()) == ([0, 7, 18], [0, 0, 1])
    np.testing.assert_allclose(found.score, 0.9)
    workdir = tmp_path / "work"
    workdir.mkdir()
    result = score_atlas_masks.run(score_atlas_masks.Config(data=str(tmp_path), resamples=5), workdir)
    assert result.metrics["mAP of present classes"] == 1
    assert (
        result.metrics["matched cells at IoU 0.9"] == 0 < result.metrics["matched cells"] == 2
    )  # the third has no label
    assert len((workdir / "cells.csv").read_text().splitlines()) == 2


@pytest.mark.real
def test_real_cells_overlap_as_pycocotools_says(real_data):
    folder = real_data / "hpa_single_cell_truth"
    for path in sorted((folder / "truth_masks").iterdir())[:6]:
        sides = [label_images.read(side / path.name) for side in (folder / "predicted_masks", folder / "truth_masks")]
        runs, indices = zip(*map(label_images.runs, sides), strict=True)
        counts = len(indices[0]), len(indices[1])
        shared = overlap.of_runs(*runs, counts)
        ious = overlap.iou(shared, *(overlap.areas(*side) for side in zip(runs, counts, strict=True)))
        coded = [
            [{"size": list(image.shape), "counts": text} for text in rle.encode(side, count, image.size)]
            for side, count, image in zip(runs, counts, sides, strict=True)
        ]
        np.testing.assert_array_equal(ious, coco.iou(*coded, [False] * counts[1]))
        joint, *values = overlap.of_labels(*sides)
        np.testing.assert_array_equal(joint[1:, 1:], shared)
        assert [list(value[1:]) for value in values] == [list(index) for index in indices]
