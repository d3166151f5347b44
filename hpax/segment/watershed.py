"""From the maps of border and object that a U-Net predicts to nuclei and cells, as HPACellSegmentator does it.

The published numbers hold for 0.08 µm per pixel; here every length and area is in µm, so that maps of any pixel size
give the same cells, up to their resolution. The published flow is kept: seeds are where a nucleus is likely and a
border is not; nuclei grow from them over the nuclear map; cells grow from the nuclei down the cell map, and then into
the borders that they reach. Three slips of the published code are not: indices of 8 bits that wrap, an exclusion of
borders that excludes nothing, and a last renumbering that makes one cell of two that touch. No line is left between
neighbours, for their indices tell them apart.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from hpax.segment import masks

_PUBLISHED = 0.08  # µm per pixel of the numbers below


@dataclasses.dataclass(frozen=True)
class Nuclei:
    """How nuclei are found in their maps."""

    border: float = 0.05  # probability above which a pixel is no seed
    seed: float = 0.15  # probability of an object above which it is one
    inside: float = 0.4  # probability of an object above which a pixel belongs to a nucleus
    seed_area: float = 500 * _PUBLISHED**2  # µm²; smaller seeds are left out
    holes: float = 1000 * _PUBLISHED**2  # µm²; smaller holes are filled
    area: float = 2500 * _PUBLISHED**2  # µm²; smaller nuclei are left out


@dataclasses.dataclass(frozen=True)
class Cells:
    """How cells are found in their maps, and the nuclei that they grow from."""

    nuclei: Nuclei = dataclasses.field(default_factory=Nuclei)
    border: float = 0.05  # probability above which a pixel may belong to a border
    inside: float = 0.22  # least probability of an object above which a pixel belongs to a cell
    otsu: float = 0.5  # share of Otsu's threshold that it must reach too
    closing: float = 6 * _PUBLISHED  # µm; radius of the disc
    area: float = 5500 * _PUBLISHED**2  # µm²; smaller cells are left out


NUCLEI = Nuclei()
CELLS = Cells()


def nuclei_from_maps(
    maps: Float[np.ndarray, "h w 2"], um_per_pixel: float, *, recipe: Nuclei = NUCLEI
) -> UInt[np.ndarray, "h w"]:
    """Index mask of the nuclei, 1..n from the top, in maps of the probability of [border, object].

    Raises:
        ValueError: um_per_pixel is not positive.
    """
    return masks.relabel_sequential(_nuclei(maps[..., 1], maps[..., 0], um_per_pixel, recipe))


def cells_from_maps(
    nuclei_maps: Float[np.ndarray, "h w 2"],
    cell_maps: Float[np.ndarray, "h w 2"],
    um_per_pixel: float,
    *,
    recipe: Cells = CELLS,
) -> masks.Masks:
    """The cells and their nuclei in maps of the probability of [border, object]; a cell without a nucleus is not found.

    Raises:
        ValueError: um_per_pixel is not positive, or the maps differ in shape.
    """
    if nuclei_maps.shape != cell_maps.shape:
        raise ValueError(f"maps must have one shape, got {nuclei_maps.shape} and {cell_maps.shape}; resize one")
    border, inside = cell_maps[..., 0], cell_maps[..., 1]
    nuclei = _nuclei(nuclei_maps[..., 1], nuclei_maps[..., 0] + border, um_per_pixel, recipe.nuclei)
    return masks.compact(_cells(nuclei, border, inside, um_per_pixel, recipe), nuclei)


def _nuclei(
    inside: Float[np.ndarray, "h w"], border: Float[np.ndarray, "h w"], um_per_pixel: float, recipe: Nuclei
) -> Integer[np.ndarray, "h w"]:
    if not um_per_pixel > 0:
        raise ValueError(f"um_per_pixel must be positive, got {um_per_pixel}; pass the pixel size of the maps in µm")
    pixels = um_per_pixel**-2  # of one µm²
    seeds = label((border <= recipe.border) & (inside > recipe.seed), connectivity=1)
    seeds = masks.remove_small(seeds, recipe.seed_area * pixels)
    gaps = label(inside <= recipe.inside, connectivity=1)
    mask = masks.remove_small(gaps, recipe.holes * pixels) == 0
    nuclei = watershed(np.zeros(mask.shape, np.uint8), seeds, mask=mask)
    return masks.remove_small(nuclei, recipe.area * pixels)


def _cells(
    nuclei: Integer[np.ndarray, "h w"],
    border: Float[np.ndarray, "h w"],
    inside: Float[np.ndarray, "h w"],
    um_per_pixel: float,
    recipe: Cells,
) -> Integer[np.ndarray, "h w"]:
    flat = not inside.size or inside.min() == inside.max()
    least = recipe.inside if flat else max(recipe.inside, recipe.otsu * float(threshold_otsu(inside)))
    core = (inside > least) & (border <= recipe.border)
    cells = masks.remove_small(watershed(-inside, nuclei, mask=core | (nuclei > 0)), recipe.area / um_per_pixel**2)
    closed = _close(cells > 0, recipe.closing / um_per_pixel)
    return masks.fill_holes(watershed(-inside, cells, mask=closed | (border > recipe.border)))


def _close(mask: Bool[np.ndarray, "h w"], radius: float) -> Bool[np.ndarray, "h w"]:
    """Closing by a disc, in pixels; beyond its edge the image goes on as it ends."""
    if not radius >= 1 or not mask.any():
        return mask
    margin = int(radius) + 1
    grown = ndimage.distance_transform_edt(~np.pad(mask, margin, mode="edge")) <= radius
    closed = ndimage.distance_transform_edt(np.pad(grown, 1, mode="edge")) > radius
    return closed[1 + margin : -1 - margin, 1 + margin : -1 - margin] | mask
