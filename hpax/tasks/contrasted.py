"""Paired cell inpainting with a contrast of proteins beside it: what a cell's protein is, whatever its brightness."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hpax import atlas
from hpax.nn.embedder import ContrastedInpainter
from hpax.ops import siblings, views
from hpax.tasks.inpaint import PairedInpainting
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True, eq=False)
class ContrastedInpainting(PairedInpainting):
    """Paints a target cell's protein, and brings the codes of siblings together, apart from those of other proteins.

    A batch is that of `PairedInpainting`, with `index` (b,). Source and target are each seen by a random view, so that
    brightness tells no siblings apart; what is to be painted is as bright as the source. Other cells are those of the
    batch's part on one device.
    """

    model: ContrastedInpainter
    proteins: Int[Array, " n"]  # of each cell that `index` numbers; those of one protein do not repel each other
    weight: float  # of the contrast

    __eq__, __hash__ = object.__eq__, object.__hash__  # by itself: what is compiled for another weight is another's

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like `batch`."""
        variables = self.model.init(key, batch["source"], batch["target"], mask=batch["mask"], method="compare")
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The error of each painted protein plus the contrast, and the moving statistics after the batch."""
        first, second = jax.random.split(key)
        source, target = views.view(first, batch["source"]), views.view(second, batch["target"])
        told: Any = self.model.apply(
            {"params": params, **model_state},
            source.seen,
            target.seen,
            mask=batch["mask"],
            train=True,
            method="compare",
            mutable=list(model_state),
        )
        (painted, numbers), model_state = told
        gain = source.gain[:, None, None, atlas.PROTEIN]
        wanted = jnp.clip(target.placed[..., atlas.PROTEIN] * gain, 0, 1)
        error = self.error(painted, wanted)
        proteins = jnp.asarray(self.proteins)[batch["index"]]
        one, other = jnp.split(numbers, 2)
        contrast = siblings.normalised_contrast(one, other, proteins, batch["mask"])
        return error + self.weight * contrast, model_state
