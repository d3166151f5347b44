"""Cells as a network that learnt from crops is shown them."""

import numpy as np
from jaxtyping import UInt8

from hpax import images
from hpax.fields import Field
from hpax.models.store import Network
from hpax.segment.cells import cell_images


def cell_crops(network: Network, field: Field, size: int) -> UInt8[np.ndarray, "k s s c"]:
    """The cells of a field by ascending index, cut out in µm, with a side of `size` of the network's pixels.

    Raises:
        ValueError: the field has no masks, or lacks a channel.
    """
    _, crops = cell_images(
        images.channels(field.image, network.channels),
        field.found,
        field.um_per_pixel,
        crop_um=size * network.um_per_pixel,
        size=size,
        masked=network.masked,
    )
    return crops
