"""Tables as CSV, and lists of what there is to know, in a page."""

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpax import files
from hpax.explore import page

LISTED = 200  # rows of a table in a page


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """A CSV that appears once complete; its columns are those of the first row, or `columns`."""
    rows = iter(rows)
    with (
        files.replacing(path) as draft,
        draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        first = list(itertools.islice(rows, 1))
        writer = csv.DictWriter(file, columns or list(first[0] if first else ()))
        writer.writeheader()
        writer.writerows(itertools.chain(first, rows))


def listing(name: str, told: Sequence[tuple[str, str]], file: str) -> page.Table | page.Text:
    """What is told of single fields, for a page: the first of them, and where the others are."""
    if not told:
        return page.Text("None.")
    caption = f"The first {LISTED} of {len(told)}; all are in {file}." if len(told) > LISTED else ""
    return page.Table(["field", name], told[:LISTED], caption)
