"""Sheets of the simulated atlas: cells of every pattern, simulated fields beside real ones, and their statistics."""

import logging
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from jaxtyping import UInt, UInt8
from skimage import measure

from hpax import atlas, images, simulate
from hpax.explore import colour
from hpax.metrics.field_statistics import UM_PER_PIXEL

log = logging.getLogger(__name__)


def simulated_fields(seed: int, count: int, realism: simulate.Realism = "plain") -> list[UInt8[np.ndarray, "h w 4"]]:
    """`count` fields of as many proteins of a skewed proteome, in every cell line by turns."""
    proteins = simulate.proteome(proteins=count, seed=seed)
    lines = simulate.cell_lines(realism)
    return [simulate.field(p, lines[p.index % len(lines)], 0, seed=seed, realism=realism).image for p in proteins]


def reduced(image: UInt[np.ndarray, "h w 4"], um_per_pixel: float) -> UInt8[np.ndarray, "y x 4"]:
    """A field at about 0.32 µm per pixel, averaged over squares of finer ones; pixels that fill no square are cut."""
    picture = images.as_bytes(image)
    factor = max(1, round(UM_PER_PIXEL / um_per_pixel))
    height, width = (side - side % factor for side in picture.shape[:2])
    means = measure.block_reduce(picture[:height, :width], (factor, factor, 1), np.mean)
    return np.rint(means).astype(np.uint8)


def pattern_sheet(seed: int, count: int) -> matplotlib.figure.Figure:
    """`count` cells of every class, two of a protein: protein green, nucleus blue, microtubules red."""
    proteins = simulate.proteome(
        proteins=len(atlas.LOCATIONS) * -(-count // 2), seed=seed, balanced=True, multilocalised=0, varying=0
    )
    figure = matplotlib.figure.Figure(figsize=(15, 9), facecolor="black")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, wspace=0.03, hspace=0.12)
    for location, axes in enumerate(figure.subplots(4, 5).ravel()):
        axes.axis("off")
        if location < len(atlas.LOCATIONS):
            crops = [crop for p in proteins[location :: len(atlas.LOCATIONS)] for crop in _crops(p, seed)][:count]
            axes.imshow(_tiled(crops, columns=-(-count // 2)))
            axes.set_title(f"{location} {atlas.LOCATIONS[location]}", color="white", fontsize=10)
    return figure


def _crops(protein: simulate.Protein, seed: int, wanted: int = 2) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Cells that show what the protein can, in colour, from as few of its fields as hold them."""
    lines = sorted(simulate.CELL_LINES)
    crops: list[np.ndarray] = []
    for index in range(6):
        field = simulate.field(protein, lines[(3 * protein.index) % len(lines)], index, seed=seed, size=384)
        crops += _cells_in_colour(field, protein.locations[0])
        if len(crops) >= wanted:
            break
    return crops[:wanted]


def _cells_in_colour(field: simulate.SimulatedField, location: int, half: int = 56) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The cells that show `location`, the most central first, their protein stretched."""
    shown = np.flatnonzero(field.cell_labels[:, location])
    centres = [np.argwhere(field.nuclei == index + 1).mean(0) for index in shown]
    centres.sort(key=lambda centre: np.abs(centre - field.nuclei.shape[0] / 2).max())
    padded = np.pad(field.image, ((half, half), (half, half), (0, 0)))
    crops = []
    for row, column in (np.rint(centre).astype(int) for centre in centres):
        crop = padded[row : row + 2 * half, column : column + 2 * half].astype(float)
        crop[..., atlas.PROTEIN] *= 255 / max(np.percentile(crop[..., atlas.PROTEIN], 99.7), 60)
        crops.append(colour.picture(crop[..., :3] / 255))
    return crops


def field_sheet(pictures: dict[str, list[UInt8[np.ndarray, "h w 4"]]], shown: int = 8) -> matplotlib.figure.Figure:
    """`shown` fields of each side, drawn evenly from its list, in the HPA's colours."""
    figure = matplotlib.figure.Figure(figsize=(16, 8.4 * len(pictures)), facecolor="black", layout="constrained")
    for axes, (side, drawn) in zip(np.ravel(figure.subplots(len(pictures), 1)), pictures.items(), strict=True):
        axes.imshow(_tiled([colour.picture(image[..., :3]) for image in _spaced(drawn, shown)], columns=4))
        axes.set_title(f"{side} (green protein, blue nucleus, red microtubules)", color="white", fontsize=16)
        axes.axis("off")
    return figure


def statistics_sheet(
    simulated: list[UInt8[np.ndarray, "h w 4"]], statistics: dict[str, list[dict[str, float]]]
) -> matplotlib.figure.Figure:
    """Four simulated fields above the distribution of every statistic, simulated and real."""
    names = list(statistics["simulated"][0])
    figure = matplotlib.figure.Figure(figsize=(16, 17))
    grid = figure.add_gridspec(
        7, 6, height_ratios=[2.6, *[1] * 6], left=0.02, right=0.98, bottom=0.02, top=0.99, hspace=0.35, wspace=0.12
    )
    axes = figure.add_subplot(grid[0, :])
    axes.imshow(_tiled([colour.picture(image[..., :3]) for image in _spaced(simulated, 4)], columns=4))
    axes.axis("off")
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + place // 6, place % 6])
        axes.set_title(name, fontsize=9)
        everything = [found[name] for side in statistics.values() for found in side if np.isfinite(found[name])]
        edges = np.linspace(min(everything), max(everything) + 1e-9, 16).tolist()
        for side, found in statistics.items():
            values = [row[name] for row in found]
            axes.hist(values, edges, density=True, histtype="stepfilled", alpha=0.5, label=f"{side} ({len(values)})")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    figure.legend(*axes.get_legend_handles_labels(), loc="lower right")
    return figure


def _spaced(images: list[np.ndarray], count: int) -> list[np.ndarray]:
    return [images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)]


def _tiled(tiles: Sequence[np.ndarray], columns: int) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles cut to the smallest one's size, row by row with a dark line between."""
    size = min(min(tile.shape[:2]) for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (size + 4), columns * (size + 4), 3), 40, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = (size + 4) * (place // columns), (size + 4) * (place % columns)
        sheet[row : row + size, column : column + size] = tile[:size, :size]
    return sheet


def save(figure: matplotlib.figure.Figure, path: Path) -> None:
    """A sheet as a JPEG file."""
    figure.savefig(path, dpi=110, facecolor=figure.get_facecolor(), pil_kwargs={"quality": 80})
    log.info("wrote %s", path)
