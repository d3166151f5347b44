"""Segmentation of nuclei or cells by a border map and an object map."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.unet import MAPS
from hpax.ops.dice import dice, masked_mean
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Says of each pixel whether it is inside an object, and whether objects meet there (Le et al. 2022, Methods).

    A batch holds `image` (b, h, w, c) in [0, 1], `maps` (b, h, w, 2) in {0, 1}, [border, object], `mask` (b,) and,
    where some pixels are padding or unknown, `valid` (b, h, w), 1 for those that count. The maps need not exclude
    each other: each is a sigmoid of its own, where the publication takes a softmax with background as a third.
    """

    model: nn.Module  # called as hpax.nn.unet.LightUNet is

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for images shaped like `batch`."""
        variables = self.model.init(key, batch["image"])
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """Binary cross-entropy and 1 − soft Dice, both the mean of the two maps; the statistics after the batch.

        Where a map is empty, as that of borders mostly is, cross-entropy counts alone: a single pixel would cost half
        of all Dice, and networks learn not to paint any border.
        """
        logits, model_state = self.model.apply(
            {"params": params, **model_state},
            batch["image"],
            mask=batch["mask"],
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )
        return _loss(logits, batch), model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` as in training, and `dice border` and `dice object` of the maps cut at ½."""
        logits: Any = self.model.apply({"params": params, **model_state}, batch["image"])
        overlaps = dice((logits > 0).astype(logits.dtype), batch["maps"], _valid(batch))
        return {"loss": _loss(logits, batch)} | {f"dice {name}": overlaps[:, i] for i, name in enumerate(MAPS)}

    def predict(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w 2"]:
        """The probabilities of border and object at each pixel."""
        logits: Any = self.model.apply({"params": params, **model_state}, images)
        return jax.nn.sigmoid(logits)

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b 2"]]:
        """How much of each image is border and how much is object, as shares of its area."""
        return {"shares": self.predict(params, model_state, images).mean((1, 2))}


def _loss(logits: Float[Array, "b h w 2"], batch: Batch) -> Float[Array, " b"]:
    valid = _valid(batch)
    entropy = masked_mean(optax.sigmoid_binary_cross_entropy(logits, batch["maps"]), valid)
    overlap = dice(jax.nn.sigmoid(logits), batch["maps"], valid)
    filled = (batch["maps"] * valid[..., None]).max((1, 2)) > 0
    return (entropy + jnp.where(filled, 1 - overlap, 0)).mean(1)


def _valid(batch: Batch) -> Float[Array, "b h w"]:
    return batch["valid"] if "valid" in batch else jnp.ones(batch["maps"].shape[:3])
