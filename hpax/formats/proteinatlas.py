"""Names and addresses of the fields that proteinatlas.org shows, and lists of those that somebody wants.

A channel of a field is a JPEG at `https://images.proteinatlas.org/{antibody}/{plate}_{well}_{field}_{colour}.jpg`; the
antibody is the number in its name (HPA006872 and CAB006872: 6872). The atlas links its pictures so, and names them as
`imageUrl` in what it gives for a gene, `https://www.proteinatlas.org/{gene}.xml`. A field that was cut out of a
larger one carries a mark: `1843_E1_11_cr5af96f44b4a7b`.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping

from hpax import atlas
from hpax.formats import tables

BASE = "https://images.proteinatlas.org"

FIELDS = 6
"""How many fields of a well to ask for where a list names none; the atlas shows two or so, numbered from 1."""

FAILURES = "failures.csv"
"""The table, in a folder of fetched fields, of the pictures that could not be had."""

NOTES = ("labels", "gene", "cell_line")
"""What a list may say of a field for the table beside the pictures."""

_IMAGE = r"(?P<plate>\d{1,9})_(?P<well>[A-Z]{1,2}\d{1,2})"
_FIELD = r"\d{1,4}(_cr[0-9a-f]{1,32})?"
_ID = re.compile(rf"(?P<image>{_IMAGE})_{_FIELD}")
_ADDRESS = re.compile(
    rf"(https?://[^/?#]+/(images/)?)?(?P<antibody>\d{{1,9}})/{_IMAGE}_(?P<field>{_FIELD})"
    rf"(_({'|'.join(atlas.COLOURS.values())}|selected))*_?(\.(jpe?g|png|tiff?)(\.gz)?)?",
    re.IGNORECASE,
)
_PATTERNS = {
    "antibody": re.compile(r"(HPA|CAB)?0*(?P<number>\d{1,9})"),
    "plate": re.compile(r"\d{1,9}"),
    "well": re.compile(r"[A-Z]{1,2}\d{1,2}"),
    "field": re.compile(rf"({_FIELD})?"),
}
_OTHER_NAMES = {"labels": tables.LABELS, "gene": ("gene", "protein", "gene_name"), "cell_line": tables.CELL_LINE}


@dataclasses.dataclass(frozen=True)
class FieldRequest:
    """One field that a list asks for."""

    antibody: int
    plate: str
    well: str
    field: str
    sha256: Mapping[str, str]  # channel → digest in hex, of the channels whose digest is known
    notes: Mapping[str, str]  # of NOTES
    guessed: bool = False  # the list names the well only, so this field may not exist

    @property
    def image(self) -> str:
        """Plate and well."""
        return f"{self.plate}_{self.well}"

    @property
    def id(self) -> str:
        """The name of the field without colour."""
        return f"{self.image}_{self.field}"

    def file(self, channel: str) -> str:
        """The name of a channel's picture."""
        return f"{self.id}_{atlas.COLOURS[channel]}.jpg"

    def url(self, channel: str, *, base: str = BASE) -> str:
        """Where the picture of a channel is."""
        return f"{base.rstrip('/')}/{self.antibody}/{self.file(channel)}"


def image_of(id: str) -> str | None:
    """Plate and well of a field by its id; None if it is not named as proteinatlas.org names fields."""
    name = _ID.fullmatch(id)
    return name["image"] if name else None


def read_list(path: str | pathlib.Path, *, fields: int = FIELDS) -> list[FieldRequest]:
    """The fields that a table with a header asks for, whatever separates its values.

    Columns, in any capitalisation: `antibody`, `plate`, `well` and `field`, or `image` with an address or the end of
    one (`6872/8_G3_1`), that of a picture or the beginning that its pictures share; optional `sha256_{colour}`, the
    digest of a picture, and labels, gene and cell_line, under the names that `formats.tables` knows. A row without
    field asks for the first `fields` of the well. A field of one antibody that is asked for again, as lists that were
    joined do, is asked for once, and notes that differ are joined by ";".

    Raises:
        ValueError: no such columns, a value that names no field, a digest that is none, or two antibodies for a field.
    """
    path = pathlib.Path(path)
    names = tables.columns(path)
    if "image" not in names and not {"antibody", "plate", "well"} <= set(names):
        raise ValueError(f"{path} needs the columns antibody, plate and well, or image; got {tables.listed(names)}")
    wanted: dict[str, FieldRequest] = {}
    for row in tables.read(path):
        for field in _rows(row, fields):
            known = wanted.setdefault(field.id, field)
            if known is not field:
                wanted[field.id] = _joined(known, field, row.where)
    if not wanted:
        raise ValueError(f"{path} asks for no field; give at least one row")
    return list(wanted.values())


def _joined(one: FieldRequest, other: FieldRequest, where: str) -> FieldRequest:
    """A field that two rows ask for."""
    against = [colour for colour in one.sha256 if other.sha256.get(colour, one.sha256[colour]) != one.sha256[colour]]
    if one.antibody != other.antibody or against:
        raise ValueError(f"{where}: field {one.id} is asked for twice, and differently; keep one row")
    notes = {}
    for note in NOTES:
        values = [value for value in (*one.notes[note].split(";"), *other.notes[note].split(";")) if value]
        notes[note] = ";".join(dict.fromkeys(values))
    digests = {**one.sha256, **other.sha256}
    return dataclasses.replace(one, sha256=digests, notes=notes, guessed=one.guessed and other.guessed)


def _rows(row: tables.Row, fields: int) -> Iterator[FieldRequest]:
    image = row.values.get("image", "")
    place = _address(image, row.where) if image else _place(row)
    notes = {note: row.first(*names) for note, names in _OTHER_NAMES.items()}
    digests = _digests(row)
    if place["field"]:
        yield FieldRequest(int(place["antibody"]), place["plate"], place["well"], place["field"], digests, notes)
    elif digests:
        raise ValueError(f"{row.where}: digests belong to a field; name it")
    else:
        for field in range(1, fields + 1):
            yield FieldRequest(
                int(place["antibody"]), place["plate"], place["well"], str(field), {}, notes, guessed=True
            )


def _address(text: str, where: str) -> Mapping[str, str]:
    if not (address := _ADDRESS.fullmatch(text)):
        raise ValueError(f"{where}: image must be like 6872/8_G3_1, or an address that ends so, got {text[:80]!r}")
    return address.groupdict()


def _place(row: tables.Row) -> Mapping[str, str]:
    place = {}
    for name, pattern in _PATTERNS.items():
        text = row.values.get(name, "")
        if not (value := pattern.fullmatch(text)):
            raise ValueError(f"{row.where}: {name} must match {pattern.pattern}, got {text[:80]!r}")
        place[name] = value["number"] if name == "antibody" else value[0]
    return place


def _digests(row: tables.Row) -> dict[str, str]:
    given = {channel: row.values.get(f"sha256_{colour}", "").lower() for channel, colour in atlas.COLOURS.items()}
    for channel, digest in given.items():
        if digest and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{row.where}: sha256_{atlas.COLOURS[channel]} must be 64 hex digits, got {digest[:80]!r}")
    return {channel: digest for channel, digest in given.items() if digest}
