"""HPA-like fields of view on disk: one grey picture per channel, named `{id}_{colour}`, and their labels in a CSV.

The Kaggle competitions ship `{id}_{red,green,blue,yellow}.png`, proteinatlas.org serves `{id}_{colour}.jpg`. The
colours are those of `hpax.atlas.COLOURS`. Every function raises ValueError or FileNotFoundError that names the file.
"""

import dataclasses
import logging
import pathlib
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterator

import numpy as np
import tifffile
from jaxtyping import Num, UInt
from PIL import Image, UnidentifiedImageError

from hpax import atlas
from hpax.formats.tables import Annotation, read_annotations

__all__ = [
    "Annotation",
    "FieldFiles",
    "Survey",
    "find_fields",
    "read_annotations",
    "read_channel",
    "read_field",
    "remarks",
    "survey",
]

MAX_PIXELS = 2**26  # 67 megapixels; the largest HPA field has 9.4
STRAY = ("__macosx", "thumb", "thumbs", "thumbnail", "thumbnails", "@eadir")
"""Folders, in any case, whose pictures are nobody's, as are those with a name that begins with a dot."""

SATURATED = 0.05  # share of a channel's pixels at the top of its range that is worth a remark

_COLOURS = "|".join(atlas.COLOURS.values())
_NAME = re.compile(rf"(?P<id>.+)_(?P<colour>{_COLOURS})\.(png|jpe?g|tiff?)", re.IGNORECASE)
_COMPOSITE = re.compile(rf".+_({_COLOURS})", re.IGNORECASE)
_ENDING = re.compile(rf"(_({_COLOURS}))+$", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FieldFiles:
    """A field of view and its files, one for each of `atlas.CHANNELS` in that order."""

    id: str
    paths: tuple[pathlib.Path, ...]


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
    pictures: dict[str, dict[str, pathlib.Path]] = {}
    faults: dict[str, OSError | ValueError] = {}
    for path, name in _pictures(folder):
        id = unicodedata.normalize("NFC", name["id"])
        channels = pictures.setdefault(id, {})
        if (other := channels.setdefault(name["colour"].lower(), path)) != path:
            faults[id] = ValueError(f"{other} and {path} are the same channel of one field; keep one of them")
    whole = []
    for id, channels in sorted(pictures.items()):
        if _is_composite(id, channels, pictures):
            continue
        try:
            _check_name(id)
            whole.append(FieldFiles(id, _in_channel_order(id, channels)))
        except (FileNotFoundError, ValueError) as error:
            faults.setdefault(id, error)
    if not whole and not faults:
        raise FileNotFoundError(
            f"{folder} holds no field; expected files named {{id}}_{{{_COLOURS}}}.png, .jpg or .tif"
        )
    return Survey([files for files in whole if files.id not in faults], dict(sorted(faults.items())))


def _pictures(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, re.Match[str]]]:
    """What is named as a channel, in an order that the file system has no part in; hidden and stray files are not."""
    for path in sorted(folder.rglob("*")):
        name = _NAME.fullmatch(path.name)
        if name and not is_stray(path.relative_to(folder)) and not path.is_dir():
            yield path, name


def is_stray(path: pathlib.PurePath) -> bool:
    """Whether a path within a folder is what programs leave there: hidden, of macOS, or a thumbnail."""
    return any(part.startswith(".") or part.lower() in STRAY for part in path.parts)


def _is_composite(id: str, channels: Collection[str], pictures: Collection[str]) -> bool:
    """Whether an id that ends in a colour is no field: `a_blue_red_green.jpg` shows three channels of a at once."""
    if not _COMPOSITE.fullmatch(id) or len(channels) == len(atlas.CHANNELS):
        return False
    return len(channels) == 1 or _ENDING.sub("", id) in pictures


def _check_name(id: str) -> None:
    try:
        id.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the name of field {id!a} is not UTF-8; rename its files") from error


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
