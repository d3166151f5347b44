"""Nuclei by a threshold alone: what a network that learnt must beat."""

import dataclasses

import numpy as np
from jaxtyping import Integer, UInt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from hpax import atlas
from hpax.segment.masks import remove_small

NUCLEUS = atlas.CHANNELS.index("nucleus")


@dataclasses.dataclass(frozen=True)
class OtsuWatershed:
    """Nuclei by Otsu's threshold, parted by a watershed on the distance from the background; nothing is learnt."""

    blur: float = 0.6  # µm, standard deviation, before the threshold
    smooth: float = 0.6  # µm, standard deviation, of the distances
    apart: float = 3.0  # µm, the least distance between two centres
    area: float = 16.0  # µm²; smaller objects are left out

    def __call__(self, image: UInt[np.ndarray, "h w 4"], um_per_pixel: float) -> Integer[np.ndarray, "h w"]:
        """The index mask of the nuclei of a field."""
        stain = image[..., NUCLEUS].astype(np.float32)
        if stain.min() == stain.max():
            return np.zeros(stain.shape, int)
        stain = ndimage.gaussian_filter(stain, self.blur / um_per_pixel)
        mask = ndimage.binary_fill_holes(stain > threshold_otsu(stain))
        distance = ndimage.distance_transform_edt(mask)
        distance = ndimage.gaussian_filter(distance, self.smooth / um_per_pixel)
        apart = max(1, round(self.apart / um_per_pixel))
        centres = peak_local_max(distance, min_distance=apart, labels=label(mask))
        seeds = np.zeros(mask.shape, int)
        seeds[tuple(centres.T)] = np.arange(1, len(centres) + 1)
        return remove_small(watershed(-distance, seeds, mask=mask), self.area / um_per_pixel**2)
