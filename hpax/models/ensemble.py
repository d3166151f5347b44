"""Labels of the cells of a field, by image-level and cell-level networks together.

from hpax import models
labeller = models.Labeller([models.load("localize.safetensors"), models.load("classify.safetensors")])
found = labeller(image, masks, um_per_pixel=0.08)
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt
from PIL import Image

from hpax import atlas, images
from hpax.fields import Masks
from hpax.models.store import Pretrained
from hpax.predict import cams, cells, combine, tta
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification
from hpax.tasks.localize import Localization


class LabelPrediction(NamedTuple):
    """What is said of a field; None where no network says it."""

    cells: Float[np.ndarray, "k n"]  # by ascending index, together with their field
    cell_only: Float[
        np.ndarray, "k n"
    ]  # of each cell by itself: by its crop, or by maps where no network looks at crops
    field: Float[np.ndarray, " n"] | None
    maps: Float[np.ndarray, "y x n"] | None  # logits


@dataclasses.dataclass(frozen=True)
class Labeller:
    """Says which classes each cell of a field shows: an ensemble of networks of both kinds, or of one of them.

    Networks of a kind are averaged; the two kinds meet in `combine.fuse`. Fields of any size are seen at the pixel
    size at which the networks learned.

    Raises:
        ValueError: no network, or one that labels neither fields nor cells.
    """

    networks: Sequence[Pretrained]
    turns: int = len(tta.ALL)  # views of each image: 1, or all 8 flips and rotations

    def __post_init__(self):
        kinds = [network.architecture for network in self.networks]
        if not kinds or not set(kinds) <= {"cam-net", "cell-net"}:
            raise ValueError(f"a labeller needs networks of kind cam-net or cell-net, got {kinds}; see models.load")

    def __call__(self, image: UInt[np.ndarray, "h w 4"], masks: Masks, um_per_pixel: float) -> LabelPrediction:
        """The probabilities of a field and its cells.

        Raises:
            ValueError: um_per_pixel is not positive, or image and masks differ in shape.
        """
        if not um_per_pixel > 0:
            raise ValueError(f"um_per_pixel must be positive, got {um_per_pixel}; HPA fields have 0.08 at 2048 pixels")
        of_cells = [_cells(*each, image, masks, um_per_pixel) for each in self._of_kind("cell-net")]
        of_fields = [_field(*each, image, um_per_pixel) for each in self._of_kind("cam-net")]
        alone = combine.ensemble(of_cells) if of_cells else None
        if not of_fields:
            return LabelPrediction(alone, alone, None, None)
        field = np.mean([probabilities for probabilities, _ in of_fields], axis=0)
        maps = combine.ensemble([cams.cell_probabilities(maps, p, masks.cells) for p, maps in of_fields])
        of_each = [maps] if alone is None else [maps, alone]
        return LabelPrediction(combine.fuse(field, of_each), of_each[-1], field, of_fields[0][1])

    def _of_kind(self, kind: str) -> list[tuple[Pretrained, Callable]]:
        pairs = zip(self.networks, self._compiled, strict=True)
        return [(network, predict) for network, predict in pairs if network.architecture == kind]

    @functools.cached_property
    def _compiled(self) -> list[Callable]:
        """Images → what each network says of them, averaged over turns."""

        def compiled(network: Pretrained) -> Callable:
            task, averaged = {
                "cam-net": (Localization, tta.of_fields),
                "cell-net": (Classification, tta.of_cells),
            }[network.architecture]
            weights = jax.device_put((network.params, network.model_state))
            predict = functools.partial(jax.jit(task(network.model).predict), *weights)
            return averaged(predict, turns=tta.ALL[: self.turns])

        return [compiled(network) for network in self.networks]


def _cells(
    network: Pretrained, predict: Callable, image: UInt[np.ndarray, "h w 4"], masks: Masks, um_per_pixel: float
) -> Float[np.ndarray, "k n"]:
    size, seen = network.size, [atlas.CHANNELS.index(name) for name in network.channels]
    cut = {"crop_um": size * network.um_per_pixel, "size": size, "masked": network.masked}
    _, crops = cell_images(image[..., seen], masks, um_per_pixel, **cut)
    return next(cells.of_crops(predict, [crops]))


def _field(
    network: Pretrained, predict: Callable, image: UInt[np.ndarray, "h w 4"], um_per_pixel: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "y x n"]]:
    stride, factor = network.model.stride, um_per_pixel / network.um_per_pixel
    height, width = (stride * max(1, round(side * factor / stride)) for side in image.shape[:2])
    planes = (images.as_float(image[..., atlas.CHANNELS.index(name)]) for name in network.channels)
    resized = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    probabilities, maps = predict(np.stack(resized, axis=-1)[None])
    return np.asarray(probabilities)[0], np.asarray(maps)[0]
