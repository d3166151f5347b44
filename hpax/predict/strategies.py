"""Every way from what networks say of a field, its maps and its cells to labels of the cells (Le et al. 2022)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from hpax.predict import combine

Cells = Float[np.ndarray, "k n"]
OfFields = Sequence[Float[np.ndarray, "_ n"]]
"""Of each field the probabilities of its cells, whose number differs from field to field."""


class Opinions(NamedTuple):
    """What an image-level and a cell-level network say of one field."""

    field: Float[np.ndarray, " n"]
    maps: Cells  # read off the maps for each cell
    cells: Cells


def pooled(cells: Cells, field: Float[np.ndarray, " n"] | None = None) -> Float[np.ndarray, " n"]:
    """What the cells of a field say on average; if there is none, what the field does, or no class."""
    if len(cells):
        return cells.mean(0)
    return np.zeros(cells.shape[1]) if field is None else field


def strategies(opinions: Opinions, labels: Num[np.ndarray, " n"]) -> dict[str, Cells]:
    """Strategy → probabilities of the cells; the last three are told the field's labels."""
    field, maps, cells = opinions
    mean, known = pooled(cells, field), labels * 1.0
    ensemble = combine.fuse(field, [maps, cells])  # fixed beforehand
    return {
        "field copied": np.tile(field, (len(cells), 1)),
        "cells pooled and copied": np.tile(mean, (len(cells), 1)),
        "maps": maps,
        "cell": cells,
        "image × cell": combine.product(field, cells),
        "image + cell": combine.weighted_mean(field, cells),
        "image × maps": combine.product(field, maps),
        "image + maps": combine.weighted_mean(field, maps),
        "cells pooled + cell": combine.weighted_mean(mean, cells),
        "ensemble": ensemble,
        "ensemble, negative excludes": combine.negative_excludes(ensemble),
        "ensemble, negative is the rest": combine.negative_as_complement(ensemble),
        "labels copied": np.tile(known, (len(cells), 1)),
        "labels × cell": known * cells,
        "labels × ensemble": known * ensemble,
    }


def variants(
    name: str, cells: OfFields, opinions: Sequence[Opinions], labels: Num[np.ndarray, "f n"]
) -> dict[str, list[Float[np.ndarray, "_ n"]]]:
    """The strategies that another cell-level model opens, in place of that of the ensemble; of each field in order."""
    fused, known = [], []
    for own, prob, row in zip(opinions, cells, labels, strict=True):
        fused.append(combine.fuse(own.field, [own.maps, prob]))
        known.append(row * prob)
    return {name: list(cells), f"ensemble, {name}": fused, f"labels × {name}": known}
