"""Masked reconstruction of cells, alone or with contrasts of cells and of proteins: SubCell's recipe, made small."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hpax.nn.vit import MaskedTransformer
from hpax.ops import siblings, views
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedCells:
    """Paints the patches of a cell that are not shown; with `contrasts`, brings views and siblings together as well.

    The sum of masked reconstruction, a cell-specific and a protein-specific contrast (Gupta et al. 2024). A batch holds
    `source` and its sibling `target` (b, s, s, c) in [0, 1], `index` (b,) and `mask` (b,).
    """

    model: MaskedTransformer
    proteins: Int[Array, " n"]  # of each cell that `index` numbers
    contrasts: float = 0.0  # weight of each of the two
    shown: float = 0.25  # share of the patches

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters for cells shaped like `batch`."""
        images = batch["source"][:1]
        order = jnp.arange(self._tokens)[None]
        return self.model.init(key, images, order, shown=self._shown)["params"], {}

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The reconstruction's error of two views of the source and one of the target, and the contrasts."""
        hiding, *looking = jax.random.split(key, 4)
        cells = zip(looking, ("source", "source", "target"), strict=True)
        images = jnp.concatenate([views.view(each, batch[side]).seen for each, side in cells])
        return self._loss(params, images, batch, hiding), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training, of cells as they are, with patches hidden by a fixed draw."""
        images = jnp.concatenate([batch["source"], batch["source"], batch["target"]])
        return {"loss": self._loss(params, images, batch, jax.random.key(0))}

    def predict(self, params: Params, model_state: ModelState, images: Float[Array, "b s s c"]) -> Float[Array, "b e"]:
        """The embeddings of whole cells."""
        order = jnp.broadcast_to(jnp.arange(self._tokens), (len(images), self._tokens))
        answer: Any = self.model.apply({"params": params}, images, order, shown=self._tokens)
        return answer[1]

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b s s c"]
    ) -> dict[str, Float[Array, "b d"]]:
        """Every block's features of each cell."""
        features: Any = self.model.apply({"params": params}, images, method="encode")
        return features

    def _loss(self, params: Params, images: Float[Array, "three_b s s c"], batch: Batch, key: jax.Array) -> Array:
        keys = jax.random.split(key, len(images))
        order = jax.vmap(lambda each: jax.random.permutation(each, self._tokens))(keys)
        answer: Any = self.model.apply({"params": params}, images, order, shown=self._shown)
        painted, embedded = answer
        hidden = jnp.argsort(order, axis=1) >= self._shown
        wanted: Any = self.model.apply({"params": params}, images, method="patches")
        error = (jnp.square(painted - wanted).mean(-1) * hidden).sum(1) / hidden.sum(1)
        total = error.reshape(3, -1).mean(0)
        if not self.contrasts:
            return total
        first, again, sibling = jnp.split(embedded, 3)
        index, mask = batch["index"], batch["mask"]
        same_cell = siblings.normalised_contrast(first, again, index, mask)
        same_protein = siblings.normalised_contrast(first, sibling, jnp.asarray(self.proteins)[index], mask)
        return total + self.contrasts * (same_cell + same_protein)

    @property
    def _tokens(self) -> int:
        return (self.model.size // self.model.patch) ** 2

    @property
    def _shown(self) -> int:
        return max(1, round(self.shown * self._tokens))
