"""Paired cell inpainting: the self-supervised task of Lu et al. (2019)."""

import dataclasses
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Float

from hpax import atlas
from hpax.ops.correlation import pearson
from hpax.ops.painting import PaintingError, squared
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class PairedInpainting:
    """Predicts a target cell's protein from its structure and a sibling cell (Lu et al. 2019).

    A batch holds `source` and `target` (b, h, w, c) in [0, 1], channels as in `atlas.CHANNELS`, and `mask` (b,).
    Which cell is whose sibling is the pipeline's choice: another cell of the image, itself, or any cell as a control.
    """

    model: nn.Module  # called as hpax.nn.inpainter.Inpainter is
    error: PaintingError = dataclasses.field(default=squared, kw_only=True)  # of what is painted

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like `batch`."""
        variables = self.model.init(key, batch["source"], batch["target"][..., atlas.STRUCTURE])
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The error of each painted protein, and the moving statistics after the batch."""
        painted, model_state = self.model.apply(
            {"params": params, **model_state},
            batch["source"],
            batch["target"][..., atlas.STRUCTURE],
            mask=batch["mask"],
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )
        return self.error(painted, batch["target"][..., atlas.PROTEIN]), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training, and `correlation`, Pearson's, between the painted and the actual protein."""
        painted = self.predict(params, model_state, batch["source"], batch["target"][..., atlas.STRUCTURE])
        wanted = batch["target"][..., atlas.PROTEIN]
        return {"loss": self.error(painted, wanted), "correlation": pearson(painted, wanted)}

    def predict(
        self,
        params: Params,
        model_state: ModelState,
        source: Float[Array, "b h w c"],
        markers: Float[Array, "b h w m"],
    ) -> Float[Array, "b h w 1"]:
        """The protein of the cells whose structure is `markers`, as `source` makes the network imagine it."""
        painted: Any = self.model.apply({"params": params, **model_state}, source, markers)
        return painted

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b k"]]:
        """Every layer's features of each cell: layer → (b, channels of the layer)."""
        features: Any = self.model.apply({"params": params, **model_state}, images, method="encode")
        return features
