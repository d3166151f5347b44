"""One grey picture in a PNG, JPEG or TIFF: its pixels, and what its tags say of them, the same for every decoder.

Every function raises ValueError or FileNotFoundError that names the file.
"""

import dataclasses
import functools
import html
import pathlib
import re
import stat
import warnings
from typing import Literal

import numpy as np
import tifffile
from jaxtyping import Num, Shaped, UInt
from PIL import Image, UnidentifiedImageError

from hpax import atlas, files

MAX_PIXELS = 2**26  # 67 megapixels; the largest HPA field has 9.4
FULL = 2**16 - 1  # of what is read with more than 8 bits
BEYOND = 0.01  # the most of a picture's pixels that may lie above a stated range; they are cut off
LEAK = 0.5  # of the stain's plane: what the other planes of a picture in its colour may hold at most

_TIFF = (".tif", ".tiff")
_ORIENTATION, _PHOTOMETRIC, _MIN_IS_WHITE, _BITS_PER_SAMPLE = 274, 262, 0, 258
_PLANES = {"red": (0,), "green": (1,), "blue": (2,), "yellow": (0, 1)}
_COLOUR = re.compile(rf".+_(?P<colour>{'|'.join(atlas.COLOURS.values())})", re.IGNORECASE)
_NAMES = ("µm", "μm", "\\u00b5m", "\\u03bcm", "um", "micron", "microns", "micrometer", "micrometers", "micrometre")
_UNITS = dict.fromkeys(_NAMES, 1.0)
_UNITS |= {"nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3}
_UNITS |= {
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "pm": 1e-6,
    "Å": 1e-4,
    "inch": 25_400.0,
    "in": 25_400.0,
}
_PLAUSIBLE = (0.005, 10.0)  # µm; 72 dots per inch are a default, and no statement
_METADATA = 2**20  # characters of XML that are looked at
_PIXELS = re.compile(r"<(\w{1,32}:)?Pixels\s[^>]{0,4096}>")
_SIZE = re.compile(r"""\s(PhysicalSize[XY](?:Unit)?)\s{0,9}=\s{0,9}["']([^"'<>]{1,32})["']""")
_PRINTED = ("CMYK", "LAB", "HSV", "SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "YCBCR")
"""Colours that are no light of a stain, as Pillow and TIFF call them, or that are not turned into RGB here."""


Planes = Literal["clear", "own"]
"""Of a picture in several colours: the plane of the stain in its name if the others hold little, or in any case."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded picture: black is 0, in the order of its file."""

    pixels: Num[np.ndarray, "h w"]
    orientation: int = 1  # TIFF's and EXIF's tag 274: how to turn the pixels; 1 as they are
    leak: float = 0.0  # of the stain's plane: what other planes held that were left out
    misnamed: bool = False  # it is in one colour, and that is not the one that its file is named after


@dataclasses.dataclass(frozen=True)
class FullScale:
    """The highest value that a camera gave, in files that could hold more. Pictures of 8 bits span theirs anyway."""

    integers: int = FULL
    floats: float = 1.0
    remark: str = ""

    @classmethod
    def of_bits(cls, bits: int) -> "FullScale":
        """That of a camera of so many bits, whose values may be stored as integers or floats.

        Raises:
            ValueError: bits are not in 1..16.
        """
        if not 1 <= bits <= 16:
            raise ValueError(f"bits must be 1 to 16, got {bits}; cameras have 8, 10, 12, 14 or 16")
        return cls(2**bits - 1, float(2**bits - 1))


def read_channel(
    path: str | pathlib.Path, *, max_pixels: int = MAX_PIXELS, full_scale: FullScale | None = None
) -> UInt[np.ndarray, "h w"]:
    """One grey picture, turned as its tags say: 8 bits as stored; else 16 bits that `full_scale` spans.

    Without `full_scale`, integers span their type, and floats must be in [0, 1]. A picture stored in colour, grey in
    all planes or shown in one colour, gives its brightest plane; one named `..._{colour}` whose other planes hold at
    most half of that colour's gives the plane of its colour.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, truncated, not an image, more than `max_pixels`, several pages, planes that are neither
            grey nor RGB, several colours in one picture, NaN or infinite pixels, values beyond the range.
    """
    picture = read(path, max_pixels=max_pixels)
    return turned(as_integers(pathlib.Path(path), picture.pixels, full_scale or FullScale()), picture.orientation)


def read(path: str | pathlib.Path, *, max_pixels: int = MAX_PIXELS, planes: Planes = "clear") -> Picture:
    """A picture as its file holds it; errors are those of `read_channel`, but for values beyond the range.

    With `planes` "own", a picture in several colours named `..._{colour}` gives the plane of that colour whatever the
    others hold.
    """
    path = pathlib.Path(path)
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"{path} is a link to a file that is not there; mend the link")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is no file, but a folder or a device; remove or rename it")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); fetch it again")
    pixels, orientation = _decode(path, max_pixels)
    if pixels.dtype.kind not in "uif" or pixels.dtype.itemsize > 8:
        raise ValueError(f"{path} has {pixels.dtype} pixels; save it with 8 or 16 bits")
    native = np.dtype(f"{pixels.dtype.kind}{pixels.dtype.itemsize}")  # uint64 for ulonglong, of this machine's order
    pixels = pixels.astype(native, copy=pixels.dtype.itemsize == 8)
    grey, leak = _as_grey(path, pixels, planes)
    if grey.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(grey)))):
        raise ValueError(f"{path} has {bad} NaN or infinite pixels; repair or remove the picture")
    misnamed = pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and _misnamed(path, pixels[..., :3], grey)
    return Picture(grey, orientation, leak, misnamed)


