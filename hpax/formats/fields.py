"""HPA-like fields of view on disk: one grey picture per channel, named `{id}_{colour}`, and their labels in a CSV.

The Kaggle competitions ship `{id}_{red,green,blue,yellow}.png`, proteinatlas.org serves `{id}_{colour}.jpg`. The
colours are those of `hpax.atlas.COLOURS`. Every function raises ValueError or FileNotFoundError that names the file.
"""

import csv
import dataclasses
import logging
import pathlib
import re
import warnings
from collections.abc import Iterator

import numpy as np
import tifffile
from jaxtyping import Num, UInt
from PIL import Image, UnidentifiedImageError

from hpax import atlas

MAX_PIXELS = 2**26  # 67 megapixels; the largest HPA field has 9.4
SATURATED = 0.05  # share of a channel's pixels at the top of its range that is worth a remark

_COLOURS = "|".join(atlas.COLOURS.values())
_NAME = re.compile(rf"(?P<id>.+)_(?P<colour>{_COLOURS})\.(png|jpe?g|tiff?)", re.IGNORECASE)
_COMPOSITE = re.compile(rf".+_({_COLOURS})", re.IGNORECASE)  # `{id}_blue_red_green.jpg` shows three channels at once

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FieldFiles:
    """A field of view and its files, one for each of `atlas.CHANNELS` in that order."""

    id: str
    paths: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What a table says about a field: its classes (19,) uint8, and what it shows; "" where the table does not know."""

    labels: UInt[np.ndarray, "19"]
    protein: str = ""
    antibody: str = ""
    cell_line: str = ""


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

    Raises:
        FileNotFoundError: the folder is missing, or holds not even a part of a field.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the one that holds the fields")
    found: dict[str, dict[str, pathlib.Path]] = {}
    faults: dict[str, OSError | ValueError] = {}
    for path, name in _pictures(folder):
        channels = found.setdefault(name["id"], {})
        if (other := channels.setdefault(name["colour"].lower(), path)) != path:
            faults[name["id"]] = ValueError(f"{other} and {path} are the same channel of one field; keep one of them")
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no field; expected files named {{id}}_{{{_COLOURS}}}.png, .jpg or .tif"
        )
    whole = []
    for id, channels in sorted(found.items()):
        try:
            whole.append(FieldFiles(id, _in_channel_order(id, channels)))
        except FileNotFoundError as error:
            faults.setdefault(id, error)
    return Survey([files for files in whole if files.id not in faults], dict(sorted(faults.items())))


def _pictures(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, re.Match[str]]]:
    for path in sorted(folder.rglob("*")):
        name = _NAME.fullmatch(path.name)
        if name and not _COMPOSITE.fullmatch(name["id"]):
            yield path, name


def _in_channel_order(id: str, channels: dict[str, pathlib.Path]) -> tuple[pathlib.Path, ...]:
    if missing := [f"{channel} ({colour})" for channel, colour in atlas.COLOURS.items() if colour not in channels]:
        raise FileNotFoundError(
            f"field {id} in {next(iter(channels.values())).parent} lacks its {', '.join(missing)} channel; "
            "a field needs all four, so add the file or remove the others"
        )
    return tuple(channels[atlas.COLOURS[channel]] for channel in atlas.CHANNELS)


def read_field(files: FieldFiles, *, max_pixels: int = MAX_PIXELS) -> UInt[np.ndarray, "h w 4"]:
    """The pixels of a field, uint8, or uint16 if any channel has 16 bits (the others then span 16 bits too).

    Raises:
        ValueError: a channel cannot be read (see `read_channel`), or the channels differ in size.
    """
    channels = [read_channel(path, max_pixels=max_pixels) for path in files.paths]
    if len({channel.shape for channel in channels}) > 1:
        sizes = ", ".join(f"{p.name} {c.shape[1]}x{c.shape[0]}" for p, c in zip(files.paths, channels, strict=True))
        raise ValueError(f"the channels of field {files.id} must have one size, got {sizes}")
    if any(channel.dtype == np.uint16 for channel in channels):
        channels = [c if c.dtype == np.uint16 else c.astype(np.uint16) * 257 for c in channels]
    return np.stack(channels, axis=-1)


def remarks(files: FieldFiles, image: UInt[np.ndarray, "h w 4"]) -> list[str]:
    """What to know about a field before its numbers are believed: depth, colours, flat or saturated channels."""
    found = ["stored with 16 bits"] if image.dtype == np.uint16 else []
    if coloured := [path.name for path in files.paths if _in_colour(path)]:
        found.append(f"the brightest plane was taken of {', '.join(coloured)}, stored in colour")
    for name, channel in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
        saturated = float((channel == np.iinfo(image.dtype).max).mean())
        if channel.min() == channel.max():
            found.append(f"{name} is flat, every pixel is {channel.min()}")
        elif saturated > SATURATED:
            found.append(f"{name} is saturated in {saturated:.0%} of the pixels")
    return found


def _in_colour(path: pathlib.Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in ("RGB", "RGBA", "P")
    except UnidentifiedImageError:  # a TIFF that only tifffile reads
        return False


def read_channel(path: str | pathlib.Path, *, max_pixels: int = MAX_PIXELS) -> UInt[np.ndarray, "h w"]:
    """One grey picture: 8 or 16 bits as stored; floats in [0, 1] as uint16.

    A picture stored in colour, grey in all planes or shown in one colour, gives its brightest plane.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, truncated, not an image, more than `max_pixels`, several pages, planes that are neither
            grey nor RGB, several colours in one picture, NaN or infinite pixels, floats outside [0, 1].
    """
    path = pathlib.Path(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); fetch it again")
    return _as_integers(path, _as_grey(path, _decode(path, max_pixels)))


def _decode(path: pathlib.Path, max_pixels: int) -> Num[np.ndarray, "..."]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our bound is the tighter one
            return _decode_with_pillow(path, max_pixels)
    except UnidentifiedImageError as error:
        if path.suffix.lower() in (".tif", ".tiff"):
            return _decode_with_tifffile(path, max_pixels)
        raise ValueError(f"{path} is not an image that hpax can read; PNG, JPEG and TIFF are") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read: {error}; the file is damaged, fetch it again") from error


def _decode_with_pillow(path: pathlib.Path, max_pixels: int) -> Num[np.ndarray, "..."]:
    with Image.open(path) as image:
        _check_extent(path, image.size, getattr(image, "n_frames", 1), max_pixels)
        raw_mode = str(image.tile[0][3]) if image.tile else ""
        if image.mode not in ("L", "F") and not image.mode.startswith("I") and ";16" in raw_mode:
            raise ValueError(f"{path} has 16-bit colour; save it as a 16-bit grey picture")
        if image.mode == "CMYK":
            raise ValueError(f"{path} has the planes of a print (CMYK); save it as grey or RGB")
        try:
            image.load()
        except ValueError as error:  # a TIFF shorter than it says
            raise OSError(error) from error
        return np.asarray(image.convert("RGB") if image.mode in ("1", "P") else image)


def _decode_with_tifffile(path: pathlib.Path, max_pixels: int) -> Num[np.ndarray, "..."]:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            _check_extent(path, (page.imagewidth, page.imagelength), len(file.pages), max_pixels)
            if page.samplesperpixel > 4:
                raise ValueError(f"it has {page.samplesperpixel} planes; expected 1 (grey) or 3 (RGB)")
            return page.asarray()
    except Exception as error:  # a damaged TIFF can raise nearly anything
        raise ValueError(f"{path} cannot be read: {error}; give a grey TIFF of one page") from error


def _check_extent(path: pathlib.Path, size: tuple[int, int], pages: int, max_pixels: int):
    width, height = size
    if width * height > max_pixels:
        raise ValueError(f"{path} has {width}x{height} pixels, more than the bound of {max_pixels}; raise max_pixels")
    if pages != 1:
        raise ValueError(f"{path} has {pages} pages; save one channel per file")


def _as_grey(path: pathlib.Path, pixels: Num[np.ndarray, "..."]) -> Num[np.ndarray, "h w"]:
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        brightest = pixels[..., :3].max(-1)
        if _colourful(pixels[..., :3], brightest):
            raise ValueError(
                f"{path} shows several colours, so several channels at once; save each one as a grey picture"
            )
        return brightest
    if pixels.ndim == 3 and pixels.shape[-1] == 2:  # grey and transparency
        return pixels[..., 0]
    raise ValueError(f"{path} has shape {pixels.shape}; expected (height, width), or RGB planes in the last axis")


def _colourful(planes: Num[np.ndarray, "h w 3"], brightest: Num[np.ndarray, "h w"]) -> bool:
    """Whether some plane is more than a shade of the brightest; JPEG blurs colours by up to 15% of the signal."""
    shades = planes[::4, ::4].reshape(-1, 3).astype(np.float64)
    signal = brightest[::4, ::4].reshape(-1, 1).astype(np.float64)
    power = max(float((signal**2).mean()), np.finfo(float).tiny)
    rest = shades - signal * ((shades * signal).mean(0) / power)
    noise = np.iinfo(planes.dtype).max * 0.01 if planes.dtype.kind == "u" else 0.0
    return bool(np.sqrt((rest**2).mean(0)).max() > max(0.2 * np.sqrt(power), noise))


def _as_integers(path: pathlib.Path, pixels: Num[np.ndarray, "h w"]) -> UInt[np.ndarray, "h w"]:
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind == "f":
        if bad := int(np.count_nonzero(~np.isfinite(pixels))):
            raise ValueError(f"{path} has {bad} NaN or infinite pixels; repair or remove the picture")
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(f"{path} has floats in [{pixels.min():g}, {pixels.max():g}]; scale them to [0, 1]")
        return np.rint(pixels.astype(np.float64) * np.iinfo(np.uint16).max).astype(np.uint16)
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
        return pixels.astype(np.uint16)
    raise ValueError(f"{path} has {pixels.dtype} pixels up to {pixels.max()}; save it with 8 or 16 bits")


def read_annotations(path: str | pathlib.Path) -> dict[str, Annotation]:
    """Field id → annotation, from a CSV (or .tsv) with a header.

    Columns, in any capitalisation: `id`; `label`, `labels` or `locations`, holding class numbers or HPA terms
    separated by | or ; (a repeated one counts once, a term without a class is logged and left out); or `target`,
    holding class numbers of the competition of 2018 separated by spaces (see `atlas.KAGGLE_2018`); and, if there,
    `protein` or `gene`, `antibody`, `cell_line`.

    Raises:
        ValueError: no such columns, a class out of range, Negative beside another class, or an id given twice.
    """
    path = pathlib.Path(path)
    annotations: dict[str, Annotation] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        if "id" not in reader.fieldnames or not {"label", "labels", "locations", "target"} & set(reader.fieldnames):
            raise ValueError(f"{path} needs the columns id and label, got {reader.fieldnames}")
        for row in reader:
            if row["id"] in annotations:
                raise ValueError(f"{path}, line {reader.line_num}: id {row['id']} comes twice; keep one row")
            annotations[row["id"]] = _annotation(row, f"{path}, line {reader.line_num}")
    return annotations


def _annotation(row: dict[str, str | None], where: str) -> Annotation:
    def text(*names: str) -> str:
        return next((row[name].strip() for name in names if row.get(name)), "")

    terms = [term.strip() for term in re.split(r"[|;]", text("label", "labels", "locations")) if term.strip()]
    if target := text("target"):
        terms = _of_2018(target, where)
    classes, left_out = atlas.locations_of(term for term in terms if not term.isdecimal())
    if left_out:
        log.warning("%s: no class for %s", where, ", ".join(left_out))
    try:
        labels = atlas.multi_hot([*classes, *(int(term) for term in terms if term.isdecimal())])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Annotation(labels, text("protein", "gene"), text("antibody"), text("cell_line"))


def _of_2018(target: str, where: str) -> list[str]:
    try:
        classes = [atlas.KAGGLE_2018[int(number)] for number in target.split()]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{where}: target must be class numbers of 2018, 0 to 27, got {target[:80]!r}") from error
    return [str(index) for index in classes if index is not None]
