"""Features from cells that belong together: siblings of one protein, or two views of one cell."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from hpax.ops import siblings, views
from hpax.tasks.embedding import Embedding
from hpax.types import Array, Batch, ModelState, Params

Criterion = Literal["contrast", "vicreg"]


@dataclasses.dataclass(frozen=True, eq=False)
class Siblings(Embedding):
    """Brings embeddings of paired cells together: by contrast with cells of other groups, or by VICReg.

    A batch holds `source` and `target` (b, h, w, c) in [0, 1], `index` (b,) and `mask` (b,), as `hpax.data.PairBatches`
    pairs them; each side is seen by a random view. Other cells are those of the batch's part on one device.
    """

    model: nn.Module  # called as hpax.nn.embedder.Projector is
    groups: Int[Array, " n"]  # of each cell that `index` numbers; those of one group do not repel each other
    criterion: Criterion = "contrast"

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The criterion of each pair, and the moving statistics after the batch."""
        first, second = (views.view(each, batch[side]).seen for each, side in _sides(key))
        both, mask = jnp.concatenate([first, second]), jnp.tile(batch["mask"], 2)
        embedded, model_state = self.answer(params, model_state, both, mask)
        return self._criterion(embedded, batch), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training, of the cells as they are."""
        both = jnp.concatenate([batch["source"], batch["target"]])
        return {"loss": self._criterion(self.predict(params, model_state, both), batch)}

    def _criterion(self, embedded: Float[Array, "two_b d"], batch: Batch) -> Float[Array, " b"]:
        first, second = jnp.split(embedded, 2)
        if self.criterion == "vicreg":
            return siblings.vicreg(first, second, batch["mask"])
        groups = jnp.asarray(self.groups)[batch["index"]]
        return siblings.normalised_contrast(first, second, groups, batch["mask"])


def _sides(key: jax.Array) -> list[tuple[jax.Array, str]]:
    first, second = jax.random.split(key)
    return [(first, "source"), (second, "target")]
