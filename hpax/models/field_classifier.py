"""Classes of whole fields and where in them they are: an image-level network at work (Le et al. 2022).

classifier = hpax.load("localize.safetensors")
prediction = classifier.predict(hpax.Field(id="a1", image=image, um_per_pixel=0.08))
"""

import dataclasses
import functools
import os
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt

from hpax import images
from hpax.fields import Field
from hpax.models.store import Network
from hpax.predict import tta
from hpax.predict.tta import PredictFields
from hpax.tasks.localize import Localization


class FieldPrediction(NamedTuple):
    """What is said of a field."""

    probabilities: Float[np.ndarray, " n"]
    maps: Float[np.ndarray, "y x n"]  # class activation maps, logits, over the whole field


@dataclasses.dataclass(frozen=True)
class FieldClassifier:
    """A network of kind cam-net. Fields of any size and shape are seen at the pixel size at which it learned.

    Raises:
        ValueError: the network is of another kind, or `tta` is none of 1, 2, 4 and 8.
    """

    network: Network
    tta: int = len(tta.ALL)  # views of a field that are averaged: 1, 2, 4 or 8 flips and rotations

    def __post_init__(self) -> None:
        if self.network.architecture != "cam-net":
            kind = self.network.architecture
            raise ValueError(
                f"a field classifier needs a network of kind cam-net, got {kind}; see hpax.recipes.localize"
            )
        tta.check(self.tta)

    def predict(self, field: Field) -> FieldPrediction:
        """The probabilities and maps of a field."""
        seen = self.seen(field)
        whole = images.padded(seen, self.network.model.stride)
        probabilities, maps = self._views(images.as_float(whole)[None])
        return FieldPrediction(np.asarray(probabilities)[0], _within(np.asarray(maps)[0], seen.shape, whole.shape))

    def seen(self, field: Field) -> UInt[np.ndarray, "y x c"]:
        """The field with the channels and the pixel size of the network."""
        channels = images.channels(field.image, self.network.channels)
        return images.to_um_per_pixel(channels, field.um_per_pixel, self.network.um_per_pixel)

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the network to a .safetensors file, its card beside it; `hpax.load` reads it."""
        return self.network.save(path)

    @functools.cached_property
    def _views(self) -> PredictFields:
        weights = jax.device_put((self.network.params, self.network.model_state))
        predict = functools.partial(jax.jit(Localization(self.network.model).predict), *weights)
        return tta.of_fields(predict, turns=tta.ALL[: self.tta])


def _within(
    maps: Float[np.ndarray, "y x n"], seen: tuple[int, ...], whole: tuple[int, ...]
) -> Float[np.ndarray, "v u n"]:
    """The part of maps of a padded image that lies over the image itself."""
    if seen == whole:
        return maps
    part = seen[0] / whole[0], seen[1] / whole[1]
    shape = max(1, round(maps.shape[0] * part[0])), max(1, round(maps.shape[1] * part[1]))
    planes = [images.resized_map(plane, shape, part=part) for plane in np.moveaxis(maps, -1, 0)]
    return np.stack(planes, axis=-1)
