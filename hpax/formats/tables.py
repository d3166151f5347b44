"""Tables that people bring: any of comma, semicolon and tab between the values, and labels of fields in many spellings.

What is not understood is an error that names the file, the line, the value and what to do; no label is lost silently.
"""

import collections
import csv
import dataclasses
import io
import logging
import pathlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import UInt

from hpax import atlas

SUFFIXES = (".csv", ".tsv")
"""How a table's name ends, in any case; what separates its values is found in its header."""

LARGEST = 2**28  # bytes of a table; that of 100,000 fields has 0.05 of it

IDS = ("id", "image_id", "imageid", "image", "field", "filename", "file_name", "file")
LABELS = ("label_idx", "labels", "label", "locations")
TARGET = "target"  # class numbers of the competition of 2018
PROTEIN = ("protein", "gene", "gene_name")
ANTIBODY = ("antibody",)
CELL_LINE = ("cell_line", "cellline")
"""Columns, in any capitalisation; of several that a table has, the first one with a value counts."""

_NOTHING = ("", "nan", "na", "n/a", "null")  # how tables say that a label is not known
_PICTURE = re.compile(r"(\.ome)?\.(png|jpe?g|tiff?)(\.gz)?$", re.IGNORECASE)
_COLOUR = re.compile(rf"(_({'|'.join(atlas.COLOURS.values())}))+$")
_DECIMAL_COMMA = re.compile(r"[0-9]{1,2},0+")
_NUMBER = re.compile(r"[0-9]{1,9}(\.0*)?")
_GO = re.compile(r"\s*\(GO:[0-9]+\)$", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row under a header: its values without blanks around them by column, and where it stands."""

    where: str  # file and line, for errors
    values: Mapping[str, str]

    def first(self, *columns: str) -> str:
        """The value of the first of these columns that has one; "" if none has."""
        for column in columns:
            if value := self.values.get(column, ""):
                return value
        return ""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What a table says about a field: its classes (19,) uint8, and what it shows; "" where the table does not know."""

    labels: UInt[np.ndarray, "19"]
    protein: str = ""
    antibody: str = ""
    cell_line: str = ""


def is_table(path: pathlib.Path) -> bool:
    """Whether a file is named as a table, and not hidden as macOS's companions (`._labels.csv`) are."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def beside(folder: pathlib.Path) -> list[pathlib.Path]:
    """The tables that lie beside a folder under its name, as `train.csv` beside `train` in Kaggle's competitions."""
    folder = folder.resolve()
    named = (folder.parent / f"{folder.name}{suffix}" for suffix in SUFFIXES)
    return [path for path in named if is_table(path)]


def columns(path: str | pathlib.Path) -> list[str]:
    """The columns of a table: lower case, `_` for blanks.

    Raises:
        ValueError: no text.
    """
    return _header(pathlib.Path(path))[0]


def listed(columns: Sequence[str]) -> str:
    """The columns of a table as an error shows them: the first ten, in short."""
    shown = ", ".join(column if len(column) <= 40 else f"{column[:40]}…" for column in columns[:10])
    return shown if len(columns) <= 10 else f"{shown} and {len(columns) - 10} more"


def read(path: str | pathlib.Path) -> Iterator[Row]:
    """The rows of a table with a header; rows without a value are passed over.

    Raises:
        ValueError: no text in UTF-8 (or UTF-16 with a byte order mark), a column named twice, a row with more values
            than the header has, a line break within a value, as an unbalanced quote makes one.
    """
    path = pathlib.Path(path)
    names, delimiter, above, lines = _header(path)
    if twice := [name for name, count in collections.Counter(names).items() if name and count > 1]:
        raise ValueError(f"{path} has several columns {twice[0][:80]!r}; keep one of them")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for values in reader:
            where = f"{path}, line {above + reader.line_num}"
            values = [value.strip() for value in values]
            if broken := [value for value in values if "\n" in value or "\r" in value]:
                raise ValueError(f"{where}: {broken[0][:60]!r} has a line break; is a quote missing?")
            if more := [value for value in values[len(names) :] if value]:
                raise ValueError(f"{where}: {more[0][:60]!r} is beyond the last column; put quotes around lists")
            if any(values):
                yield Row(where, dict(zip(names, values, strict=False)))
    except csv.Error as error:
        raise ValueError(f"{path}, line {above + reader.line_num}: {error}; is a quote missing?") from error


def _header(path: pathlib.Path) -> tuple[list[str], str, int, Iterator[str]]:
    """Names of the columns, what separates them, how many lines they end after, and the lines below."""
    lines = iter(io.StringIO(_text(path), newline=""))
    line, above = next(lines, ""), 1
    if re.fullmatch(r'"?sep=.?"?', line.strip(), re.IGNORECASE):  # what Excel writes above a header
        line, above = next(lines, ""), 2
    delimiter = max(",\t;", key=line.count)
    try:
        names = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise ValueError(f"{path}, line 1: {error}; it must be a line of column names") from error
    return ["_".join(name.lower().split()) for name in names], delimiter, above, lines


def _text(path: pathlib.Path) -> str:
    if path.stat().st_size > LARGEST:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes, more than a table of fields may ({LARGEST}); is it one?"
        )
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        told = f"byte {data[error.start]:#04x} is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'}"
        raise ValueError(f"{path}, line {line}: {told}; save the table as CSV UTF-8") from error
    if "\0" in text:
        raise ValueError(f"{path} is no text; save the table as CSV UTF-8")
    return text


