"""The cells of a field as a network sees them: one small image each, the same in training and in prediction."""

import numpy as np
from jaxtyping import Float, Int, UInt, UInt8
from scipy import ndimage

from hpax.fields import Masks
from hpax.images import as_bytes, nearest, resize
from hpax.segment import crops


def cell_images(
    image: UInt[np.ndarray, "h w c"],
    masks: Masks,
    um_per_pixel: float,
    *,
    crop_um: float,  # µm of a crop's side
    size: int,  # pixels of the crop after resizing
    masked: bool,
) -> tuple[Int[np.ndarray, " k"], UInt8[np.ndarray, "k {size} {size} c"]]:
    """The ascending indices of the cells of a field, and a crop around the nucleus of each, or its box without one.

    The full scale of the image's dtype becomes 255. What lies outside of the field is 0; with `masked`, so is all that
    is not the cell, and the rest is as without.

    Raises:
        ValueError: image and masks differ in shape, or a length is not positive.
    """
    if not (um_per_pixel > 0 and crop_um > 0 and size > 0):
        raise ValueError(f"um_per_pixel, crop_um, size must be positive, got {um_per_pixel}, {crop_um}, {size}")
    if not image.shape[:2] == masks.cells.shape == masks.nuclei.shape:
        shapes = f"{image.shape[:2]}, {masks.cells.shape} and {masks.nuclei.shape}"
        raise ValueError(f"image, cells and nuclei must have one shape, got {shapes}; use Masks.resized")
    side = max(1, round(crop_um / um_per_pixel))
    indices, middles = centres(masks)
    images = np.zeros((len(indices), size, size, image.shape[-1]), np.uint8)
    for row, (index, middle) in enumerate(zip(indices, middles, strict=True)):
        images[row] = as_bytes(resize(crops.cut(image, middle[None], side)[0], (size, size)))
        if masked:
            own = crops.cut(masks.cells[..., None], middle[None], side)[0, ..., 0] == index
            images[row][~nearest(own, (size, size))] = 0
    return indices, images


def centres(masks: Masks) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    """The ascending indices of the cells, and (y, x) of each nucleus's centre of mass, or of the cell's box."""
    nuclei = crops.centroids(masks.nuclei)
    boxes = enumerate(ndimage.find_objects(masks.cells), 1)
    middles = {
        index: nuclei.get(index, tuple((side.start + side.stop - 1) / 2 for side in box)) for index, box in boxes if box
    }
    return np.array(list(middles), np.int64), np.array(list(middles.values()), np.float64).reshape(-1, 2)
