"""Lists of proteins that people bring: those whose cells differ, as the Human Protein Atlas annotates them, or any."""

import os
import re

from hpax.formats import tables

VARIATION = ("single-cell_variation_intensity", "single-cell_variation_spatial")
"""Columns of the atlas's table of subcellular locations that name where cells of a protein differ; "" for nowhere."""

NAMES = (*tables.PROTEIN, "ensembl", "ensembl_id")
"""Columns that name proteins, by their genes as well."""

_TWO_NAMES = re.compile(r"([^()\s]+) \(([^()\s]+)\)")


def aliases(name: str) -> frozenset[str]:
    """What a protein may be called: `CCNB1 (ENSG00000134057)` is CCNB1, and ENSG00000134057, too."""
    parts = _TWO_NAMES.fullmatch(name)
    return frozenset({name, *(parts.groups() if parts else ())})


def variable(path: str | os.PathLike[str]) -> frozenset[str]:
    """The names of the proteins whose cells differ, all that the table has for each.

    Of the table of subcellular locations that proteinatlas.org offers, those with a single-cell variation in intensity
    or in space; of a table of names alone, all that it lists.

    Raises:
        ValueError: no column of names, or none that is filled; other columns, none of which tells of variation; what
            `tables.read` refuses.
    """
    columns = tables.columns(os.fspath(path))
    named = [column for column in NAMES if column in columns]
    if not named:
        told = tables.listed(columns)
        raise ValueError(f"{path} must name proteins in one of the columns {', '.join(NAMES)}, it has {told}")
    told_by = [column for column in VARIATION if column in columns]
    if not told_by and (others := [column for column in columns if column and column not in NAMES]):
        told = f"it has {tables.listed(others)}; give a table of the names of variable proteins alone"
        raise ValueError(f"{path} must say in {' or '.join(VARIATION)} which proteins are variable, {told}")
    found: set[str] = set()
    for row in tables.read(os.fspath(path)):
        if not told_by or row.first(*told_by):
            found.update(value for column in named if (value := row.first(column)))
    if not found:
        raise ValueError(f"{path} names no protein whose cells differ; leave it out, or give another table")
    return frozenset(found)
