"""Reconstruction of a cell from its own code: what inpainting is held against (Lu et al. 2019)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Autoencoding:
    """Paints every channel of a cell from its code. A batch holds `source` (b, h, w, c) in [0, 1] and `mask` (b,)."""

    model: nn.Module  # called as hpax.nn.embedder.Autoencoder is

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like `batch`."""
        variables = self.model.init(key, batch["source"])
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The mean squared error of each cell, and the moving statistics after the batch."""
        painted, model_state = self.model.apply(
            {"params": params, **model_state},
            batch["source"],
            mask=batch["mask"],
            train=True,
            mutable=list(model_state),
        )
        return jnp.square(painted - batch["source"]).mean((1, 2, 3)), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training."""
        painted = self.predict(params, model_state, batch["source"])
        return {"loss": jnp.square(painted - batch["source"]).mean((1, 2, 3))}

    def predict(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """The cells as painted from their codes."""
        painted: Any = self.model.apply({"params": params, **model_state}, images)
        return painted

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b k"]]:
        """Every layer's features of each cell."""
        features: Any = self.model.apply({"params": params, **model_state}, images, method="encode")
        return features
