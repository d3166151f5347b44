"""Submissions and truths of the HPA single-cell competition as CSV: streamed, and distrusted until read.

A row is `ID,ImageWidth,ImageHeight,PredictionString`; the last is a list of `class score mask` triples, where a cell's
mask is repeated for each of its classes. A mask is COCO run-length text, compressed by zlib, in base64. A truth has the
same layout, its scores mean nothing. A `Table` keeps only where each row lies, so memory is bounded by one row.

    table = kaggle.strict("submission.csv", truth="truth.csv")   # raises, naming the first twenty defects
    for listing in table: ...                                    # one image at a time
"""

import base64
import binascii
import contextlib
import dataclasses
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from hpax import atlas, files
from hpax.formats import rle

HEADER = ("ID", "ImageWidth", "ImageHeight", "PredictionString")

PLACEHOLDER = b"0 1 eNoLCAgIMAEABJkBdQ=="
"""What the competition's sample submission holds in every row: an all-background mask of 2048 × 2048 pixels."""

LONGEST = 256  # characters of an ID

SHOWN = 20
"""How many defects an error names."""

_CLASSES = {str(index).encode(): index for index in range(len(atlas.LOCATIONS))}
_BLANK = (b"", b"nan", b"NaN", PLACEHOLDER)
_SIZE = re.compile(rb"[1-9][0-9]{0,6}")


class Defect(NamedTuple):
    """Something wrong with a row, or with one triple of it."""

    row: int  # line of the file, the header is 1; 0 for the whole file
    id: str
    position: int  # of the triple in its row, from 1; 0 for the whole row
    fault: str
    warning: bool = False  # the row can be scored all the same

    def __str__(self) -> str:
        where = f"row {self.row}" if self.row else "file"
        where += f", ID {self.id[:80]!r}" if self.id else ""
        where += f", triple {self.position}" if self.position else ""
        return f"{where}: {self.fault}"


class SubmissionError(ValueError):
    """A file with defects; the message names the first twenty, `defects` holds those that were found.

    A file that was not read to its end says "at least".
    """

    def __init__(self, path: str | os.PathLike[str], defects: Sequence[Defect], complete: bool = True):
        self.defects = list(defects)
        more = len(self.defects) - SHOWN
        lines = [
            f"{os.fspath(path)} must be free of defects, it has {'' if complete else 'at least '}{len(self.defects)}:"
        ]
        lines += [f"  {defect}" for defect in self.defects[:SHOWN]] + ([f"  and {more} more"] if more > 0 else [])
        super().__init__("\n".join(lines))


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask for; anything beyond is a defect."""

    row: int = 2**26  # bytes of one row
    pixels: int = 2**28  # of one image
    masks: int = 20_000  # distinct masks of one image
    expansion: int = 2**22  # bytes of run-length text of one image, once unpacked


LIMITS = Limits()
"""Far beyond any real image, and what a machine of 4 GB can hold."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What one row lists, in its order; masks that several triples share are held once."""

    id: str
    height: int  # pixels
    width: int
    label: Int32[np.ndarray, " d"]  # class of each triple
    score: Float64[np.ndarray, " d"]
    mask: Int32[np.ndarray, " d"]  # which of the distinct masks
    runs: rle.Runs  # of the distinct masks
    masks: int  # how many distinct masks there are, those without a pixel included

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return self.height * self.width


class Entry(NamedTuple):
    """Where a row lies in its file, and what its first three columns say."""

    id: str
    row: int
    height: int
    width: int
    offset: int  # bytes, of the PredictionString
    size: int


