"""The page and the files that a study of weakly supervised labels leaves."""

import csv
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from hpax import atlas, files
from hpax.data import FieldSource
from hpax.explore import charts, grids, labelled, page
from hpax.formats import kaggle, label_images
from hpax.metrics import classification, counting, detection
from hpax.predict import submission
from hpax.recipes.weak_study import CALIBRATED, COMPARED, RARE, VARIATION, Study

log = logging.getLogger(__name__)

SHOWN = 4  # fields in the picture
CELLS = "Cells of test fields in the colour of their most probable class: as predicted, and as they truly are"
VARIES = "mAP over the share of cells that differ from their field"
RELIABLE = "Share of cells that show a class over its probability, all classes together"


def sections(done: Study, metrics: Mapping[str, float]) -> list[page.Section]:
    """The page, from top to bottom."""
    return [
        page.Section("Which way labels single cells best?", [strategies_table(done, metrics)]),
        page.Section("Cells", [page.Picture(picture(done), CELLS, CELLS)]),
        page.Section("Does it matter how much cells vary?", [page.Picture(variation_chart(done, metrics), VARIES)]),
        page.Section("Are probabilities frequencies?", [page.Picture(reliability_chart(done), RELIABLE)]),
        page.Section("Each class, rare ones first", [classes_table(done)]),
    ]


def strategies_table(done: Study, metrics: Mapping[str, float]) -> page.Table:
    """Every strategy, on found and on true masks, and on rare classes."""
    rows: list[list[str | float | None]] = []
    for name in done.predictions:
        rows.append([name, done.mean(name), metrics.get(f"mAP on true masks, {name}"), done.rare(name)])
    about = f"{len(done.split.test)} fields of proteins that no network saw; mask mAP at IoU 0.6 of classes with truth"
    gaps = [f"{name} {value:.2f}" for name, value in metrics.items() if name.startswith("gap closed")]
    caption = ". ".join([about, f"{done.split.kind.capitalize()} cells", *gaps])
    return page.Table(["strategy", "mAP", "on true masks", f"{RARE} rarest classes"], rows, caption)


def classes_table(done: Study) -> page.Table:
    """AP of every class by the strategies that are compared."""
    names, fields = done.there(COMPARED), done.split.training.labels.sum(0)
    truths, ap = done.scores[names[0]].truths, np.stack([done.scores[name].ap[0] for name in names], axis=1)
    rows = [[atlas.LOCATIONS[k], int(fields[k]), int(truths[k]), *ap[k].tolist()] for k in done.rarest()]
    return page.Table(["class", "training fields", "true cells", *names], rows, "AP at IoU 0.6")


def variation_chart(done: Study, metrics: Mapping[str, float]) -> np.ndarray:
    """mAP against how many cells of a field differ from it."""
    share = done.variation
    across = [share[(share > low) & (share <= high)] for low, high in VARIATION.values()]
    x = [float(part.mean()) if len(part) else np.nan for part in across]
    lines = {}
    for name in done.there(COMPARED):
        lines[name] = (x, [metrics[f"mAP of fields where {kind}, {name}"] for kind in VARIATION])
    title = f"fields: {', '.join(str(len(part)) for part in across)}"
    return charts.curves(lines, across="share of cells that differ from their field", up="mAP", title=title)


def reliability_chart(done: Study) -> np.ndarray:
    """Frequency against probability, all classes together."""
    truth, lines = done.truth.reshape(-1, 1), {"as it should be": ([0.0, 1.0], [0.0, 1.0])}
    for name in done.there(CALIBRATED):
        found = classification.calibrate(truth, np.concatenate(done.predictions[name]).reshape(-1, 1), bins=50)
        lines[name] = (found.probability[0], found.frequency[0])
    return charts.curves(lines, across="probability", up="share of cells that show the class")


def picture(done: Study) -> np.ndarray:
    """Test fields from those whose cells agree to those that vary, cells in the colour of their label."""
    order = np.argsort(done.variation, kind="stable")
    places = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).astype(int))].tolist()
    predicted, true, titles = [], [], []
    for place in places:
        field, prob = done.split.test[place], done.predictions["ensemble"][place]
        assert field.truth is not None
        assert field.cell_labels is not None
        predicted.append(labelled.labelled(field.image, field.found, prob, side=384))
        true.append(labelled.labelled(field.image, field.truth, field.cell_labels.astype(np.float32), side=384))
        titles.append(field.id)
    return grids.grid(_of_one_width([predicted, true]), names=["predicted", "true"], titles=titles)


def _of_one_width(rows: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Pictures whose legends differ in width, with black beside the narrower ones."""
    wide = max(each.shape[1] for row in rows for each in row)
    padded = []
    for row in rows:
        padded.append([np.pad(each, ((0, 0), (0, wide - each.shape[1]), (0, 0))) for each in row])
    return padded


def submit(test: FieldSource, probabilities: Iterable[np.ndarray], workdir: Path) -> None:
    """Writes submission.csv and cells.h5ad of the fields, in order; ids that no submission may have are left out."""
    with submission.writer(workdir) as cells:
        for field, prob in zip(test, probabilities, strict=True):
            try:
                kaggle.check_id(field.id)
            except ValueError as error:  # of one field, when all have been predicted
                log.warning("field %s is left out of %s: %s", field.id, workdir / submission.SUBMISSION, error)
                continue
            cells.add(field.id, field.found, prob, um_per_pixel=field.um_per_pixel, obs=dict(field.origin))


def submission_map(test: FieldSource, workdir: Path) -> float:
    """The score of submission.csv against the truth of the fields, which is left as truth.csv: 19 classes."""
    with kaggle.writing(workdir / "truth.csv") as add:
        for field in test:
            assert field.truth is not None
            assert field.cell_labels is not None
            add(label_images.listing(field.id, field.truth.cells, label_images.truth_scores(field.cell_labels)))
    return file_map(workdir / "truth.csv", workdir / submission.SUBMISSION)


def file_map(truth: Path, predicted: Path) -> float:
    """The mask mAP at IoU 0.6 of a submission against a truth, both files: 19 classes."""
    found, _ = counting.from_csv(truth, predicted)
    return detection.score(found).mean()


def write_classes(path: Path, done: Study) -> None:
    """The AP of every class and strategy, beside the number of training fields and true cells."""
    fields = done.split.training.labels.sum(0)
    truths = next(iter(done.scores.values())).truths
    with files.replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "training fields", "true cells", *done.scores])
        for label, name in enumerate(atlas.LOCATIONS):
            ap = [f"{found.ap[0][label]:.4f}" for found in done.scores.values()]
            rows.writerow([name, int(fields[label]), int(truths[label]), *ap])
