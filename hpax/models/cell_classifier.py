"""Classes of single cells by their crops: a cell-level network at work (Le et al. 2022).

classifier = hpax.load("classify.safetensors")
probabilities = classifier.predict(field)  # (cells, 19), by ascending index of `field.masks`
"""

import dataclasses
import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8

from hpax import atlas
from hpax.fields import Field
from hpax.models.cell_crops import cell_crops
from hpax.models.store import Network
from hpax.predict import cells, tta
from hpax.predict.tta import PredictCells
from hpax.tasks.classify import Classification
from hpax.types import Array, ModelState, Params


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
        """The probabilities of crops, averaged over all views."""
        return self.described(crops)[0]

    def features(self, crops: UInt8[np.ndarray, "k s s c"]) -> Float32[np.ndarray, "k d"]:
        """What the network makes of crops before its last layer (Le et al. 2022), seen once each."""
        return self._rows(crops)[:, len(atlas.LOCATIONS) :]

    def described(
        self, crops: UInt8[np.ndarray, "k s s c"]
    ) -> tuple[Float[np.ndarray, "k n"], Float32[np.ndarray, "k d"]]:
        """`of_crops` and `features`, for little more than the first takes."""
        turns, classes = tta.ALL[: self.tta], len(atlas.LOCATIONS)
        rows = self._rows(np.concatenate([turn(crops) for turn in turns]))
        views = rows[:, :classes].reshape(len(turns), len(crops), classes)
        return views.mean(0), rows[: len(crops), classes:]  # the first view is the crops as they are

    def _rows(self, crops: UInt8[np.ndarray, "k s s c"]) -> Float32[np.ndarray, "k n_d"]:
        """Probabilities and features of crops, side by side, in batches of one shape."""
        looked_at = crops if len(crops) else np.zeros((1, *crops.shape[1:]), crops.dtype)  # whose row has their length
        (found,) = cells.of_crops(self._look, [looked_at])
        return found[: len(crops)]

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the network to a .safetensors file, its card beside it; `hpax.load` reads it."""
        return self.network.save(path)

    @functools.cached_property
    def _look(self) -> PredictCells:
        task = Classification(self.network.model)

        def look(params: Params, model_state: ModelState, images: Float[Array, "b s s c"]) -> Float[Array, "b n_d"]:
            seen = task.predict(params, model_state, images), task.encode(params, model_state, images)["penultimate"]
            return jnp.concatenate([each.astype(jnp.float32) for each in seen], axis=1)

        weights = jax.device_put((self.network.params, self.network.model_state))
        return functools.partial(jax.jit(look), *weights)
