"""Classes of single cells from labels of their own: the ceiling that features without labels are held against."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Float, Int

from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True, eq=False)
class Supervision:
    """Tells the one class of each cell. A batch holds `source` (b, h, w, c) in [0, 1], `index` (b,) and `mask` (b,)."""

    model: nn.Module  # called as hpax.nn.embedder.Projector is
    classes: Int[Array, " n"]  # of each cell that `index` numbers

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like `batch`."""
        variables = self.model.init(key, batch["source"])
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The cross-entropy of each cell, classes weighing alike, and the moving statistics after the batch."""
        logits, model_state = self.model.apply(
            {"params": params, **model_state},
            batch["source"],
            mask=batch["mask"],
            train=True,
            mutable=list(model_state),
        )
        return self._entropy(logits, batch), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training."""
        return {"loss": self._entropy(self.predict(params, model_state, batch["source"]), batch)}

    def predict(self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """The logits of the classes."""
        logits: Any = self.model.apply({"params": params, **model_state}, images)
        return logits

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b k"]]:
        """Every layer's features of each cell."""
        features: Any = self.model.apply({"params": params, **model_state}, images, method="encode")
        return features

    def _entropy(self, logits: Float[Array, "b n"], batch: Batch) -> Float[Array, " b"]:
        classes = jnp.asarray(self.classes)
        counts = jnp.bincount(classes, length=logits.shape[-1])
        own = classes[batch["index"]]
        weight = len(classes) / (logits.shape[-1] * jnp.maximum(counts, 1)[own])
        return weight * optax.softmax_cross_entropy_with_integer_labels(logits, own)
