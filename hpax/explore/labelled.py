"""Fields whose cells have the colour of their label, and where a network saw its classes."""

import matplotlib
import numpy as np
from jaxtyping import Float, Integer, UInt, UInt8
from matplotlib.colors import hsv_to_rgb
from PIL import Image, ImageDraw

from hpax import atlas
from hpax.explore import grids, overlays
from hpax.fields import Masks

GREY = (150, 150, 150)
TINT = 0.25  # of a label's colour where a cell is dark
HEAT = matplotlib.colormaps["inferno"]
MOST_HEAT = 0.7  # the protein shows through it

Picture = UInt8[np.ndarray, "height width 3"]


def _colours() -> UInt8[np.ndarray, "19 3"]:
    """Eighteen hues, far apart from class to class, whose neighbours differ in strength; grey for Negative."""
    hue = np.arange(atlas.NEGATIVE) * 7 % 18
    strong = np.stack([hue / 18, np.where(hue % 2, 0.5, 0.95), np.ones(len(hue))], axis=1)
    return np.insert(np.rint(255 * hsv_to_rgb(strong)).astype(np.uint8), atlas.NEGATIVE, GREY, axis=0)


COLOURS = _colours()
"""Of the 19 classes, in the order of atlas.LOCATIONS."""


def labelled(
    image: UInt[np.ndarray, "h w 4"], masks: Masks, probabilities: Float[np.ndarray, "k 19"], *, side: int = 1024
) -> UInt8[np.ndarray, "higher wider 3"]:
    """The protein of a field in the colour of each cell's most probable class, cells outlined, and a legend.

    A row of `probabilities` for each cell, by ascending index. The longer side of the field has `side` pixels, or its
    own number if that is less; the legend at the right counts the cells of each class.

    Raises:
        ValueError: another number of rows than cells.
    """
    indices = np.unique(masks.cells[masks.cells > 0])
    if len(indices) != len(probabilities):
        raise ValueError(f"every cell must have a row, got {len(probabilities)} for {len(indices)} cells; match them")
    light = overlays.light(image[..., atlas.PROTEIN], side)
    cells = masks.resized(light.shape[:2]).cells
    best = probabilities.argmax(1)
    of_index = np.full((int(indices.max(initial=0)) + 1, 3), 255, np.uint8)
    of_index[indices] = COLOURS[best]
    tint = np.where(cells > 0, TINT, 0)[..., None]
    picture = np.rint(of_index[cells] * (tint + (1 - tint) * light)).astype(np.uint8)
    lines = overlays.outlines(cells)
    picture[lines] = of_index[cells[lines]]
    return _with_legend(picture, np.bincount(best, minlength=len(COLOURS)))


def activations(
    image: UInt[np.ndarray, "h w 4"],
    maps: Float[np.ndarray, "y x 19"],
    probabilities: Float[np.ndarray, " 19"],
    *,
    most: int = 3,
    side: int = 384,
    title: str = "",
) -> Picture:
    """A field in the HPA's colours, and beside it over its protein the maps of its `most` probable classes.

    `maps` are logits. The heat is a place's probability where that is over half of the map's highest: what pools a
    field may be surer of a class than any place is by itself, so that a limit of a half would leave sure classes cold.
    """
    light = overlays.light(image[..., atlas.PROTEIN], side)
    empty = np.zeros(image.shape[:2], np.uint16)
    chosen = np.argsort(-probabilities, kind="stable")[:most]
    pictures = [overlays.overlay(image, Masks(empty, empty), side=side)]
    pictures += [_heated(light, _over_half(maps[..., label])) for label in chosen]
    titles = ["field", *(f"{probabilities[label]:.2f} {atlas.LOCATIONS[label]}" for label in chosen)]
    return grids.grid([pictures], titles=titles, title=title)


def heated(image: UInt8[np.ndarray, "h w 1"], plane: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "h w 3"]:
    """One channel, its brightest pixel white, with a map over it: the positive part as a share of its maximum."""
    return _heated(image / max(1, int(image.max())), plane)


def _over_half(logits: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """1 at the place of the highest probability, 0 where there is half of it, and less elsewhere."""
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return 2 * chance / max(float(chance.max()), float(np.finfo(np.float32).tiny)) - 1


def _heated(light: Float[np.ndarray, "height width 1"], plane: Float[np.ndarray, "y x"]) -> Picture:
    share = np.maximum(plane, 0) / max(float(plane.max()), float(np.finfo(np.float32).tiny))
    large = Image.fromarray(share.astype(np.float32)).resize(light.shape[1::-1], Image.Resampling.BILINEAR)
    heat = np.asarray(large).clip(0, 1)
    opaque = MOST_HEAT * heat[..., None]
    seen = (1 - opaque) * light + opaque * HEAT(heat)[..., :3]
    return np.rint(255 * seen).astype(np.uint8)


def _with_legend(picture: Picture, counts: Integer[np.ndarray, " 19"]) -> UInt8[np.ndarray, "higher wider 3"]:
    """The classes that occur beside the picture, the most frequent first."""
    shown = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    texts = [f"{atlas.LOCATIONS[label]}, {counts[label]}" for label in shown]
    font, square = grids.letters(), grids.TEXT
    widest = round(max(map(font.getlength, texts), default=0))
    height = max(picture.shape[0], grids.LINE * len(shown))
    page = Image.new("RGB", (picture.shape[1] + square + widest + 4 * grids.GAP, height), grids.PAPER)
    page.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(page)
    left = picture.shape[1] + 2 * grids.GAP
    for row, (label, text) in enumerate(zip(shown, texts, strict=True)):
        top = row * grids.LINE + grids.GAP
        draw.rectangle((left, top, left + square - 1, top + square - 1), tuple(COLOURS[label].tolist()))
        draw.text((left + square + grids.GAP, top), text, grids.INK, font)
    return np.asarray(page)
