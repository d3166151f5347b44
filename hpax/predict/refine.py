"""Labels of single cells from the labels of their field and the predictions of a network (Le et al. 2022, Methods).

The cells inherit the labels of their field, and keep those that the network finds likely; a cell without any is
negative. So no label is added but Negative. Probabilities are (k cells, 19 classes), the result is 0 or 1; or soft
(`shares`), for the training of another network.
"""

import numpy as np
from jaxtyping import Float, Num, UInt8

from hpax import atlas

Probabilities = Float[np.ndarray, "k 19"]
Labels = UInt8[np.ndarray, "k 19"]


def by_paper(field_labels: Num[np.ndarray, " 19"], probabilities: Probabilities) -> Labels:
    """The product of labels and probabilities, rounded, a half upwards.

    The paper says "round up"; a literal ceiling would keep every label, while the paper has it remove unlikely ones.
    """
    return _or_negative(field_labels * probabilities >= 0.5)


def by_code(field_labels: Num[np.ndarray, " 19"], probabilities: Probabilities) -> Labels:
    """As published in code: the probabilities over the cell's highest, rounded to quarters, times the labels, rounded.

    Halves are rounded to even, so a label is kept where its share of the highest probability is over 5/8.
    """
    highest = probabilities.max(1, keepdims=True)
    shares = np.divide(probabilities, highest, out=np.zeros_like(probabilities), where=highest > 0)
    return _or_negative(np.round(field_labels * np.round(4 * shares) / 4) > 0)


def shares(field_labels: Num[np.ndarray, " n"], probabilities: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Soft labels in [0, 1]: of each label of the field, a cell's probability over that of the field's surest cell.

    So at least one cell keeps each label whole, however unsure the network is of it; other classes are 0.
    """
    surest = probabilities.max(0, initial=0.0, keepdims=True)
    parts = np.divide(probabilities, surest, out=np.zeros_like(probabilities), where=surest > 0)
    return field_labels * parts


def _or_negative(kept: np.ndarray) -> Labels:
    labels = kept.astype(np.uint8)
    labels[~kept.any(1), atlas.NEGATIVE] = 1
    return labels
