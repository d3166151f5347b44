"""Classes of single cells by their crops: a cell-level network at work (Le et al. 2022).

classifier = hpax.load("classify.safetensors")
probabilities = classifier.predict(field)  # (cells, 19), by ascending index of `field.masks`
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from hpax import images
from hpax.fields import Field
from hpax.models.cell_crops import cell_crops
from hpax.models.store import Network
from hpax.predict import cells, tta
from hpax.predict.tta import PredictCells
from hpax.tasks.classify import Classification
from hpax.types import Array

BATCH = 64  # crops whose features are taken at once


@dataclasses.dataclass(frozen=True)
class CellClassifier:
    """A network of kind cell-net. Cells are cut out in µm, as in training.

    Raises:
        ValueError: the network is of another kind, or `tta` is none of 1, 2, 4 and 8.
    """

    network: Network
    tta: int = len(tta.ALL)  # views of a cell that are averaged: 1, 2, 4 or 8 flips and rotations

    def __post_init__(self) -> None:
        if self.network.architecture != "cell-net" or self.network.size is None:
            kind = self.network.architecture
            raise ValueError(
                f"a cell classifier needs a network of kind cell-net, got {kind}; see hpax.recipes.classify"
            )
        tta.check(self.tta)

    def predict(self, field: Field) -> Float[np.ndarray, "k n"]:
        """The probabilities of the cells of a field, by ascending index.

        Raises:
            ValueError: the field has no masks.
        """
        return self.of_crops(self.crops(field))

    def crops(self, field: Field) -> UInt8[np.ndarray, "k s s c"]:
        """The cells of a field as the network sees them."""
        return cell_crops(self.network, field, int(self.network.size or 0))

    def of_crops(self, crops: UInt8[np.ndarray, "k s s c"]) -> Float[np.ndarray, "k n"]:
        """The probabilities of crops, all views of all cells in batches of one shape."""
        turns = tta.ALL[: self.tta]
        views = np.concatenate([turn(crops) for turn in turns])
        (found,) = cells.of_crops(self._predict, [views])
        return found.reshape(len(turns), len(crops), found.shape[1]).mean(0)

    def features(self, crops: UInt8[np.ndarray, "k s s c"]) -> Float32[np.ndarray, "k d"]:
        """What the network makes of crops before its last layer (Le et al. 2022), seen once each."""
        parts = []
        for start in range(0, max(1, len(crops)), BATCH):  # no cells at all make one batch of padding
            part = crops[start : start + BATCH]
            size = max(8, 1 << max(0, len(part) - 1).bit_length())  # four shapes to compile, and few crops of padding
            padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))
            parts.append(np.asarray(self._encode(images.as_float(padded))["penultimate"], np.float32)[: len(part)])
        return np.concatenate(parts)

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the network to a .safetensors file, its card beside it; `hpax.load` reads it."""
        return self.network.save(path)

    @functools.cached_property
    def _predict(self) -> PredictCells:
        weights = jax.device_put((self.network.params, self.network.model_state))
        return functools.partial(jax.jit(Classification(self.network.model).predict), *weights)

    @functools.cached_property
    def _encode(self) -> Callable[[Float[np.ndarray, "b s s c"]], Mapping[str, Array]]:
        weights = jax.device_put((self.network.params, self.network.model_state))
        return functools.partial(jax.jit(Classification(self.network.model).encode), *weights)
