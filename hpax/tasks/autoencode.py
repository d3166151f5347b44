"""Reconstruction of a cell from its own code: what inpainting is held against (Lu et al. 2019)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.tasks.embedding import Embedding
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Autoencoding(Embedding):
    """Paints every channel of a cell from its code. A batch holds `source` (b, h, w, c) in [0, 1] and `mask` (b,)."""

    model: nn.Module  # called as hpax.nn.embedder.Autoencoder is

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The mean squared error of each cell, and the moving statistics after the batch."""
        painted, model_state = self.answer(params, model_state, batch["source"], batch["mask"])
        return jnp.square(painted - batch["source"]).mean((1, 2, 3)), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training."""
        painted = self.predict(params, model_state, batch["source"])
        return {"loss": jnp.square(painted - batch["source"]).mean((1, 2, 3))}