def turned(pixels: Shaped[np.ndarray, "h w"], orientation: int) -> Shaped[np.ndarray, "y x"]:
    """Pixels turned and mirrored as tag 274 says; values that it does not define change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def as_integers(path: pathlib.Path, pixels: Num[np.ndarray, "h w"], full_scale: FullScale) -> UInt[np.ndarray, "h w"]:
    """Pixels that span their type: uint8 as they are, all others as uint16 with `full_scale` at 65,535.

    Raises:
        ValueError: negative, or beyond the range in more than 1% of the pixels.
    """
    if pixels.dtype == np.uint8:
        return pixels
    lowest, highest = pixels.min(initial=0), pixels.max(initial=0)
    if pixels.dtype.kind == "f":
        full: float = full_scale.floats
        if lowest < 0 or (full == 1 and highest > 1):
            raise ValueError(f"{path} has floats in [{lowest:g}, {highest:g}]; scale them to [0, 1], or state the bits")
    else:
        full = full_scale.integers
        if lowest < 0 or highest > FULL:
            raise ValueError(f"{path} has {pixels.dtype} pixels of {lowest} to {highest}; save it with 8 or 16 bits")
    if (beyond := float((pixels > full).mean())) > BEYOND:
        raise ValueError(
            f"{path} lies beyond its full scale of {full:g} in {beyond:.0%} of the pixels; state more bits"
        )
    if full == FULL and pixels.dtype == np.uint16:
        return pixels.astype(np.uint16)
    return np.rint(np.minimum(pixels.astype(np.float64) / full, 1) * FULL).astype(np.uint16)


def size(path: str | pathlib.Path) -> tuple[int, int] | None:
    """Height and width of a picture by its header, as it is stored; None of what cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.height, image.width
    except UnidentifiedImageError:
        return _size_by_tifffile(pathlib.Path(path))
    except Exception:  # mad tags can raise nearly anything; who reads the pixels says so
        return None


