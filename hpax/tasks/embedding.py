"""What tasks share whose network takes cells alone, and says of each what it is for and its features layer by layer."""

from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array, Batch, ModelState, Params


class Embedding:
    """A task on the cells of `batch["source"]`, whose loss it leaves to each."""

    model: nn.Module  # called as those of hpax.nn.embedder are

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like `batch`."""
        variables = self.model.init(key, batch["source"])
        return variables.pop("params"), variables

    def predict(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> Float[Array, " b *answer"]:
        """What the network answers of each cell."""
        answer: Any = self.model.apply({"params": params, **model_state}, images)
        return answer

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b k"]]:
        """Every layer's features of each cell."""
        features: Any = self.model.apply({"params": params, **model_state}, images, method="encode")
        return features

    def answer(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"], mask: Float[Array, " b"]
    ) -> tuple[Float[Array, " b *answer"], ModelState]:
        """`predict` in training, and the moving statistics after these cells, those of `mask` 0 left out."""
        told, model_state = self.model.apply(
            {"params": params, **model_state}, images, mask=mask, train=True, mutable=list(model_state)
        )
        return told, model_state