class Table:
    """The rows of a CSV by ID, read from the file when asked for.

    `defects` holds what is wrong with the header and the first three columns; such rows are left out.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits = LIMITS):
        self.path, self.limits = Path(path), limits
        self.defects: list[Defect] = []
        self.entries: dict[str, Entry] = {}
        for found in _index(self.path, limits):
            if isinstance(found, Defect):
                self.defects.append(found)
            elif first := self.entries.get(found.id):
                fault = f"IDs must be unique, row {first.row} has this one too; keep one of them"
                self.defects.append(Defect(found.row, found.id, 0, fault))
            else:
                self.entries[found.id] = found

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, id: str) -> tuple[Listing, list[Defect]]:
        """The listing of a row without its damaged triples, and these as defects; KeyError if there is no such row."""
        entry = self.entries[id]
        with open(self.path, "rb") as file:
            file.seek(entry.offset)
            return parse(entry, file.read(entry.size), self.limits)

    def __iter__(self) -> Iterator[Listing]:
        """Every listing in the order of the file; a SubmissionError at the first row with a defect."""
        for id in self.entries:
            listing, defects = self.read(id)
            if errors := [defect for defect in defects if not defect.warning]:
                raise SubmissionError(self.path, errors)
            yield listing

    def against(self, truth: "Table") -> list[Defect]:
        """IDs that the truth does not know or that are missing here, and images of another size there."""
        defects = []
        for id, entry in self.entries.items():
            if (known := truth.entries.get(id)) is None:
                defects.append(Defect(entry.row, id, 0, "the truth has no image of this ID; remove the row"))
            elif (entry.height, entry.width) != (known.height, known.width):
                fault = f"the image is {known.width} wide and {known.height} high in the truth"
                defects.append(Defect(entry.row, id, 0, f"{fault}, {entry.width} and {entry.height} here"))
        if any(defect.row == 1 for defect in self.defects):  # no row was read
            return []
        missing = truth.entries.keys() - self.entries.keys() - {defect.id for defect in self.defects}
        return defects + [
            Defect(0, id, 0, "this image of the truth has no row; add one, empty if need be")
            for id in truth.entries
            if id in missing
        ]


def report(
    path: str | os.PathLike[str], truth: str | os.PathLike[str] | None = None, limits: Limits = LIMITS
) -> list[Defect]:
    """Every defect of a file, warnings included, in the order of its rows; missing IDs come last."""
    table = Table(path, limits)
    defects = table.defects + (table.against(Table(truth, limits)) if truth is not None else [])
    for id in table.entries:
        defects += table.read(id)[1]
    return sorted(defects, key=lambda defect: (defect.row == 0 and bool(defect.id), defect.row, defect.position))


def strict(path: str | os.PathLike[str], truth: str | os.PathLike[str] | None = None, limits: Limits = LIMITS) -> Table:
    """The table of a file whose every row was read and found right; warnings are let pass.

    Raises:
        SubmissionError: there are defects; the message names the first twenty.
    """
    if errors := [defect for defect in report(path, truth, limits) if not defect.warning]:
        raise SubmissionError(path, errors)
    return Table(path, limits)


def parse(entry: Entry, text: bytes, limits: Limits = LIMITS) -> tuple[Listing, list[Defect]]:
    """The listing that a PredictionString holds without its damaged triples, and what is wrong with these."""
    tokens = [] if text.strip() in _BLANK else text.split()
    faults: dict[int, str] = {}
    if len(tokens) % 3:
        faults[0] = f"the list must be triples of class, score and mask, it has {len(tokens)} parts; none is read"
        tokens = []
    labels, scores = _labels(tokens[0::3], faults), _scores(tokens[1::3], faults)
    place = {token: index for index, token in enumerate(dict.fromkeys(tokens[2::3]))}
    if len(place) > limits.masks:
        faults[0] = f"an image may have {limits.masks} distinct masks, this has {len(place)}; raise Limits.masks"
        labels, scores, place, tokens = labels[:0], scores[:0], {}, []
    masks = np.fromiter((place[token] for token in tokens[2::3]), np.int32, len(tokens) // 3)
    runs, damaged = _runs(list(place), entry.height * entry.width, limits)
    for mask, fault in damaged.items():
        faults.setdefault(1 + int(np.flatnonzero(masks == mask)[0]), f"the mask is damaged: {fault}")
    defects = [Defect(entry.row, entry.id, position, fault) for position, fault in sorted(faults.items())]
    keep = np.ones(len(masks), bool)
    keep[[position - 1 for position in faults if position]] = False
    keep &= ~np.isin(masks, list(damaged))
    listing = Listing(entry.id, entry.height, entry.width, labels[keep], scores[keep], masks[keep], runs, len(place))
    return listing, defects + _overlaps(entry, listing)


def write(path: str | os.PathLike[str], listings: Iterable[Listing]) -> None:
    """Write listings as a CSV, one image at a time; the file appears once all are written.

    Raises:
        ValueError: an ID occurred before or cannot stand in a CSV, or a class, score or mask is none.
    """
    with writing(path) as add:
        for listing in listings:
            add(listing)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Callable[[Listing], None]]:
    """As `write`, for listings that come one by one: takes each; the file appears at the end, if no error came."""
    seen: set[str] = set()
    with files.replacing(path) as draft, open(draft, "w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(HEADER) + "\n")

        def add(listing: Listing) -> None:
            check_id(listing.id)
            if listing.id in seen:
                raise ValueError(f"IDs must be unique, {listing.id!r} came before; rename it")
            seen.add(listing.id)
            file.write(f"{listing.id},{listing.width},{listing.height},{prediction_string(listing)}\n")

        yield add


def check_id(id: str) -> None:
    """Raises a ValueError if an ID cannot be written to a submission and read again."""
    if not _is_id(id) or re.search('[,"]', id):
        rule = f"IDs must be 1 to {LONGEST} printable characters without commas and quotes"
        raise ValueError(f"{rule} to stand in a submission, got {id[: LONGEST + 1]!a}; rename it")


def _is_id(id: str) -> bool:
    return 0 < len(id) <= LONGEST and id.isprintable()


def prediction_string(listing: Listing) -> str:
    """The triples of a listing as the fourth column holds them; scores keep every bit.

    Raises:
        ValueError: a class beyond the 19, or a score that is not within 0 and 1.
    """
    if bad := sorted({*listing.label.tolist()} - {*_CLASSES.values()}):
        raise ValueError(f"classes must be in 0..{len(_CLASSES) - 1}, got {bad}; see hpax.atlas.LOCATIONS")
    if len(outside := listing.score[~((listing.score >= 0) & (listing.score <= 1))]):
        raise ValueError(f"scores must be within 0 and 1, got {outside[:3].tolist()}; rescale them")
    masks = [pack(text) for text in rle.encode(listing.runs, listing.masks, listing.pixels)]
    triples = zip(listing.label.tolist(), listing.score.tolist(), listing.mask.tolist(), strict=True)
    return " ".join(f"{label} {score!r} {masks[mask]}" for label, score, mask in triples)


def pack(text: bytes) -> str:
    """COCO run-length text as the CSV holds it."""
    return base64.b64encode(zlib.compress(text, 9)).decode()


def unpack(token: str | bytes, limit: int = Limits.expansion) -> bytes:
    """COCO run-length text from the CSV's; a ValueError if it is damaged or longer than `limit` bytes."""
    try:
        packed = binascii.a2b_base64(token, strict_mode=True)
    except ValueError as error:
        raise ValueError(f"it is not base64 ({error})") from error
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, max(limit, 0) + 1)
    except zlib.error as error:
        raise ValueError(f"it is not zlib data ({error})") from error
    if len(text) > limit:
        raise ValueError(f"it unpacks to over {max(limit, 0)} bytes, all that is left of the image's share")
    if not stream.eof or stream.unused_data:
        raise ValueError("its zlib data " + ("goes on after the end" if stream.eof else "is cut short"))
    return text


