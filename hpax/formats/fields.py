"""HPA-like fields of view on disk: one grey picture per channel, named `{id}_{colour}`, and their labels in a CSV.

The Kaggle competitions ship `{id}_{red,green,blue,yellow}.png`, proteinatlas.org serves `{id}_{colour}.jpg`. The
colours are those of `hpax.atlas.COLOURS`. Every function raises ValueError or FileNotFoundError that names the file.
"""

import dataclasses
import functools
import itertools
import logging
import pathlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Int64, UInt
from PIL import Image, UnidentifiedImageError

from hpax import atlas
from hpax.files import below, stamp
from hpax.formats import pictures, ranges, strangers
from hpax.formats.pictures import (
    FULL,
    MAX_PIXELS,
    FullScale,
    Planes,
    as_integers,
    is_8_bit,
    orientation,
    read,
    read_channel,
    stored_bits,
    turned,
)
from hpax.formats.tables import Annotation, read_annotations

__all__ = [
    "MAX_PIXELS",
    "Annotation",
    "FieldFiles",
    "FullScale",
    "PixelSize",
    "Planes",
    "Survey",
    "depth",
    "find_fields",
    "full_scale",
    "pixel_size",
    "read_annotations",
    "read_channel",
    "read_field",
    "remarks",
    "spread",
    "state",
    "stated_um_per_pixel",
    "survey",
]

Item = TypeVar("Item")

log = logging.getLogger(__name__)

BITS = (8, 10, 12, 14, 16)  # of cameras
SURVEYED = 1000  # fields at most whose pixels are read to find the full scale of a set
HOT = 0.002  # the most of a set's pixels that may be hot
LIKER = 0.05  # of correlation: what obeying orientation tags must change before it is believed
CONTRADICTION = 0.05  # of a pixel size: the option and the files may differ so much

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

WITHOUT_ER = (
    "no field has ER (yellow), so black stands for it: labels hardly need it, the outlines of cells do a little"
)

STRAY = ("__macosx", "thumb", "thumbs", "thumbnail", "thumbnails", "@eadir", "$recycle.bin", "#recycle", "@recycle")
"""Folders, in any case, whose pictures are nobody's, as are those with a name that begins with a dot."""

