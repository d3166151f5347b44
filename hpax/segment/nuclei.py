"""Nuclei by an Otsu threshold, as Lu et al. (2019) found the human cells to crop.

The published code and the paper differ. Code: the image at a quarter of 0.08 µm per pixel, Otsu's threshold of the
raw channel applied to its blur (5 pixels), holes under 300 pixels filled, nuclei at the border left out, objects of at
least 100 pixels. Paper: full resolution, no blur, objects of at least 400 pixels. Both are here with every size in µm,
so that they hold at any pixel size. The published loop forgets the last nucleus of a field; this one does not.
Nuclei that touch stay one object, as published.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Integer, UInt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import clear_border

from hpax.segment import crops, masks


@dataclasses.dataclass(frozen=True)
class Otsu:
    """A recipe for nuclei, independent of the pixel size."""

    pixel: float  # µm; finer images are averaged down to about this
    blur: float  # µm, standard deviation of the Gaussian
    holes: float  # µm²; smaller holes are filled
    area: float  # µm²; smaller objects are left out
    border: bool  # keep nuclei that touch the border


CODE = Otsu(pixel=0.32, blur=5 * 0.32, holes=300 * 0.32**2, area=100 * 0.32**2, border=False)
PAPER = Otsu(pixel=0.08, blur=0.0, holes=0.0, area=400 * 0.08**2, border=True)
CROP = 128 * 0.32  # µm; 512 pixels at full resolution

RECIPES = {"code": CODE, "paper": PAPER}


def label_nuclei(nucleus: UInt[np.ndarray, "h w"], um_per_pixel: float, recipe: Otsu = CODE) -> UInt[np.ndarray, "h w"]:
    """Index mask of the nuclei in a nuclear stain, 1..n from the top; all 0 where the stain is flat.

    uint16, or uint32 beyond 65,535 nuclei.

    Raises:
        ValueError: um_per_pixel is not positive.
    """
    if not um_per_pixel > 0:
        raise ValueError(f"um_per_pixel must be positive, got {um_per_pixel}; HPA fields have 0.08 at 2048 pixels")
    factor = max(1, int(recipe.pixel / um_per_pixel + 1e-6))
    height, width = nucleus.shape
    found = _label(masks.block_mean(nucleus.astype(np.float32), factor), um_per_pixel * factor, recipe)
    return masks.relabel_sequential(masks.enlarge(found, factor)[:height, :width])


def find_nuclei(nucleus: UInt[np.ndarray, "h w"], um_per_pixel: float, recipe: Otsu = CODE) -> Float[np.ndarray, "n 2"]:
    """The centres of mass (y, x) in pixels of the nuclei that `label_nuclei` finds, in its order."""
    centres = crops.centroids(label_nuclei(nucleus, um_per_pixel, recipe))
    return np.array(list(centres.values()), float).reshape(-1, 2)


def _label(stain: Float[np.ndarray, "h w"], um_per_pixel: float, recipe: Otsu) -> Integer[np.ndarray, "h w"]:
    if stain.size == 0 or stain.min() == stain.max():
        return np.zeros(stain.shape, int)
    smooth = ndimage.gaussian_filter(stain, recipe.blur / um_per_pixel) if recipe.blur else stain
    gaps = label(smooth <= threshold_otsu(stain), connectivity=1)
    nuclei = label(masks.remove_small(gaps, recipe.holes / um_per_pixel**2) == 0)
    if not recipe.border:
        nuclei = clear_border(nuclei)
    return masks.remove_small(nuclei, recipe.area / um_per_pixel**2)
