"""Numbers of validation and test fields: of fields by their labels, of cells by the competition's metric."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from hpax.data import FieldSource
from hpax.metrics import classification, counting, detection


def score_cells(source: FieldSource, probabilities: Iterable[Float[np.ndarray, "_ n"]]) -> detection.Scores:
    """The competition's score of what is said of the cells of each field, in order, against the truth of the fields.

    Raises:
        ValueError: the true cells of a field are not known.
    """
    parts = []
    for number, (field, prob) in enumerate(zip(source, probabilities, strict=True)):
        if field.truth is None or field.cell_labels is None:
            raise ValueError(f"the true cells of field {field.id} are not known; score fields by their labels instead")
        cells, indices = field.found.cells, field.found.indices
        scores = np.full((int(indices.max(initial=0)), prob.shape[1]), np.nan)
        scores[indices - 1] = prob
        parts.append(counting.from_label_images(number, cells, scores, field.truth.cells, field.cell_labels))
    return detection.score(counting.merge(parts))


def field_map(source: FieldSource, probabilities: Float[np.ndarray, "f n"]) -> float:
    """The mean average precision of fields, over the classes that some of them show."""
    return classification.score(source.labels, probabilities).mean_ap


def validation_scores(
    source: FieldSource, fields: Float[np.ndarray, "f n"], cells: Iterable[Float[np.ndarray, "_ n"]] | None
) -> dict[str, float]:
    """The mAP of fields, and of their cells where something is said of them, for the log of a training."""
    found = {"field mAP": field_map(source, fields)}
    if cells is not None:
        found["cell mAP"] = score_cells(source, cells).mean("present")
    return found


def knows_cells(source: FieldSource) -> bool:
    """Whether the true cells of the fields are known, as those of simulated ones are."""
    return len(source) > 0 and source[0].cell_labels is not None
