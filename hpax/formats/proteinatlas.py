"""Names and addresses of the fields that proteinatlas.org shows, and lists of those that somebody wants.

A channel of a field is a JPEG at `https://images.proteinatlas.org/{antibody}/{plate}_{well}_{field}_{colour}.jpg`; the
antibody is the number in its name (HPA006872 and CAB006872: 6872). The atlas links its pictures so, and names them as
`imageUrl` in what it gives for a gene, `https://www.proteinatlas.org/{gene}.xml`. A field that was cut out of a
larger one carries a mark: `1843_E1_11_cr5af96f44b4a7b`.
"""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping

from hpax import atlas

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
    rf"(_({'|'.join(atlas.COLOURS.values())}))*(\.jpg)?"
)
_PATTERNS = {
    "antibody": re.compile(r"(HPA|CAB)?0*(?P<number>\d{1,9})"),
    "plate": re.compile(r"\d{1,9}"),
    "well": re.compile(r"[A-Z]{1,2}\d{1,2}"),
    "field": re.compile(rf"({_FIELD})?"),
}
_OTHER_NAMES = {"labels": ("labels", "label", "locations"), "gene": ("gene", "protein"), "cell_line": ("cell_line",)}


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
    """The fields that a CSV (or .tsv) with a header asks for.

    Columns, in any capitalisation: `antibody`, `plate`, `well` and `field`, or `image` with an address or the end of
    one (`6872/8_G3_1`); optional `sha256_{colour}`, the digest of a picture, and labels, gene and cell_line, under the
    names that `formats.fields.read_annotations` knows. A row without field asks for the first `fields` of the well.

    Raises:
        ValueError: no such columns, a value that names no field, a digest that is none, or a field asked for twice.
    """
    path = pathlib.Path(path)
    wanted: dict[str, FieldRequest] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        if "image" not in reader.fieldnames and not {"antibody", "plate", "well"} <= set(reader.fieldnames):
            raise ValueError(f"{path} needs the columns antibody, plate and well, or image; got {reader.fieldnames}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            for field in _rows(row, where, fields):
                if wanted.setdefault(field.id, field) is not field:
                    raise ValueError(f"{where}: field {field.id} is asked for twice; keep one row")
    if not wanted:
        raise ValueError(f"{path} asks for no field; give at least one row")
    return list(wanted.values())


def _rows(row: Mapping[str, str | None], where: str, fields: int) -> Iterator[FieldRequest]:
    row = {name: (value or "").strip() for name, value in row.items() if isinstance(value, str | None)}
    place = _address(row["image"], where) if row.get("image") else _place(row, where)
    notes = {note: next((row[name] for name in names if row.get(name)), "") for note, names in _OTHER_NAMES.items()}
    digests = _digests(row, where)
    if place["field"]:
        yield FieldRequest(int(place["antibody"]), place["plate"], place["well"], place["field"], digests, notes)
    elif digests:
        raise ValueError(f"{where}: digests belong to a field; name it")
    else:
        for field in range(1, fields + 1):
            yield FieldRequest(
                int(place["antibody"]), place["plate"], place["well"], str(field), {}, notes, guessed=True
            )


def _address(text: str, where: str) -> Mapping[str, str]:
    if not (address := _ADDRESS.fullmatch(text)):
        raise ValueError(f"{where}: image must be like 6872/8_G3_1, or an address that ends so, got {text[:80]!r}")
    return address.groupdict()


def _place(row: Mapping[str, str], where: str) -> Mapping[str, str]:
    place = {}
    for name, pattern in _PATTERNS.items():
        if not (value := pattern.fullmatch(row.get(name, ""))):
            raise ValueError(f"{where}: {name} must match {pattern.pattern}, got {row.get(name, '')[:80]!r}")
        place[name] = value["number"] if name == "antibody" else value[0]
    return place


def _digests(row: Mapping[str, str], where: str) -> dict[str, str]:
    given = {channel: row.get(f"sha256_{colour}", "").lower() for channel, colour in atlas.COLOURS.items()}
    for channel, digest in given.items():
        if digest and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{where}: sha256_{atlas.COLOURS[channel]} must be 64 hex digits, got {digest[:80]!r}")
    return {channel: digest for channel, digest in given.items() if digest}