_COLOURS = "|".join(atlas.COLOURS.values())
_NAME = re.compile(rf"(?P<id>.+)_(?P<colour>{_COLOURS})(\.ome)?\.(png|jpe?g|tiff?)", re.IGNORECASE | re.DOTALL)
_COMPOSITE = re.compile(rf".+_({_COLOURS})", re.IGNORECASE)
_COPY = re.compile(r"copy of (?P<first>.+)|(?P<second>.+?)( - copy| copy)?( ?\(\d+\))?", re.IGNORECASE)
_ENDING = re.compile(rf"(_({_COLOURS}))+$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class FieldFiles:
    """A field of view and its files, one for each of `atlas.CHANNELS` in that order; none for ER if it is black."""

    id: str
    paths: tuple[pathlib.Path, ...]
    full_scale: FullScale | None = None  # of the set that it belongs to, where that was found
    estimates: tuple[tuple[int, float], ...] = ()  # longer side of fields of the set → µm per pixel by their nuclei
    planes: Planes = "clear"  # of pictures in colour: that of the stain only if little is in the others, or always

    @property
    def has_er(self) -> bool:
        """Whether there is a picture of its ER."""
        return len(self.paths) == len(atlas.CHANNELS)


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a folder holds: the fields that have all their channels, and why each of the others is none, both by id."""

    fields: list[FieldFiles]
    faults: dict[str, OSError | ValueError]


def find_fields(folder: str | pathlib.Path) -> list[FieldFiles]:
    """Every field in `folder` and below, sorted by id. Composite pictures and unrelated files are passed over.

    Raises:
        FileNotFoundError: the folder is missing, or holds no field, or a field lacks a channel.
        ValueError: two files claim the same channel of the same id.
    """
    found = survey(folder)
    for fault in found.faults.values():
        raise fault
    return found.fields


def survey(folder: str | pathlib.Path) -> Survey:
    """As `find_fields`, but what is wrong with one field is said beside the others.

    Where no field of the folder has ER, black stands for it, which is told once.

    Raises:
        FileNotFoundError: the folder is missing, or holds not even a part of a field.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the one that holds the fields")
    groups: dict[str, dict[str, pathlib.Path]] = {}
    faults: dict[str, OSError | ValueError] = {}
    for path, name in _pictures(folder):
        id = unicodedata.normalize("NFC", name["id"])
        channels = groups.setdefault(id, {})
        if (other := channels.setdefault(name["colour"].lower(), path)) != path:
            faults[id] = ValueError(_same_channel(other, path))
    groups = {id: own for id, own in sorted(groups.items()) if not _is_composite(id, own, groups)}
    stained = any(atlas.COLOURS["er"] in channels for channels in groups.values())
    whole = []
    for id, channels in groups.items():
        try:
            _check_name(id)
            whole.append(FieldFiles(id, _in_channel_order(id, channels, er=stained)))
        except (FileNotFoundError, ValueError) as error:
            faults.setdefault(id, error)
    if not whole and not faults:
        expected = f"expected files named {{id}}_{{{_COLOURS}}}.png, .jpg or .tif, a channel each"
        raise FileNotFoundError(f"{folder} holds no field; {expected}{_others(folder)}")
    _tell_of_copies([files.id for files in whole])
    if whole and not stained:
        _tell_without_er(folder)
    told = {_printable(id): fault for id, fault in sorted(faults.items())}
    return Survey([files for files in whole if files.id not in faults], told)


def _tell_of_copies(ids: Sequence[str]) -> None:
    known = {id.lower() for id in ids}
    for id in ids:
        name = _COPY.fullmatch(id)
        of = (name["first"] or name["second"]) if name else id
        if of != id and of.lower() in known:
            log.warning("field %s is named as a copy of %s is; both count, so remove one if they are the same", id, of)


@functools.cache
def _tell_without_er(folder: pathlib.Path) -> None:
    log.warning("%s: %s", folder, WITHOUT_ER)


def _same_channel(one: pathlib.Path, other: pathlib.Path) -> str:
    told = f"{_printable(str(one))} and {_printable(str(other))} are the same channel of one field; keep one of them"
    if one.parent == other.parent:
        return told
    return f"{told}, put the folder's name in front of both, or give one of the folders alone"


def _printable(text: str) -> str:
    """Text of names that are no UTF-8, as it can be written to a terminal or a table."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pictures(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, re.Match[str]]]:
    """What is named as a channel, in an order that the file system has no part in; hidden and stray files are not."""
    for path in sorted(below(folder, on_error=_tell_of_closed)):
        name = _NAME.fullmatch(path.name)
        if name and not is_stray(path.relative_to(folder)) and (path.is_file() or path.is_symlink()):
            yield path, name


def _tell_of_closed(error: OSError) -> None:
    log.warning("%s cannot be looked into (%s), so its fields are left out", error.filename, error.strerror)


def _others(folder: pathlib.Path) -> str:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not is_stray(path.relative_to(folder)):
            return f", not like {path.name}"
    return ""


def is_stray(path: pathlib.PurePath) -> bool:
    """Whether a path within a folder is what programs leave there: hidden, of macOS, or a thumbnail."""
    return any(part.startswith(".") or part.lower() in STRAY for part in path.parts)


def _is_composite(id: str, channels: Collection[str], ids: Collection[str]) -> bool:
    """Whether an id that ends in a colour is no field: `a_blue_red_green.jpg` shows three channels of a at once."""
    if not _COMPOSITE.fullmatch(id) or len(channels) == len(atlas.CHANNELS):
        return False
    return len(channels) == 1 or _ENDING.sub("", id) in ids


def _check_name(id: str) -> None:
    try:
        id.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the name of field {id!a} is not UTF-8; rename its files") from error
    if any(unicodedata.category(letter) == "Cc" for letter in id):
        raise ValueError(f"the name of field {id!a} has a line break or the like; rename its files")


def _in_channel_order(id: str, channels: dict[str, pathlib.Path], *, er: bool) -> tuple[pathlib.Path, ...]:
    """The files of all channels, or without `er` of all others."""
    missing = [f"{channel} ({colour})" for channel, colour in atlas.COLOURS.items() if colour not in channels]
    if missing and (er or missing != ["er (yellow)"]):
        black = "; a black picture does where no field has ER" if missing == ["er (yellow)"] else ""
        raise FileNotFoundError(
            f"field {id} in {next(iter(channels.values())).parent} lacks its {', '.join(missing)} channel; "
            f"a field needs all four, so add the file or remove the others{black}"
        )
    return tuple(channels[atlas.COLOURS[channel]] for channel in atlas.CHANNELS if atlas.COLOURS[channel] in channels)


def read_field(
    files: FieldFiles, *, full_scale: FullScale | None = None, max_pixels: int = MAX_PIXELS
) -> UInt[np.ndarray, "h w 4"]:
    """The pixels of a field, uint8, or uint16 if any channel has more than 8 bits (all of them then span 16 bits).

    `full_scale` is that of the whole set of fields, as the function of this name finds it; without one, the field's own
    (`files.full_scale`) or else what the type of the pixels can hold.

    Raises:
        ValueError: a channel cannot be read (see `read_channel`), the channels differ in size, or their orientation
            tags differ and neither obeying nor ignoring them makes the channels alike.
    """
    full_scale = full_scale or files.full_scale or FullScale()
    channels, tags = [], []
    for path in files.paths:
        picture = read(path, max_pixels=max_pixels, planes=files.planes)
        channels.append(as_integers(path, picture.pixels, full_scale))
        tags.append(picture.orientation)
    if len(set(tags)) == 1 or _obeyed(files, channels, tags):
        channels = [turned(channel, tag) for channel, tag in zip(channels, tags, strict=True)]
    if len({channel.shape for channel in channels}) > 1:
        sizes = ", ".join(f"{p.name} {c.shape[1]}x{c.shape[0]}" for p, c in zip(files.paths, channels, strict=True))
        raise ValueError(f"the channels of field {files.id} must have one size, got {sizes}")
    if not files.has_er:
        channels.append(np.zeros_like(channels[0]))  # ER, the last
    if any(channel.dtype == np.uint16 for channel in channels):
        channels = [c if c.dtype == np.uint16 else c.astype(np.uint16) * 257 for c in channels]
    return np.stack(channels, axis=-1)


def _obeyed(files: FieldFiles, channels: Sequence[UInt[np.ndarray, "..."]], tags: Sequence[int]) -> bool:
    """Whether channels whose orientation tags differ are alike once they are turned, and not as they are stored.

    Raises:
        ValueError: neither, or both.
    """
    obeyed = _likeness([turned(channel, tag) for channel, tag in zip(channels, tags, strict=True)], tags)
    stored = _likeness(channels, tags)
    if abs(obeyed - stored) < LIKER:
        named = ", ".join(f"{path.name} {tag}" for path, tag in zip(files.paths, tags, strict=True))
        raise ValueError(
            f"the channels of field {files.id} have different orientation tags ({named}), and their pixels do not tell "
            "whether to obey them; save all four upright and without the tag"
        )
    return obeyed > stored


def _likeness(channels: Sequence[UInt[np.ndarray, "..."]], tags: Sequence[int]) -> float:
    """The mean correlation between channels of different tags, coarsely; -1 if they differ in shape."""
    if len({channel.shape for channel in channels}) > 1:
        return -1.0
    coarse = [strangers.coarse(channel) for channel in channels]
    found = []
    for one, other in itertools.combinations(range(len(channels)), 2):
        if tags[one] != tags[other]:
            found.append(float((coarse[one] * coarse[other]).mean()))
    return float(np.mean(found))


def full_scale(found: Sequence[FieldFiles], *, bits: int = 0) -> FullScale:
    """What the highest value of a set of fields means: `bits` as stated, or 8, 10, 12, 14 or 16 by all their pixels.

    Found over the whole set (over 1,000 fields evenly spread by id where there are more), never for one picture. The
    fewest bits that hold every pixel count; pixels far beyond all others (at most 0.2% of the set, and none within a
    factor of two above the range) are hot, and are cut off when they are read. Floats of at most 1 have 1 as full
    scale, others count as integers do. Files of 8 bits have their own range, and are not opened further; fields that
    cannot be read do not count.

    Raises:
        ValueError: a quarter of the fields is darker than a sixteenth of the range that others need, so that they may
            come from several cameras; or some floats are of 0 to 1, and others not.
    """
    if bits:
        return FullScale.of_bits(bits)
    levels, brightest, floats = np.zeros(FULL + 1, np.int64), {}, 0.0
    unit: pathlib.Path | None = None
    unread = 0
    for files in spread(found, SURVEYED):
        own = np.zeros(FULL + 1, np.int64)
        try:
            peaks = {path: _count(path, own, files.planes) for path in files.paths if not is_8_bit(path)}
        except (OSError, ValueError):  # who reads the field says what is wrong with it
            unread += 1
            continue
        floats = max(floats, *peaks.values(), 0.0)
        unit = unit or next((path for path, peak in peaks.items() if 0 < peak <= 1), None)
        if own[1:].any():
            levels += own
            brightest[files.id] = int(np.flatnonzero(own)[-1])
    if floats > 1 and unit is not None:
        told = f"floats reach {floats:g}, but those of {unit} at most 1"
        raise ValueError(f"{told}; scale all to [0, 1], or state the camera's bits")
    if not brightest:
        return FullScale()
    bits = _bits(levels)
    _check_one_camera(brightest, 2**bits - 1)
    highest = int(np.flatnonzero(levels)[-1])
    hot = f"; {int(levels[2**bits :].sum())} hot pixels of up to {highest} are cut off" if highest >= 2**bits else ""
    remark = f"pixels of more than 8 bits are taken as {bits} bits, the fewest that hold the brightest{hot}"
    remark += f"; {unread} fields that cannot be read do not count" if unread else ""
    return FullScale(2**bits - 1, 2.0**bits - 1 if floats > 1 else 1.0, remark)


def depth(found: Sequence[FieldFiles]) -> Literal[8, 16]:
    """With how many bits a set of fields must be stored, so that nothing is lost: 8, or 16 if any picture has more.

    Headers tell. Pictures whose header cannot be read do not count; if the others have 8 bits, they are told of.
    """
    unknown: list[pathlib.Path] = []
    for files in found:
        for path in files.paths:
            bits = stored_bits(path)
            if bits == 16:
                return 16
            if bits is None:
                unknown.append(path)
    if unknown:
        named = _printable(str(unknown[0]))
        log.warning("how many bits %d pictures have cannot be read, such as %s; 8 are taken", len(unknown), named)
    return 8


def state(files: FieldFiles) -> list[list[Any]]:
    """The stamp of a field's files, and what the highest value in them means: while it is the same, its pixels are."""
    scale = files.full_scale or FullScale()
    return [*stamp(files.paths), [scale.integers, scale.floats, files.planes]]


def spread(found: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread; the first and the last are among them, where there are two."""
    places = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    return [found[place] for place in places] if len(found) else []


def _count(path: pathlib.Path, levels: Int64[np.ndarray, " n"], planes: Planes) -> float:
    """Adds the values of a picture to `levels`, by whole numbers; returns the highest if they are fractions, else 0."""
    pixels = read(path, planes=planes).pixels
    if pixels.dtype == np.uint8:
        return 0.0
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > FULL:
        as_integers(path, pixels, FullScale())  # says what is wrong
    highest = float(pixels.max(initial=0))
    if pixels.dtype.kind == "f":
        if highest > 1:
            levels += np.bincount(np.ceil(pixels).astype(np.int64).ravel(), minlength=len(levels))
        return highest if highest > 1 or np.any(pixels != np.rint(pixels)) else 0.0
    levels += np.bincount(pixels.ravel().astype(np.int64), minlength=len(levels))
    return 0.0


def _bits(levels: Int64[np.ndarray, " n"]) -> int:
    for bits in BITS[:-1]:
        beyond = int(levels[2**bits :].sum())
        if not levels[2**bits : 2 ** (bits + 1)].any() and beyond <= HOT * levels.sum():
            return bits
    return BITS[-1]


def _check_one_camera(brightest: Mapping[str, int], full: int) -> None:
    dark = sorted(id for id, level in brightest.items() if level <= (full + 1) / 16)
    if len(brightest) > 1 and len(dark) >= len(brightest) / 4:
        raise ValueError(
            f"full scale is {full} for the brightest fields, but {len(dark)} of {len(brightest)} fields do not reach a "
            f"sixteenth of it, such as {dark[0]} with {brightest[dark[0]]}; state the camera's bits (16 if those are "
            "truly dark), or put fields of different cameras into folders of their own"
        )


@dataclasses.dataclass(frozen=True)
class PixelSize:
    """µm per pixel of a field, and how it is known."""

    um_per_pixel: float
    source: Literal["option", "file", "nuclei", "width"]
    remark: str = ""  # what the user should be told


def stated_um_per_pixel(files: FieldFiles) -> float | None:
    """The µm per pixel that the files of a field state; None where none does.

    Raises:
        ValueError: they state different ones, or pixels that are not square.
    """
    sizes: dict[str, float] = {}
    for path in files.paths:
        if size := pictures.stated_um_per_pixel(path):
            sizes[path.name] = size
    if sizes and max(sizes.values()) > 1.01 * min(sizes.values()):
        told = ", ".join(f"{name} {size:g}" for name, size in sizes.items())
        raise ValueError(f"the channels of field {files.id} state different µm per pixel ({told}); correct the files")
    return next(iter(sizes.values()), None)


def pixel_size(files: FieldFiles, shape: tuple[int, int], um_per_pixel: float = 0.0) -> PixelSize:
    """The pixel size of a field of `shape` (h, w): the option where it is not 0, else as its files state, else guessed.

    The guess goes by the longer side: by `files.estimates` where they know it, else see `atlas.um_per_pixel`.

    Raises:
        ValueError: as `stated_um_per_pixel`, where there is no option.
    """
    try:
        stated = stated_um_per_pixel(files)
    except ValueError:
        if not um_per_pixel:
            raise
        stated = None
    if um_per_pixel:
        differs = stated is not None and abs(stated / um_per_pixel - 1) > CONTRADICTION
        told = f"its files state {stated:g} µm per pixel, but {um_per_pixel:g} was asked for" if differs else ""
        return PixelSize(um_per_pixel, "option", told)
    if stated is not None:
        return PixelSize(stated, "file", f"{stated:g} µm per pixel, as its files state")
    side = max(shape)
    if estimate := dict(files.estimates).get(side):
        told = f"no pixel size is stated; {estimate:g} µm is estimated from the nuclei of all fields of {side} pixels"
        return PixelSize(estimate, "nuclei", told)
    guess = atlas.um_per_pixel(side)
    told = f"no pixel size is stated; {guess:g} µm is guessed from {side} pixels, as of an HPA field"
    return PixelSize(guess, "width", told)


def remarks(files: FieldFiles, image: UInt[np.ndarray, "h w 4"]) -> list[str]:
    """What to know about a field before its numbers are believed: depth, colours, flat or saturated channels."""
    found = ["stored with 16 bits"] if image.dtype == np.uint16 else []
    coloured: list[tuple[str, float]] = []
    leaking: list[tuple[str, float]] = []
    misnamed: list[str] = []
    tags = {}
    for path in files.paths:
        if _in_colour(path):
            picture = read(path, planes=files.planes)
            (leaking if picture.leak else coloured).append((path.name, picture.leak))
            if picture.misnamed:
                misnamed.append(path.name)
        tags[path.name] = orientation(path)
    if coloured:
        named = ", ".join(name for name, _ in coloured)
        found.append(f"the brightest plane was taken of {named}, stored in colour")
    if misnamed:
        found.append(
            f"{', '.join(misnamed)} show another colour than that of the name; do files have each other's names?"
        )
    for name, leak in leaking:
        found.append(f"the plane of its own colour was taken of {name}, whose others hold up to {leak:.0%} of it")
    if len(set(tags.values())) > 1:
        told = ", ".join(f"{name} {tag}" for name, tag in tags.items())
        found.append(f"orientation tags differ ({told}); channels were turned as makes them alike")
    found.extend(strangers.remarks(image))
    found.extend(ranges.remarks(image))
    return found


def _in_colour(path: pathlib.Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in ("RGB", "RGBA", "P")
    except UnidentifiedImageError:  # a TIFF that only tifffile reads
        return False
