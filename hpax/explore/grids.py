"""Pictures side by side, with names."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Num, UInt8
from PIL import Image, ImageDraw, ImageFont

from hpax.explore import colour

INK, PAPER = (235, 235, 240), (18, 18, 22)
GAP = 4  # pixels between pictures
TEXT = 13  # pixels, the size of the letters
LINE = TEXT + 2 * GAP  # pixels

Picture = UInt8[np.ndarray, "h w 3"]
Pictures = Sequence[Sequence[Picture]] | UInt8[np.ndarray, "rows columns h w 3"]


def grid(
    rows: Pictures,
    *,
    names: Sequence[str] = (),
    titles: Sequence[str] = (),
    title: str = "",
    scale: int = 1,
) -> UInt8[np.ndarray, "height width 3"]:
    """Rows of pictures of one size: `names` beside the rows, `titles` over the columns, `title` over all.

    Each pixel becomes scale×scale equal pixels; text too long for its place ends in an ellipsis.

    Raises:
        ValueError: pictures of different sizes, a ragged or empty grid, or names that do not match it.
    """
    height, width, columns = _extent(rows, names, titles)
    height, width = scale * height, scale * width
    font = letters()
    left = round(max(map(font.getlength, names), default=-2 * GAP)) + 3 * GAP
    top = GAP + LINE * (bool(title) + bool(titles))
    page = Image.new("RGB", (left + columns * (width + GAP), top + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((left, GAP), shortened(title, page.width - left, font), INK, font)
    for column, text in enumerate(titles):
        draw.text((left + column * (width + GAP), top - LINE), shortened(text, width, font), INK, font)
    for index, row in enumerate(rows):
        down = top + index * (height + GAP)
        draw.text((GAP, down + (height - TEXT) // 2), names[index] if names else "", INK, font)
        for column, picture in enumerate(row):
            large = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
            page.paste(large, (left + column * (width + GAP), down))
    return np.asarray(page)


def inpainting(
    source: Num[np.ndarray, "n h w c"],
    target: Num[np.ndarray, "n h w c"],
    predicted: Float[np.ndarray, "n h w 1"],
    *,
    titles: Sequence[str] = (),
    title: str = "",
    colours: Sequence[str] | None = None,
    scale: int = 2,
) -> UInt8[np.ndarray, "height width 3"]:
    """A column for each pair: what the network saw, what it said, and what was true.

    The proteins, predicted and actual, are shown alone, as the markers would flatter the prediction.
    """
    rows = {
        "source": colour.picture(source, colours=colours),
        "target markers": colour.structure(target, colours=colours),
        "prediction": colour.protein(predicted),
        "actual": colour.protein(target),
    }
    return grid([list(row) for row in rows.values()], names=list(rows), titles=titles, title=title, scale=scale)


def captioned(picture: Picture, text: str) -> UInt8[np.ndarray, "taller w 3"]:
    """A picture with a line of text below, cut to its width."""
    font = letters()
    page = Image.new("RGB", (picture.shape[1], picture.shape[0] + LINE), PAPER)
    page.paste(Image.fromarray(picture), (0, 0))
    place = (0, picture.shape[0] + GAP // 2)
    ImageDraw.Draw(page).text(place, shortened(text, page.width, font), INK, font)
    return np.asarray(page)


def letters() -> ImageFont.FreeTypeFont:
    """The letters of every grid: those that matplotlib brings along, which know µ and →."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), TEXT)


def shortened(text: str, width: float, font: ImageFont.FreeTypeFont) -> str:
    """`text`, cut and ended with an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    fitting = (f"{text[:end].rstrip()}…" for end in range(len(text) - 1, 0, -1))
    return next((short for short in fitting if font.getlength(short) <= width), "")


def _extent(rows: Pictures, names: Sequence[str], titles: Sequence[str]) -> tuple[int, int, int]:
    """Height and width of the pictures and the number of columns, the same in all rows."""
    shapes = {np.shape(picture)[:2] for row in rows for picture in row}
    lengths = {len(row) for row in rows}
    if len(shapes) != 1 or len(lengths) != 1:
        raise ValueError(f"a grid needs pictures of one size in rows of one length, got {shapes} in rows of {lengths}")
    if len(names) not in (0, len(rows)) or len(titles) not in (0, *lengths):
        raise ValueError(
            f"a grid of {len(rows)} rows of {lengths} got {len(names)} names, {len(titles)} titles; name all"
        )
    return *shapes.pop(), lengths.pop()
