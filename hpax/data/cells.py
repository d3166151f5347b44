"""Fields to single-cell examples: the part that simulated and real cells share."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt, UInt8

from hpax import images
from hpax.data import builder
from hpax.fields import Masks
from hpax.segment import borders, crops, nuclei

MASKS = ("cell_mask", "nucleus_mask")
"""The features that hold a cell's own masks: 1 inside, 0 outside."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Cutting(builder.Config):
    """How cells are cut out of fields (Lu et al. 2019: 41 µm around the nucleus, at 64 pixels)."""

    crop_um: float = nuclei.CROP  # µm of a crop's side
    crop_size: int = 64  # pixels of the stored crop
    min_cells: int = 5  # images with fewer cells are left out, as published; pairs need at least 2
    whole: bool = False  # leave out crops that reach over the edge of the field, else fill them with 0

    def __post_init__(self) -> None:
        if not (self.crop_um > 0 and self.crop_size > 0):
            raise ValueError(f"crop_um and crop_size must be positive, got {self.crop_um} and {self.crop_size}")
        super().__post_init__()


def cut(
    config: Cutting,
    image: UInt[np.ndarray, "h w c"],
    um_per_pixel: float,
    centres: Mapping[int, tuple[float, float]],
    labels: Mapping[int, UInt[np.ndarray, " 19"]],
    origin: Mapping[str, Any],
    *,
    masks: Masks | None = None,
    neighbours: bool = True,
) -> Iterator[dict[str, Any]]:
    """The cells of one field: an example for each index in `centres`, (y, x) in pixels, with its row of `labels`.

    With `masks`, also its index, its own mask and its nucleus'; without `neighbours`, all outside of the cell is 0.
    """
    size = max(1, round(config.crop_um / um_per_pixel))
    points = np.array(list(centres.values()), float).reshape(-1, 2)
    outside = crops.sticks_out(points, size, image.shape[:2])
    indices = None if masks is None else np.stack([masks.cells, masks.nuclei], axis=-1)
    for (index, (y, x)), sticks_out in zip(centres.items(), outside, strict=True):
        if config.whole and sticks_out:
            continue
        crop, own = crops.cut(image, np.array([[y, x]]), size)[0], {}
        if indices is not None:
            mask = crops.cut(indices, np.array([[y, x]]), size)[0] == index
            crop = crop if neighbours else crop * mask[..., :1]
            own = {"index": index} | dict(zip(MASKS, np.moveaxis(_resized(mask, config.crop_size), -1, 0), strict=True))
        id = f"{origin['field']}_{index}"
        image_and_masks = {"image": images.resize(crop, (config.crop_size, config.crop_size)), **own}
        yield {**image_and_masks, "id": id, **origin, "x": x, "y": y, "labels": labels[index]}


def cut_by_masks(
    config: Cutting,
    image: UInt[np.ndarray, "h w c"],
    um_per_pixel: float,
    masks: Masks,
    labels: UInt[np.ndarray, " 19"],
    origin: Mapping[str, Any],
    *,
    centre: Literal["nucleus", "cell"] = "nucleus",
    neighbours: bool = True,
) -> Iterator[dict[str, Any]]:
    """The cells of one field by ascending index, as `cut` has them, with what its border took of them.

    `labels` are those of the field; a cell without a nucleus is centred on itself.
    """
    centres = crops.centroids(masks.cells)
    if centre == "nucleus":
        centres |= {index: at for index, at in crops.centroids(masks.nuclei).items() if index in centres}
    told = {row["index"]: row for row in borders.cell_properties(masks, um_per_pixel).to_dict("records")}
    labels_of = dict.fromkeys(centres, labels)
    found = cut(config, image, um_per_pixel, centres, labels_of, origin, masks=masks, neighbours=neighbours)
    return ({**cell, **told[cell["index"]]} for cell in found)


def _resized(mask: Bool[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "{size} {size} c"]:
    """1 where at least half of a pixel lies in the mask."""
    return (images.resize(mask.astype(np.uint8) * 254, (size, size)) >= 127).astype(np.uint8)


def of_large_images(cells: Iterable[dict[str, Any]], min_cells: int) -> Iterator[builder.Example]:
    """The cells of those images that have at least `min_cells`, with their ids as keys."""
    cells = list(cells)
    counts = collections.Counter(cell["group_id"] for cell in cells)
    return ((cell["id"], cell) for cell in cells if counts[cell["group_id"]] >= min_cells)
