"""Pixel sizes of fields that state none: the guess from the width, and beside it what the nuclei suggest."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt

import hpax
from hpax import atlas, files
from hpax.commands.folder import FolderField, state
from hpax.commands.segment import UmPerPixel
from hpax.formats import fields, pictures
from hpax.segment import pixel_size

FILE = "pixel_sizes.json"  # in a workdir
LOOKED_AT = 24  # fields of a size, evenly spread by id, whose nuclei are found
AGREE = 1.3  # a factor between the guess and the estimate that cell lines explain

NUCLEUS = atlas.CHANNELS.index("nucleus")


@dataclasses.dataclass(frozen=True)
class Guess:
    """Fields of one size whose files state no pixel size: µm per pixel by their width, and by their nuclei."""

    side: int  # pixels of the longer side
    fields: int
    width: float  # µm
    nuclei: float | None  # µm; None: too few nuclei were found
    counted: int = 0  # nuclei that the estimate rests on

    def remark(self, asked: UmPerPixel) -> str:
        """What to tell of it."""
        told = f"{self.fields} fields of {self.side} pixels state no pixel size; by their width it is {self.width:g} µm"
        if self.nuclei is None:
            return f"{told}, which is taken, as there are too few nuclei to estimate it; give --um-per-pixel"
        told = f"{told} (as of HPA fields), by {self.counted} of their nuclei {self.nuclei:g} µm"
        if asked == "auto":
            return f"{told}, which is taken"
        if 1 / AGREE < self.nuclei / self.width < AGREE:
            return f"{told}; the width is taken"
        return f"{told}: these differ; the width is taken, but --um-per-pixel auto or the true size may be right"


def number(asked: UmPerPixel) -> float:
    """The size that was asked for, 0 where it is to be found."""
    return 0.0 if isinstance(asked, str) else asked


def estimated(known: Sequence[FolderField], asked: UmPerPixel, workdir: Path) -> tuple[list[FolderField], list[Guess]]:
    """The fields, knowing the estimates where `asked` is auto; and what is guessed, by size, of those that state none.

    Nothing is guessed where a number was asked for. What the nuclei say is kept in `workdir`, as long as the
    set of fields is what it was.
    """
    if number(asked):
        return list(known), []
    sides = _sides(known)
    key = files.digest(json.dumps([hpax.__version__, [[side, list(map(state, own))] for side, own in sides.items()]]))
    there = files.read_json(workdir / FILE)
    if there.get("key") != key:
        guesses = [_guess(side, own) for side, own in sides.items()]
        there = {"key": key, "guesses": [dataclasses.asdict(guess) for guess in guesses]}
        files.write_json(workdir / FILE, there)
    guesses = [Guess(**guess) for guess in there["guesses"]]
    for guess in guesses:
        print(f"note: {guess.remark(asked)}", file=sys.stderr)
    if asked != "auto":
        return list(known), guesses
    estimates = _by_nuclei(guesses)
    return [dataclasses.replace(f, files=dataclasses.replace(f.files, estimates=estimates)) for f in known], guesses


def kept(workdir: Path) -> tuple[tuple[int, float], ...]:
    """Longer side of fields in pixels, and µm per pixel by their nuclei, as they were found in a workdir."""
    return _by_nuclei([Guess(**guess) for guess in files.read_json(workdir / FILE).get("guesses", ())])


def _by_nuclei(guesses: Sequence[Guess]) -> tuple[tuple[int, float], ...]:
    return tuple((guess.side, guess.nuclei) for guess in guesses if guess.nuclei is not None)


def _sides(known: Sequence[FolderField]) -> Mapping[int, list[FolderField]]:
    """Longer side → the fields of that size whose files state no pixel size."""
    sides: dict[int, list[FolderField]] = {}
    for field in known:
        try:
            stated = fields.stated_um_per_pixel(field.files)
        except (ValueError, OSError):  # who reads the field says what is wrong
            continue
        shape = pictures.size(field.files.paths[NUCLEUS])
        if stated is None and shape is not None:
            sides.setdefault(max(shape), []).append(field)
    return dict(sorted(sides.items()))


def _guess(side: int, own: Sequence[FolderField]) -> Guess:
    stains = []
    for field in fields.spread(own, LOOKED_AT):
        if (stain := _stain(field)) is not None:
            stains.append(stain)
    width = atlas.um_per_pixel(side)
    found = pixel_size.estimate(stains, width)
    if found is None:
        return Guess(side, len(own), width, None)
    return Guess(side, len(own), width, found.um_per_pixel, found.nuclei)


def _stain(field: FolderField) -> UInt[np.ndarray, "h w"] | None:
    path, scale = field.files.paths[NUCLEUS], field.files.full_scale or fields.FullScale()
    try:
        return pictures.as_integers(path, pictures.read(path, planes=field.files.planes).pixels, scale)
    except (ValueError, OSError):  # as above
        return None