def holds_labels(path: str | pathlib.Path) -> bool:
    """Whether a table has the columns that `read_annotations` needs."""
    names = set(columns(path))
    return bool(names & set(IDS)) and bool(names & {*LABELS, TARGET})


def read_annotations(path: str | pathlib.Path, *, ids: Collection[str] | None = None) -> dict[str, Annotation]:
    """Field id → annotation, from a table with a header.

    Columns, in any capitalisation: one of IDS, an id or the name or address of a picture of it; one of LABELS, holding
    class numbers (`0|16`, `16.0`, `[0, 16]`, `0 16`) or HPA terms with |, ; or commas between them, where a repeated
    one counts once, "No staining" is Negative, and a term without a class is logged and left out; or `target`, holding
    class numbers of the competition of 2018 separated by spaces (see `atlas.KAGGLE_2018`); and, if there, one of
    PROTEIN, ANTIBODY and CELL_LINE. With `ids`, those of the fields at hand, what is wrong with other rows is logged
    only.

    Raises:
        ValueError: no such columns, a label that is none, Negative beside another class, an id given twice with
            different values, or decimal commas; it names the file and the line.
    """
    path = pathlib.Path(path)
    if not holds_labels(path):
        raise ValueError(
            f"{path} needs the columns id and label, got {listed(columns(path))}; rename the ones that hold them"
        )
    wanted = None if ids is None else {key(id) for id in ids}
    annotations: dict[str, Annotation] = {}
    classless: collections.Counter[str] = collections.Counter()
    torn: list[str] = []  # where columns of labels disagree
    texts: set[str] = set()
    for row in read(path):
        id = clean(row.first(*IDS))
        try:
            if not id:
                raise ValueError(f"{row.where}: there is no id; give one, or remove the row")
            annotation = _annotation(row, classless)
            if id in annotations and not _same(annotations[id], annotation):
                raise ValueError(f"{row.where}: id {id} comes twice; keep one row")
        except ValueError as error:
            if wanted is None or not {key(id), key(_COLOUR.sub("", id))}.isdisjoint(wanted):
                raise
            log.warning("a row of none of the fields is passed over: %s", error)
            continue
        annotations[id] = annotation
        torn += _disagreement(row, annotation)
        texts.add(row.first(TARGET, *LABELS))
    stated = texts - {""}
    if stated and _header(path)[1] == ";" and all(map(_DECIMAL_COMMA.fullmatch, stated)):
        raise ValueError(
            f"{path}: every label is like {min(stated)}, as with decimal commas; write 16 or 16|0, not 16,0"
        )
    if torn:
        log.warning("%s; %d rows of it say so, and the first column counts", torn[0], len(torn))
    if classless:
        told = ", ".join(f"{term} ({count})" for term, count in sorted(classless.items()))
        log.warning("%s: no class for %s, so left out", path, told)
    return annotations


def _disagreement(row: Row, annotation: Annotation) -> list[str]:
    """Where, and what, another column of a row says than the one that counts."""
    for column in LABELS:
        try:
            classes, _ = classes_of(row.values.get(column, ""), row.where)
        except ValueError:  # of a column that does not count
            continue
        known = set(np.flatnonzero(annotation.labels).tolist())
        if classes and set(classes) != known:
            return [f"{row.where}: {column} says {sorted(set(classes))}, where another column says {sorted(known)}"]
    return []


