"""Segmentation without a trained network: nuclei by thresholds, cells grown from them over the reference stains.

    from hpax.segment import classical
    masks = classical.segment(image, um_per_pixel=0.08)

Nuclei: Otsu's threshold of the square root (which tames the brightest nuclei, so that dim ones are found) of the
blurred stain; nuclei that touch are parted at their waists, by a watershed of the distance to their outline. Cells:
foreground is where microtubules and endoplasmic reticulum together reach a share of their own threshold, and each
nucleus floods it from bright to dark, so that cells meet where the stains are dimmest between them.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from hpax import atlas
from hpax.images import percentile_normalise
from hpax.segment import masks


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a field becomes cells, independent of the pixel size. Chosen on simulated fields and three real ones."""

    pixel: float = 0.32  # µm; finer images are averaged down to about this
    nucleus_blur: float = 0.6  # µm, standard deviation of the Gaussian
    nucleus_area: float = 2500 * 0.08**2  # µm²; smaller nuclei are left out
    contrast: float = 3.2  # standard deviations of the background between it and the nuclei, else there are none
    depth_blur: float = 0.5  # µm; of the distance to a nucleus's outline, so that its roughness parts nothing
    waist: float = 0.75  # µm; nuclei are two if their radii exceed that of the waist between them by more
    cell_blur: float = 1.0  # µm; for the foreground
    valley_blur: float = 0.5  # µm; for the dim lines between cells
    foreground: float = 0.7**2  # of the threshold of the reference stains
    pull: float = 0.02  # of their range, what a µm from the nucleus costs against brightness


RECIPE = Recipe()


def segment(image: UInt[np.ndarray, "h w 4"], um_per_pixel: float, *, recipe: Recipe = RECIPE) -> masks.Masks:
    """The cells of a field (atlas.CHANNELS) and their nuclei, at the field's edge too; none where the nuclei are flat.

    The protein is not looked at. A flat reference channel does not count; without any a cell is its nucleus.

    Raises:
        ValueError: um_per_pixel is not positive, or the image has not four channels.
    """
    if not um_per_pixel > 0:
        raise ValueError(f"um_per_pixel must be positive, got {um_per_pixel}; HPA fields have 0.08 at 2048 pixels")
    if image.ndim != 3 or image.shape[2] != len(atlas.CHANNELS):
        raise ValueError(f"a field must be (h, w, {len(atlas.CHANNELS)}), {atlas.CHANNELS}, got {image.shape}")
    factor = max(1, int(recipe.pixel / um_per_pixel + 1e-6))
    pixel = um_per_pixel * factor
    nucleus, *reference = (masks.block_mean(percentile_normalise(image[..., channel]), factor) for channel in (1, 2, 3))
    nuclei = find_nuclei(nucleus, pixel, recipe=recipe)
    found = masks.compact(grow_cells(nuclei, np.asarray(sum(reference)), pixel, recipe=recipe), nuclei)
    height, width = image.shape[:2]
    return masks.Masks(*(masks.enlarge(mask, factor)[:height, :width] for mask in (found.cells, found.nuclei)))


def find_nuclei(
    stain: Float[np.ndarray, "h w"], um_per_pixel: float, *, recipe: Recipe = RECIPE
) -> Integer[np.ndarray, "h w"]:
    """Index mask of the nuclei in a stain that is 0 or more, touching ones parted."""
    bright = _bright(ndimage.gaussian_filter(stain, recipe.nucleus_blur / um_per_pixel), recipe.contrast)
    bright = masks.fill_holes(label(bright)) > 0
    depth = ndimage.distance_transform_edt(bright) * um_per_pixel
    depth = ndimage.gaussian_filter(depth, recipe.depth_blur / um_per_pixel)
    nuclei = watershed(-depth, label(h_maxima(depth, recipe.waist)), mask=bright)
    return masks.remove_small(nuclei, recipe.nucleus_area / um_per_pixel**2)


def grow_cells(
    nuclei: Integer[np.ndarray, "h w"],
    reference: Float[np.ndarray, "h w"],
    um_per_pixel: float,
    *,
    recipe: Recipe = RECIPE,
) -> Integer[np.ndarray, "h w"]:
    """Index mask of the cells around `nuclei`, with their indices; `reference` is bright inside of cells, 0 or more."""
    smooth = ndimage.gaussian_filter(reference, recipe.cell_blur / um_per_pixel)
    inside = nuclei > 0
    if smooth.size and smooth.min() < smooth.max():
        inside = inside | (smooth > recipe.foreground * threshold_otsu(np.sqrt(smooth)) ** 2)
    away = ndimage.distance_transform_edt(nuclei == 0) * um_per_pixel
    valleys = ndimage.gaussian_filter(reference, recipe.valley_blur / um_per_pixel)
    return masks.fill_holes(watershed(recipe.pull * away - valleys, nuclei, mask=inside))


def _bright(stain: Float32[np.ndarray, "h w"], contrast: float) -> Bool[np.ndarray, "h w"]:
    """Otsu's foreground of the square root; nothing if the two parts are no further apart than those of plain noise.

    The halves of noise are 2.6 to 2.8 standard deviations of the darker one apart, nuclei and background 6.7 or more
    in every one of 77 HPA fields.
    """
    root = np.sqrt(stain)
    if root.size == 0 or root.min() == root.max():
        return np.zeros(root.shape, bool)
    bright = root > threshold_otsu(root)
    above, below = root[bright], root[~bright]
    return bright & (above.mean() - below.mean() > contrast * below.std())