def encode(mask: Bool[np.ndarray, "h w"]) -> str:
    """One mask as the CSV holds it."""
    return pack(rle.encode(rle.of_mask(mask), 1, mask.size)[0])


def decode(token: str | bytes, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """One mask from the CSV's text; a ValueError if it is damaged or of another size."""
    runs, faults = rle.decode([unpack(token)], height * width)
    if faults:
        raise ValueError(f"the mask is damaged: {faults[0]}")
    return rle.to_mask(runs, height, width)


def sizes(table: Table) -> Mapping[str, tuple[int, int]]:
    """ID → (height, width) of every row."""
    return {id: (entry.height, entry.width) for id, entry in table.entries.items()}


def _index(path: Path, limits: Limits) -> Iterator[Entry | Defect]:
    """Where every row lies, or what is wrong with its first three columns."""
    with open(path, "rb") as file:
        header = file.readline(1024).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
        if header.replace(b'"', b"") != ",".join(HEADER).encode():
            yield Defect(1, "", 0, f"the header must be {','.join(HEADER)}, got {header[:80]!r}")
            return
        row, offset = 1, file.tell()
        while line := file.readline(limits.row + 1):
            row += 1
            if len(line) > limits.row and not line.endswith(b"\n"):
                yield Defect(row, "", 0, f"a row may have {limits.row} bytes, this has more; raise Limits.row")
                while (rest := file.readline(limits.row)) and not rest.endswith(b"\n"):
                    pass
            elif line.strip():
                yield _entry(row, line.rstrip(b"\r\n"), offset)
            offset = file.tell()


def _entry(row: int, line: bytes, offset: int) -> Entry | Defect:
    """One row's place; the PredictionString is left unread."""
    columns = line.split(b",", 3)
    if len(columns) != len(HEADER):
        return Defect(row, "", 0, f"a row must have {len(HEADER)} columns, this has {len(columns)}")
    name, width, height, text = (column.strip(b'"') if b'"' in column[:1] else column for column in columns)
    try:
        id = name.decode()
    except UnicodeDecodeError:
        return Defect(row, "", 0, f"the ID must be UTF-8, got {name[:80]!r}")
    if not _is_id(id):
        return Defect(row, id[:80], 0, f"the ID must be 1 to {LONGEST} printable characters")
    if not (_SIZE.fullmatch(width) and _SIZE.fullmatch(height)):
        found = f"{width[:20]!r} and {height[:20]!r}"
        return Defect(row, id, 0, f"ImageWidth and ImageHeight must be whole numbers above 0, got {found}")
    quoted = columns[3] != text
    start = offset + len(line) - len(columns[3]) + quoted
    return Entry(id, row, int(height), int(width), start, len(text))


def _labels(tokens: Sequence[bytes], faults: dict[int, str]) -> Int32[np.ndarray, " d"]:
    """Classes, −1 where there is a fault."""
    labels = np.fromiter((_CLASSES.get(token, -1) for token in tokens), np.int32, len(tokens))
    for index in np.flatnonzero(labels < 0).tolist():
        fault = f"the class must be a whole number in 0..{len(_CLASSES) - 1}, got {tokens[index][:20]!r}"
        faults.setdefault(index + 1, fault)
    return labels


def _scores(tokens: Sequence[bytes], faults: dict[int, str]) -> Float64[np.ndarray, " d"]:
    """Scores, NaN where there is a fault."""
    try:
        scores = np.fromiter(map(float, tokens), np.float64, len(tokens))
    except ValueError:
        scores = np.fromiter(map(_number, tokens), np.float64, len(tokens))
    for index in np.flatnonzero(~((scores >= 0) & (scores <= 1))).tolist():
        faults.setdefault(index + 1, f"the score must be a number within 0 and 1, got {tokens[index][:20]!r}")
    return scores


def _number(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        return math.nan


def _runs(tokens: Sequence[bytes], pixels: int, limits: Limits) -> tuple[rle.Runs, dict[int, str]]:
    """The runs of an image's distinct masks, and what is wrong with the damaged ones."""
    if pixels > limits.pixels:
        fault = f"an image may have {limits.pixels} pixels, this has {pixels}; raise Limits.pixels"
        return rle.empty(), dict.fromkeys(range(len(tokens)), fault)
    texts, faults, left = [], {}, limits.expansion
    for index, token in enumerate(tokens):
        try:
            texts.append(unpack(token, left))
        except ValueError as error:
            faults[index] = str(error)
            texts.append(b"")
        left -= len(texts[-1])
    runs, misread = rle.decode(texts, pixels)
    return runs, misread | faults


def _overlaps(entry: Entry, listing: Listing) -> list[Defect]:
    """A warning if two masks share pixels: cells should not."""
    owner, start, stop = listing.runs
    order = np.argsort(start, kind="stable")
    shared = np.flatnonzero(start[order][1:] < stop[order][:-1])
    if not len(shared):
        return []
    pair = owner[order][[shared[0], shared[0] + 1]]
    first, second = (int(np.flatnonzero(listing.mask == mask)[0]) + 1 if mask in listing.mask else 0 for mask in pair)
    fault = f"its mask shares pixels with that of triple {min(first, second)}; cells should not overlap"
    return [Defect(entry.row, entry.id, max(first, second), fault, warning=True)]