def _same(one: Annotation, other: Annotation) -> bool:
    told = [(a.labels.tolist(), a.protein, a.antibody, a.cell_line) for a in (one, other)]
    return told[0] == told[1]


def _annotation(row: Row, classless: collections.Counter[str]) -> Annotation:
    text = row.first(*LABELS)
    if row.values.get(TARGET):
        classes = _of_2018(row.values[TARGET], row.where)
    else:
        classes, left_out = classes_of(text, row.where)
        classless.update(left_out)
    try:
        labels = atlas.multi_hot(classes)
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from error
    return Annotation(labels, row.first(*PROTEIN), row.first(*ANTIBODY), row.first(*CELL_LINE))


def classes_of(text: str, where: str) -> tuple[list[int], list[str]]:
    """The classes that a value of a table names, in order, and the terms that have none among the 19.

    Raises:
        ValueError: something in it is neither a class number nor a term of `atlas.TERMS`.
    """
    text = text.strip()
    if text[:1] + text[-1:] in ("[]", "()", "{}"):
        text = text[1:-1].strip()
    if text.lower() in _NOTHING:
        return [], []
    parts = [part.strip().strip("\"'").strip() for part in re.split(r"[|;,]", text)]
    if len(parts) == 1 and all(_NUMBER.fullmatch(number) for number in text.split()):
        parts = text.split()
    classes, left_out = [], []
    for part in parts:
        if _NUMBER.fullmatch(part):
            classes.append(int(part.split(".")[0]))
        elif part:
            found = _class_of(part, where)
            if found is None:
                left_out.append(part)
            else:
                classes.append(found)
    return classes, left_out


def _class_of(term: str, where: str) -> int | None:
    try:
        return atlas.location_of(_GO.sub("", term))
    except KeyError as error:
        raise ValueError(
            f"{where}: label {term[:80]!r} is neither a class number from 0 to {len(atlas.LOCATIONS) - 1} nor a term "
            "of hpax.atlas.TERMS; correct it, or leave it empty if it is not known"
        ) from error


def _of_2018(target: str, where: str) -> list[int]:
    try:
        classes = [atlas.KAGGLE_2018[int(number)] for number in target.split()]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{where}: target must be class numbers of 2018, 0 to 27, got {target[:80]!r}") from error
    return [index for index in classes if index is not None]


def clean(id: str) -> str:
    """An id as tables give it: without folder or address, the suffix of a picture, blanks; composed (NFC)."""
    name = unicodedata.normalize("NFC", id).strip().replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _PICTURE.sub("", name).rstrip("_").strip()


def key(id: str) -> str:
    """What two spellings of one id have in common: `clean`, in one case."""
    return clean(id).casefold()


def match(ids: Sequence[str], annotations: Mapping[str, Annotation]) -> tuple[dict[str, Annotation], list[str]]:
    """Annotations by the ids of the fields at hand, and the ids of a table that no field has.

    An id of the table means the field of just that name; else the only one that differs by case, blanks, suffix or
    way of accents; else the one whose picture `{id}_{colour}` it names.

    Raises:
        ValueError: two rows mean one field and do not say the same.
    """
    exact = {unicodedata.normalize("NFC", id): id for id in ids}
    loose = _only_ones(ids)
    known: dict[str, Annotation] = {}
    row_of: dict[str, str] = {}
    unknown = []
    for row, annotation in annotations.items():
        id = exact.get(row) or loose.get(key(row)) or loose.get(key(_COLOUR.sub("", row.lower())))
        if id is None:
            unknown.append(row)
        elif id in known and not _same(known[id], annotation):
            raise ValueError(f"the rows {row_of[id]} and {row} of the table both mean field {id}; keep one of them")
        else:
            known[id], row_of[id] = annotation, row
    return known, unknown


def _only_ones(ids: Iterable[str]) -> dict[str, str]:
    """Key → id, of those ids whose key no other has."""
    by_key = collections.defaultdict(list)
    for id in ids:
        by_key[key(id)].append(id)
    return {name: members[0] for name, members in by_key.items() if len(members) == 1}
