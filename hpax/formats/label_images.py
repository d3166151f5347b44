"""Index images (0 is background, every other value a cell) in PNG and TIFF, as runs, and in and out of submissions."""

import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Bool, Float, Float64, Int64, Integer, Shaped, UInt
from PIL import Image

from hpax import atlas, files
from hpax.formats import kaggle, rle

PIXELS = 2**28
"""The most pixels an index image may have; 16,384 × 16,384."""

_LZW, _MIN_IS_WHITE, _ORIENTATION = 5, 0, 274  # by the numbers of TIFF
_LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000")

Labels = UInt[np.ndarray, "h w"]


def read(path: str | os.PathLike[str]) -> Labels:
    """The index image in a PNG (8 or 16 bits, grey or palette) or a TIFF (whole numbers of any type up to 32 bits).

    Raises:
        ValueError: the file is damaged, has colours, several pages, numbers that are not whole or negative, or is too
            large; it names the file.
    """
    path = Path(path)
    with files.reading(path, "export a PNG or TIFF of indices"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # PIXELS is the bound
        try:
            labels = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _read_png(path)
        except Image.DecompressionBombError as error:
            raise ValueError(f"{path} has more pixels than a PNG may have here ({error}); save it as TIFF") from error
    if labels.ndim != 2:
        raise ValueError(f"{path} must be one grey page, its shape is {labels.shape}; export indices, not colours")
    return as_indices(labels, path)


def as_indices(labels: Shaped[np.ndarray, "h w"], name: object) -> Labels:
    """Whole numbers of any type as unsigned ones of at most 32 bits; `name` says whose they are in errors.

    Raises:
        ValueError: numbers that are not whole, negative, or too high.
    """
    if labels.dtype in (np.uint8, np.uint16, np.uint32):
        return labels
    if labels.dtype.kind not in "iuf":
        raise ValueError(f"{name} has {labels.dtype} pixels; export whole numbers, one for each cell")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        raise ValueError(f"{name} has {labels.dtype} pixels that are not whole numbers; export indices, not a picture")
    lowest, highest = labels.min(initial=0), labels.max(initial=0)
    if lowest < 0 or highest >= 2**32:
        told = f"it has {lowest:g} to {highest:g}"
        raise ValueError(f"{name} must have indices from 0 to {2**32 - 1}, {told}; were they stored with too few bits?")
    return labels.astype(np.uint16 if highest < 2**16 else np.uint32)


def write(path: str | os.PathLike[str], labels: Labels) -> None:
    """Write an index image of 16 bits, or 32 beyond 65,535, which only TIFF holds. The file appears once complete.

    Raises:
        ValueError: an index does not fit, or the suffix is neither .png nor .tif(f).
    """
    path, most = Path(path), int(labels.max(initial=0))
    tiff = path.suffix.lower() in (".tif", ".tiff")
    if not tiff and (path.suffix.lower() != ".png" or most >= 2**16):
        raise ValueError(f"{path} must end in .tif, or in .png for indices up to 65535, the highest is {most}")
    small = labels.astype(np.uint16 if most < 2**16 else np.uint32)
    with files.replacing(path) as draft:
        tifffile.imwrite(draft, small, compression="zlib") if tiff else Image.fromarray(small).save(draft)


def runs(labels: Integer[np.ndarray, "h w"]) -> tuple[rle.Runs, Int64[np.ndarray, " n"]]:
    """The runs of all cells, mask i of which is the i-th index of the second result (sorted)."""
    flat = labels.ravel(order="F")
    start = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])[: flat.size]
    stop = np.append(start[1:], flat.size)[: start.size]
    value = flat[start]
    start, stop, value = start[value > 0], stop[value > 0], value[value > 0]
    indices, owner = np.unique(value, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    return np.stack([owner[order], start[order], stop[order]]).astype(np.int32), indices.astype(np.int64)


def paint(runs: rle.Runs, masks: int, height: int, width: int) -> Labels:
    """The index image of disjoint masks, where mask i has index i + 1; uint16, or uint32 beyond 65,535 masks.

    Raises:
        ValueError: masks overlap, which an index image cannot show.
    """
    owner, start, stop = runs[:, np.argsort(runs[1], kind="stable")]
    if (start[1:] < stop[:-1]).any():
        raise ValueError("masks must not share pixels to fit an index image; choose among the overlapping ones before")
    edges = np.stack([start, stop], 1).ravel()
    sizes = np.diff(edges, prepend=0, append=height * width)
    values = np.zeros(len(sizes), np.uint16 if masks < 2**16 else np.uint32)
    values[1::2] = owner + 1
    return np.repeat(values, sizes).reshape(width, height).T


def listing(id: str, labels: Integer[np.ndarray, "h w"], scores: Float[np.ndarray, "n c"]) -> kaggle.Listing:
    """An index image and its cells' scores as a row of a submission.

    Row i scores the cell of index i + 1; a class of NaN is not listed, nor is a cell without a pixel. For a truth give
    1 where a class is true and NaN elsewhere (`truth_scores`).

    Raises:
        ValueError: a cell has no row, or there are not 19 columns.
    """
    cells, indices = runs(labels)
    if scores.ndim != 2 or scores.shape[1] != len(atlas.LOCATIONS) or indices.max(initial=0) > len(scores):
        need = f"({indices.max(initial=0)} or more, {len(atlas.LOCATIONS)})"
        raise ValueError(f"scores must have a row per index and a column per class {need}, got {scores.shape}")
    own = np.asarray(scores, np.float64)[indices - 1]
    mask, label = np.nonzero(~np.isnan(own))
    height, width = labels.shape
    listed, place = label.astype(np.int32), mask.astype(np.int32)
    return kaggle.Listing(id, height, width, listed, own[mask, label], place, cells, len(indices))


def truth_scores(classes: Bool[np.ndarray, "n c"] | UInt[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
    """1 where a class is true and NaN elsewhere, so that `listing` lists the true ones."""
    return np.where(classes, 1.0, np.nan)


def unlisting(listing: kaggle.Listing) -> tuple[Labels, Float64[np.ndarray, "n c"]]:
    """The index image and the scores of a row's cells, NaN where a class is not listed; the inverse of `listing`.

    Masks without a pixel keep their row. The highest score counts where a cell lists a class twice.

    Raises:
        ValueError: masks overlap.
    """
    scores = np.full((listing.masks, len(atlas.LOCATIONS)), -np.inf)
    np.maximum.at(scores, (listing.mask, listing.label), listing.score)
    labels = paint(listing.runs, listing.masks, listing.height, listing.width)
    return labels, np.where(np.isinf(scores), np.nan, scores)


def _read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if image.width * image.height > PIXELS:
            raise ValueError(f"{path} must have at most {PIXELS} pixels, it has {image.width} × {image.height}")
        if image.format in _LOSSY or getattr(image, "n_frames", 1) != 1:
            told = f"{image.format} of {getattr(image, 'n_frames', 1)} pages"
            raise ValueError(f"{path} is a {told}, which keeps no numbers of cells; export one page as PNG")
        _check_upright(path, int(image.getexif().get(_ORIENTATION, 1)))
        if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise ValueError(f"{path} must be one grey page, its mode is {image.mode}; export indices, not colours")
        labels = np.asarray(image)
    if labels.dtype == np.int32 and labels.min(initial=0) >= 0:  # 16-bit PNG in some versions of Pillow
        return labels.astype(np.uint32)
    return labels.astype(np.uint8) if labels.dtype == bool else labels.astype(labels.dtype.newbyteorder("="))


def _check_upright(name: object, orientation: int) -> None:
    if orientation not in (0, 1):
        raise ValueError(f"{name} has the orientation tag {orientation}; save the masks upright, and without it")


def _read_tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        if len(file.pages) != 1:
            raise ValueError(f"{path} must be one page, it has {len(file.pages)}")
        return read_page(file, 0)


def _read_lzw(path: Path, page: tifffile.TiffPage, index: int) -> np.ndarray:
    """The pixels of a page that Fiji, QuPath or Bio-Formats compressed, by Pillow, which decodes no more than fits."""
    with Image.open(path) as image:
        image.seek(index)
        if (image.height, image.width) != page.shape:
            raise ValueError(f"{path} has pages of several resolutions; export the full one alone")
        labels = np.asarray(image)
    if labels.dtype == np.int32 and page.dtype == np.uint32:  # Pillow knows 32 bits with a sign only
        labels = labels.view(np.uint32)
    return labels.astype(labels.dtype.newbyteorder("="))


def read_page(file: tifffile.TiffFile, index: int) -> np.ndarray:
    """The pixels of a page that may be hostile: of at most PIXELS, stored plainly, or packed (deflate, LZW) to no more.

    Raises:
        ValueError: it is larger, expands further, or is compressed otherwise.
    """
    page = file.pages[index].aspage()
    _check_upright(file.filename, int(page.tags[_ORIENTATION].value) if _ORIENTATION in page.tags else 1)
    if page.photometric == _MIN_IS_WHITE and page.bitspersample > 1:
        raise ValueError(f"{file.filename} shows 0 as white, which cells may not be; save it with black as 0")
    if np.prod(page.shape, dtype=np.float64) > PIXELS:
        raise ValueError(f"{file.filename} must have at most {PIXELS} pixels, it has {page.shape}")
    if page.compression == _LZW and page.ndim == 2:
        return _read_lzw(Path(file.filehandle.path), page, index)
    if page.compression not in (1, 8, 32946):  # none, deflate by either number
        name = tifffile.COMPRESSION(page.compression).name
        raise ValueError(f"{file.filename} is compressed by {name}; save it plainly or with zlib")
    most = int(np.prod(page.chunks)) * page.bitspersample // 8
    segments = file.filehandle.read_segments(page.dataoffsets, page.databytecounts) if page.compression != 1 else ()
    for segment, _ in segments:
        if not segment:
            continue
        assert isinstance(segment, bytes)
        if len(zlib.decompressobj().decompress(segment, most + 1)) > most:
            raise ValueError(f"{file.filename} expands to more than the {most} bytes of a segment; it is damaged")
    return page.asarray()
