"""Classes of single cells from labels of their own: the ceiling that features without labels are held against."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Float, Int

from hpax.tasks.embedding import Embedding
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True, eq=False)
class Supervision(Embedding):
    """Tells the one class of each cell. A batch holds `source` (b, h, w, c) in [0, 1], `index` (b,) and `mask` (b,)."""

    model: nn.Module  # called as hpax.nn.embedder.Projector is
    classes: Int[Array, " n"]  # of each cell that `index` numbers

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The cross-entropy of each cell, classes weighing alike, and the moving statistics after the batch."""
        logits, model_state = self.answer(params, model_state, batch["source"], batch["mask"])
        return self._entropy(logits, batch), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training."""
        return {"loss": self._entropy(self.predict(params, model_state, batch["source"]), batch)}

    def _entropy(self, logits: Float[Array, "b n"], batch: Batch) -> Float[Array, " b"]:
        classes = jnp.asarray(self.classes)
        counts = jnp.bincount(classes, length=logits.shape[-1])
        own = classes[batch["index"]]
        weight = len(classes) / (logits.shape[-1] * jnp.maximum(counts, 1)[own])
        return weight * optax.softmax_cross_entropy_with_integer_labels(logits, own)