def _size_by_tifffile(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        with tifffile.TiffFile(path) as file:
            return int(file.pages.first.imagelength), int(file.pages.first.imagewidth)
    except Exception:  # as above
        return None


def is_8_bit(path: str | pathlib.Path) -> bool:
    """Whether a picture surely has 8 bits, by its header; pixels are not read."""
    return stored_bits(path) == 8


def stored_bits(path: str | pathlib.Path) -> Literal[8, 16] | None:
    """8, or 16 of a picture that needs more, by its header; None where that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"):
                    return 16 if _is_wide(image) else 8
                return 16 if image.mode == "F" or image.mode.startswith("I") else None
    except UnidentifiedImageError:
        return _bits_by_tifffile(pathlib.Path(path))
    except Exception:  # mad tags can raise nearly anything; who reads the pixels says so
        return None


def _bits_by_tifffile(path: pathlib.Path) -> Literal[8, 16] | None:
    try:
        with tifffile.TiffFile(path) as file:
            return 8 if file.pages.first.aspage().bitspersample <= 8 else 16
    except Exception:  # as above
        return None


def orientation(path: str | pathlib.Path) -> int:
    """Tag 274 of a picture, 1 where it has none or cannot be read; pixels are not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return int(image.getexif().get(_ORIENTATION, 1))
    except UnidentifiedImageError:
        return _orientation_by_tifffile(pathlib.Path(path))
    except Exception:  # mad tags can raise nearly anything; who reads the pixels says so
        return 1


def _orientation_by_tifffile(path: pathlib.Path) -> int:
    try:
        with tifffile.TiffFile(path) as file:
            tags = file.pages.first.tags
            return int(tags[_ORIENTATION].value) if _ORIENTATION in tags else 1
    except Exception:  # as above
        return 1


def stated_um_per_pixel(path: str | pathlib.Path) -> float | None:
    """The µm per pixel that a TIFF states, in OME-XML, as ImageJ does or by its resolution; None where it does not.

    Of OME-XML the first image counts, and the one side where only one is stated. Densities of other formats are those
    of prints, and count as nothing, as do sizes outside of 0.005 to 10 µm.

    Raises:
        ValueError: its pixels are not square.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in _TIFF:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            sizes = _ome_sizes((file.ome_metadata or "")[:_METADATA]) or _resolution(file)
    except FileNotFoundError:
        raise
    except Exception:  # a damaged TIFF can raise nearly anything; who reads its pixels says so
        return None
    plausible = [size for size in sizes if _PLAUSIBLE[0] <= size <= _PLAUSIBLE[1]]
    if not plausible:
        return None
    if max(sizes) > 1.01 * min(sizes):
        raise ValueError(f"{path} states pixels of {sizes[0]:g} by {sizes[1]:g} µm; they must be square, resample it")
    return plausible[0]


def _ome_sizes(xml: str) -> list[float]:
    """Those that its first image states, in µm; by pattern, so that no hostile XML is parsed."""
    pixels = _PIXELS.search(without_comments(xml))
    stated = dict(_SIZE.findall(pixels[0])) if pixels else {}
    sizes = []
    for axis in ("PhysicalSizeX", "PhysicalSizeY"):
        if axis in stated and (length := micrometres(stated[axis], stated.get(f"{axis}Unit", "µm"))):
            sizes.append(length)
    return sizes


def without_comments(xml: str) -> str:
    """XML without its comments, in time that grows with its length only, whatever it holds."""
    first, *others = xml.split("<!--")
    return first + "".join(other.partition("-->")[2] for other in others)


def micrometres(length: str, unit: str) -> float | None:
    """A length as files state it, in µm; None where it is no positive number, or the unit is none of a length.

    The unit may be written with either µ (U+00B5, U+03BC), by its name, or escaped as in XML.
    """
    factor = _UNITS.get(html.unescape(unit).strip()) or _UNITS.get(html.unescape(unit).strip().lower())
    try:
        found = float(length)
    except ValueError:
        return None
    return found * factor if factor and 0 < found < float("inf") else None


def _resolution(file: tifffile.TiffFile) -> list[float]:
    tags = file.pages.first.tags
    if 282 not in tags or 283 not in tags:
        return []
    unit = str((file.imagej_metadata or {}).get("unit", "")).lower()
    if not unit:
        unit = {2: "inch", 3: "cm"}.get(int(tags[296].value) if 296 in tags else 2, "")
    if unit not in _UNITS:
        return []
    return [_UNITS[unit] * tags[tag].value[1] / tags[tag].value[0] for tag in (282, 283)]


def _decode(path: pathlib.Path, max_pixels: int) -> tuple[Shaped[np.ndarray, "..."], int]:
    """Pixels in the order of the file, and its orientation."""
    with files.reading(path, "the file is damaged, fetch it again"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our bound is the tighter one
        try:
            return _decode_with_pillow(path, max_pixels)
        except UnidentifiedImageError as error:
            if path.suffix.lower() in _TIFF:
                return _decode_with_tifffile(path, max_pixels)
            raise ValueError(f"{path} is not an image that hpax can read; PNG, JPEG and TIFF are") from error


def _decode_with_pillow(path: pathlib.Path, max_pixels: int) -> tuple[Shaped[np.ndarray, "..."], int]:
    with Image.open(path) as image:
        _check_extent(path, image.size, getattr(image, "n_frames", 1), max_pixels)
        _check_light(path, image.mode)
        if image.format == "TIFF" and image.tile and image.tile[0][0] != "libtiff":
            return _decode_with_tifffile(path, max_pixels)  # Pillow 12 mixes up rows where a tag swaps the sides
        if image.mode not in ("L", "F") and not image.mode.startswith("I") and _is_wide(image):
            raise ValueError(f"{path} has 16-bit colour; save it as a 16-bit grey picture")
        tags = getattr(image, "tag_v2", {})
        inverted = tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE and not _raw_mode(image).endswith(
            ";I"
        )  # that, Pillow inverts
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        image.load()
        pixels = np.asarray(image.convert("RGB") if image.mode in ("1", "P", "PA", "YCbCr") else image)
        if image.format == "TIFF":  # Pillow has turned it
            pixels = _turned_back(pixels, orientation)
        return _black_is_zero(path, pixels) if inverted else pixels, orientation


def _raw_mode(image: Image.Image) -> str:
    if not (tile := getattr(image, "tile", None)):
        return ""
    options = tile[0][3]
    return options if isinstance(options, str) else str(options[0]) if options else ""


def _is_wide(image: Image.Image) -> bool:
    """Whether a picture in colour has more than the 8 bits that Pillow has room for."""
    stored = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return ";16" in _raw_mode(image) or max(stored, default=8) > 8


def _turned_back(pixels: Num[np.ndarray, "h w *c"], orientation: int) -> Num[np.ndarray, "y x *c"]:
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels


def _check_light(path: pathlib.Path, colours: str) -> None:
    if colours in _PRINTED:
        raise ValueError(f"{path} holds colours as {colours}; save it as grey or RGB")


def _black_is_zero(path: pathlib.Path, pixels: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path} shows the lowest of its {pixels.dtype} values as white; save it with black as 0")
    if pixels.dtype == np.uint16 and (highest := int(pixels.max(initial=0))) < 2**14:
        raise ValueError(
            f"{path} shows the lowest value as white, and has none above {highest}, so that black is not known of a "
            "camera of fewer bits; save it with black as 0"
        )
    return np.iinfo(pixels.dtype).max - pixels


def _decode_with_tifffile(path: pathlib.Path, max_pixels: int) -> tuple[Shaped[np.ndarray, "..."], int]:
    with files.reading(path, "give a grey TIFF of one page"), tifffile.TiffFile(path) as file:
        page = file.pages.first
        _check_extent(path, (page.imagewidth, page.imagelength), len(file.pages), max_pixels)
        if page.samplesperpixel > 4:
            raise ValueError(f"it has {page.samplesperpixel} planes; expected 1 (grey) or 3 (RGB)")
        pixels = _colours(path, page, page.asarray())
        orientation = int(page.tags[_ORIENTATION].value) if _ORIENTATION in page.tags else 1
        inverted = page.photometric == _MIN_IS_WHITE
        return _black_is_zero(path, pixels) if inverted else pixels, orientation


def _colours(path: pathlib.Path, page: tifffile.TiffPage, pixels: Shaped[np.ndarray, "..."]) -> np.ndarray:
    """The planes of a page in the last axis, of a palette the colours that it stands for."""
    colours = "" if page.photometric is None else tifffile.PHOTOMETRIC(page.photometric).name
    _check_light(path, colours)
    if colours == "PALETTE" and page.colormap is not None:
        pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
        return pixels if page.bitspersample > 8 else (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 2 and not any(page.extrasamples) and np.ptp(pixels[..., 1]):
        raise ValueError("it has two planes, neither of which is transparency; save one channel per file")
    return pixels


def _check_extent(path: pathlib.Path, size: tuple[int, int], pages: int, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ValueError(f"{path} has {width}x{height} pixels, more than the bound of {max_pixels}; raise max_pixels")
    if pages != 1:
        raise ValueError(f"{path} has {pages} pages; save one channel per file")


def _as_grey(path: pathlib.Path, pixels: Num[np.ndarray, "..."], which: Planes) -> tuple[Num[np.ndarray, "h w"], float]:
    """One plane, and what share of its signal others held that do not belong to it."""
    if pixels.ndim == 2:
        return pixels, 0.0
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        brightest = _brightest(pixels[..., :3])
        if not _colourful(pixels[..., :3], brightest):
            return brightest, 0.0
        return _of_stain(path, pixels[..., :3], which)
    if pixels.ndim == 3 and pixels.shape[-1] == 2:  # grey and transparency
        return pixels[..., 0], 0.0
    raise ValueError(f"{path} has shape {pixels.shape}; expected (height, width), or RGB planes in the last axis")


def _brightest(planes: Num[np.ndarray, "h w p"]) -> Num[np.ndarray, "h w"]:
    """The maximum of a few planes, one after the other, as NumPy takes far longer along so short an axis."""
    return functools.reduce(np.maximum, np.moveaxis(planes, -1, 0))


def _of_stain(
    path: pathlib.Path, planes: Num[np.ndarray, "h w 3"], which: Planes
) -> tuple[Num[np.ndarray, "h w"], float]:
    """The plane of the colour that a picture is named after, if the others hold little beside it or it is asked for."""
    if name := _COLOUR.fullmatch(path.name.split(".")[0]):
        own = _PLANES[name["colour"].lower()]
        power = np.sqrt((planes[::4, ::4].astype(np.float64) ** 2).mean((0, 1)))
        leak = max(float(power[plane]) for plane in range(3) if plane not in own) / max(float(power[own[0]]), 1e-9)
        if leak <= LEAK or which == "own":
            return _brightest(planes[..., list(own)]), leak
    raise ValueError(
        f"{path} shows several colours, so several channels at once; save each one as a grey picture, or ask for the "
        "plane of the colour in its name (planes own)"
    )


def _misnamed(path: pathlib.Path, planes: Num[np.ndarray, "h w 3"], grey: Num[np.ndarray, "h w"]) -> bool:
    """Whether the planes of the colour in a picture's name hold less than half of what it shows."""
    if not (name := _COLOUR.fullmatch(path.name.split(".")[0])):
        return False
    signal = grey[::4, ::4].astype(np.float64)
    power = max(float((signal**2).mean()), np.finfo(float).tiny)
    shares = (planes[::4, ::4] * signal[..., None]).mean((0, 1)) / power
    return bool(signal.any() and shares[list(_PLANES[name["colour"].lower()])].max() < LEAK)


def _colourful(planes: Num[np.ndarray, "h w 3"], brightest: Num[np.ndarray, "h w"]) -> bool:
    """Whether some plane is more than a shade of the brightest; JPEG blurs colours by up to 15% of the signal."""
    shades = planes[::4, ::4].reshape(-1, 3).astype(np.float64)
    signal = brightest[::4, ::4].reshape(-1, 1).astype(np.float64)
    power = max(float((signal**2).mean()), np.finfo(float).tiny)
    rest = shades - signal * ((shades * signal).mean(0) / power)
    noise = np.iinfo(planes.dtype).max * 0.01 if planes.dtype.kind == "u" else 0.0
    return bool(np.sqrt((rest**2).mean(0)).max() > max(0.2 * np.sqrt(power), noise))
