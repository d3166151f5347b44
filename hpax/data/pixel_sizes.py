"""Pixel sizes of fields that state none: the guess from the width, and beside it what the nuclei suggest."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt

import hpax
from hpax import atlas, files
from hpax.atlas import UmPerPixel
from hpax.formats import fields, pictures
from hpax.formats.fields import FieldFiles
from hpax.segment import pixel_size

FILE = "pixel_sizes.json"  # where what the nuclei say is kept
LOOKED_AT = 24  # fields of a size, evenly spread by id, whose nuclei are found
AGREE = 1.3  # a factor between the guess and the estimate that cell lines explain

NUCLEUS = atlas.CHANNELS.index("nucleus")

Estimates = tuple[tuple[int, float], ...]
"""Longer side of fields in pixels, and µm per pixel by their nuclei."""

log = logging.getLogger(__name__)


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


def guesses(known: Sequence[FieldFiles], cache: Path | None = None) -> list[Guess]:
    """What is guessed, by size, of the fields whose files state no pixel size; nuclei are found in some of them.

    It is kept in the file `cache` as long as the set of fields is what it was.
    """
    sides = _sides(known)
    stamps = [[side, [fields.state(files) for files in own]] for side, own in sides.items()]
    key = files.digest(json.dumps([hpax.__version__, stamps]))
    there = {} if cache is None else files.read_json(cache)
    if there.get("key") == key:
        return [Guess(**guess) for guess in there["guesses"]]
    found = [_guess(side, own) for side, own in sides.items()]
    if cache is not None:
        files.write_json(cache, {"key": key, "guesses": [dataclasses.asdict(guess) for guess in found]})
    return found


def estimates(
    known: Sequence[FieldFiles], asked: UmPerPixel, *, camera_bits: int = 0, cache: Path | None = None
) -> Estimates:
    """What nuclei say of fields where `asked` is auto, as builders take it; what is taken is logged.

    Raises:
        ValueError: the fields may come from several cameras; `camera_bits` would say it.
    """
    if asked != "auto":
        return ()
    if any(each.full_scale is None for each in known):
        scale = fields.full_scale(known, bits=camera_bits)
        known = [dataclasses.replace(each, full_scale=scale) for each in known]
    found = guesses(known, cache)
    for guess in found:
        log.warning("%s", guess.remark(asked))
    return by_nuclei(found)


def kept(cache: Path) -> Estimates:
    """What nuclei said when a file `cache` was written."""
    return by_nuclei([Guess(**guess) for guess in files.read_json(cache).get("guesses", ())])


def by_nuclei(guesses: Sequence[Guess]) -> Estimates:
    """The sizes that nuclei gave, as `FieldFiles.estimates` has them."""
    return tuple((guess.side, guess.nuclei) for guess in guesses if guess.nuclei is not None)


def _sides(known: Sequence[FieldFiles]) -> Mapping[int, list[FieldFiles]]:
    """Longer side → the fields of that size whose files state no pixel size."""
    sides: dict[int, list[FieldFiles]] = {}
    for field in known:
        try:
            stated = fields.stated_um_per_pixel(field)
        except (ValueError, OSError):  # who reads the field says what is wrong
            continue
        shape = pictures.size(field.paths[NUCLEUS])
        if stated is None and shape is not None:
            sides.setdefault(max(shape), []).append(field)
    return dict(sorted(sides.items()))


def _guess(side: int, own: Sequence[FieldFiles]) -> Guess:
    stains = []
    for field in fields.spread(own, LOOKED_AT):
        if (stain := _stain(field)) is not None:
            stains.append(stain)
    width = atlas.um_per_pixel(side)
    found = pixel_size.estimate(stains, width)
    if found is None:
        return Guess(side, len(own), width, None)
    return Guess(side, len(own), width, found.um_per_pixel, found.nuclei)


def _stain(field: FieldFiles) -> UInt[np.ndarray, "h w"] | None:
    path, scale = field.paths[NUCLEUS], field.full_scale or fields.FullScale()
    try:
        return pictures.as_integers(path, pictures.read(path, planes=field.planes).pixels, scale)
    except (ValueError, OSError):  # as above
        return None
