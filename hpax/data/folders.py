"""A folder of fields and the table of their labels, however they came: nothing is read but names and the table.

    here = labelled("kaggle")  # train.csv beside train/ and test/, or any folder with a table
    here.fields, here.labels, here.unlabelled

A field without a label is not known, which is not the same as negative.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from hpax import atlas
from hpax.formats import fields, pictures, proteinatlas, tables
from hpax.formats.fields import FieldFiles
from hpax.formats.tables import Annotation

NOTHING = Annotation(atlas.multi_hot([]))
"""What is known of a field that the table does not name."""

NAMED = 3  # ids that a remark names at most
SIMULATED = "simulated.json"
"""In a folder whose fields `hpax simulate` drew: seed, realism and version."""

Kind = Literal["simulated", "real"]


def kind(folder: str | pathlib.Path) -> Kind:
    """Whether the fields of a folder are simulated, which the file SIMULATED in it says, or real."""
    return "simulated" if (pathlib.Path(folder) / SIMULATED).is_file() else "real"


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The fields of a folder, and what its table says of them."""

    folder: pathlib.Path
    fields: list[FieldFiles]  # that have all their channels, by id
    annotations: dict[str, Annotation]  # of those fields that the table names, by their ids
    table: pathlib.Path | None = None  # where the labels come from
    unknown_ids: list[str] = dataclasses.field(default_factory=list)  # of the table, that no field has
    faults: dict[str, OSError | ValueError] = dataclasses.field(default_factory=dict)  # why others are no fields, by id

    @functools.cached_property
    def labels(self) -> UInt8[np.ndarray, "n 19"]:
        """The classes of every field; none where they are not known."""
        rows = [self.annotations.get(files.id, NOTHING).labels for files in self.fields]
        return np.array(rows, np.uint8).reshape(-1, len(atlas.LOCATIONS))

    @property
    def labelled(self) -> Bool[np.ndarray, " n"]:
        """Which fields have a label."""
        return np.any(self.labels, axis=1)

    @property
    def unlabelled(self) -> list[str]:
        """The ids of the fields that have none."""
        return [files.id for files, known in zip(self.fields, self.labelled, strict=True) if not known]

    def remarks(self) -> list[str]:
        """What to tell before anything is made of the labels: how many fields have none, what could not be matched."""
        told = []
        if self.unlabelled:
            told.append(f"{len(self.unlabelled)} of {len(self.fields)} fields in {self.folder} have no label")
        if self.table is None:
            told += passed_over(self.folder)
        if self.unknown_ids:
            some = _some(self.unknown_ids)
            told.append(f"{len(self.unknown_ids)} ids in {self.table} are of no field in {self.folder}, such as {some}")
        if self.faults:
            first = next(iter(self.faults.values()))
            told.append(f"{len(self.faults)} fields in {self.folder} are left out, the first because {first}")
        return told


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED])


def labelled(folder: str | pathlib.Path, annotations: str = "") -> Labelled:
    """The fields of a folder with their labels, at least one of which has one; `annotations` names the table.

    Raises:
        FileNotFoundError: the folder is missing, or holds no field, or there is no such table.
        ValueError: no field has a label; or the table is wrong, or it is not clear which one has the labels.
    """
    folder = pathlib.Path(folder)
    survey = fields.survey(folder)
    found = dataclasses.replace(annotated(folder, survey.fields, annotations), faults=survey.faults)
    if not found.fields:
        raise next(iter(survey.faults.values()))
    if not found.labelled.any():
        raise ValueError(f"none of {len(found.fields)} fields in {folder} has a label: {_why(found)}")
    return found


def _why(found: Labelled) -> str:
    if found.table is None:
        there = next(passed_over(found.folder), "there is no table; put one (.csv or .tsv) at the top of that folder")
        return f"{there}; it needs the columns id and label, or name another table (annotations)"
    if found.annotations:
        return f"{found.table} names their ids, but no class; fill in its labels"
    ids = f"such as {_some(found.unknown_ids)}, where fields are called {_some([f.id for f in found.fields])}"
    return f"{found.table} has other ids, {ids if found.unknown_ids else 'or none'}; name the table of these fields"


def annotated(folder: pathlib.Path, found: Sequence[FieldFiles], annotations: str = "") -> Labelled:
    """Some fields of a folder with what its table says of them, if there is one.

    Raises:
        FileNotFoundError, ValueError: as `labelled`, but for fields without label.
    """
    table = find_table(folder, annotations)
    if table is None:
        return Labelled(folder, list(found), {})
    ids = [files.id for files in found]
    known, unknown = tables.match(ids, fields.read_annotations(table, ids=ids))
    return Labelled(folder, list(found), known, table, unknown)


def size_remarks(folder: pathlib.Path, found: Sequence[FieldFiles], um_per_pixel: float = 0.0) -> Iterator[str]:
    """What to tell of pixel sizes that are guessed, or that `um_per_pixel` contradicts; each once."""
    guessed: list[str] = []
    against: list[str] = []
    for files in found:
        try:
            shape = (pictures.size(files.paths[-1]) if files.estimates else None) or (1, 1)
            size = fields.pixel_size(files, shape, um_per_pixel)
        except (ValueError, OSError):  # who reads the field says what is wrong with it
            continue
        if size.source == "width":
            guessed.append(files.id)
        if size.source == "option" and size.remark:
            against.append(f"{files.id}: {size.remark}")
    if guessed:
        yield (
            f"{len(guessed)} of {len(found)} fields in {folder} state no pixel size; it is guessed from their width, "
            "as of HPA fields; give um_per_pixel (--um-per-pixel) if you know it"
        )
    if against:
        yield f"um_per_pixel contradicts {len(against)} of {len(found)} fields in {folder}; {against[0]}"


def find_table(folder: pathlib.Path, annotations: str = "") -> pathlib.Path | None:
    """The table of labels: the one that is named, else the only one at the folder's top, beside it, or just below.

    Beside a folder `train` lies `train.csv`, as Kaggle ships it. Tables without columns for ids and labels, such as
    `sample_submission.csv`, are passed over.

    Raises:
        FileNotFoundError: the named one is not there.
        ValueError: several could be meant.
    """
    if annotations:
        if not (folder / annotations).is_file():
            raise FileNotFoundError(f"{folder / annotations} is not there; name a table in {folder}, or its whole path")
        return folder / annotations
    below = [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not fields.is_stray(pathlib.Path(path.name))
    ]
    for place in (_tables(folder), tables.beside(folder), [table for path in below for table in _tables(path)]):
        able = [path for path in place if tables.holds_labels(path)]
        if len(able) > 1:
            names = ", ".join(str(path.relative_to(folder.parent)) for path in able)
            raise ValueError(f"{folder} holds several tables ({names}); name the one with the labels as annotations")
        if able:
            return able[0]
    return None


def passed_over(folder: pathlib.Path) -> Iterator[str]:
    """What is said of the tables at a folder's top that hold no labels."""
    for path in _tables(folder):
        if not tables.holds_labels(path):
            yield f"{path} is passed over, as its columns are {tables.listed(tables.columns(path))}"


def _tables(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in sorted(folder.iterdir()) if tables.is_table(path) and path.name != proteinatlas.FAILURES]
