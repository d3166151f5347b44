"""Classes of fields, and where in a field they are: class activation maps from the labels of fields alone."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.heads import CamOutput
from hpax.ops.cam import cam_consistency, merged, tiled
from hpax.ops.losses import Loss, bce
from hpax.ops.mix import Mixture, mixed, turned, turns, unturned
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Localization:
    """Says which patterns a field shows, by maps of where (Le et al. 2022, the teams' image-level models).

    A batch holds `image` (b, s, s, c) in [0, 1], `labels` (b, n) in [0, 1] and `mask` (b,).
    """

    model: nn.Module  # called as hpax.nn.heads.CamNet is
    criterion: Loss = bce
    puzzle: float = 0.0  # weight of how the maps of a field and of its tiles disagree (Puzzle-CAM); 0: no tiles
    tiles: int = 2  # along each side; any size of field will do
    equivariance: float = 0.0  # weight of how the maps of a field and of one of its turns disagree; 0: no second view
    ramp: int = 0  # updates over which these two weights rise from 0; half of the run in Puzzle-CAM's code
    mix: Mixture = "none"

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters, moving statistics, and the count of updates where a weight rises with it."""
        variables = dict(self.model.init(key, batch["image"][:1]))
        params = variables.pop("params")
        return params, variables | ({"ramp": {"updates": jnp.zeros(())}} if self.ramp else {})

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """`criterion` of each field, of its tiles put together, and of a turn, and how their maps disagree."""
        mixing, turning, dropping = jax.random.split(key, 3)
        mask = batch["mask"]
        images, labels = mixed(self.mix, mixing, batch["image"], batch["labels"], mask)
        seen, model_state = self._look(params, model_state, dropping, images, mask)
        total = self.criterion(seen.logits, labels)
        for weight, view in ((self.puzzle, self._in_tiles), (self.equivariance, partial(self._turned, turning))):
            if weight:
                dropping = jax.random.fold_in(dropping, 1)
                logits, maps, model_state = view(params, model_state, dropping, images, mask, seen.maps.shape[1:3])
                apart = cam_consistency(seen.maps, maps, labels)
                total += self.criterion(logits, labels) + weight * self._risen(model_state) * apart
        return total, self._counted(model_state)

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss`, the criterion of what the network says of each field as it is."""
        seen: Any = self.model.apply({"params": params, **model_state}, batch["image"])
        return {"loss": self.criterion(seen.logits, batch["labels"])}

    def predict(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b n"], Float[Array, "b y x n"]]:
        """The probabilities of the classes in each image, and maps of their logits at the backbone's places."""
        seen: Any = self.model.apply({"params": params, **model_state}, images)
        return jax.nn.sigmoid(seen.logits), seen.maps

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "b h w c"]
    ) -> dict[str, Float[Array, "b k"]]:
        """The features before the classifier, averaged over places."""
        seen: Any = self.model.apply({"params": params, **model_state}, images)
        return {"penultimate": seen.features.mean((1, 2))}

    def _look(
        self, params: Params, model_state: ModelState, key: jax.Array, images: Array, mask: Array
    ) -> tuple[CamOutput, ModelState]:
        return self.model.apply(
            {"params": params, **model_state},
            images,
            mask=mask,
            train=True,
            rngs={"dropout": key},
            mutable=list(model_state),
        )

    def _in_tiles(
        self,
        params: Params,
        model_state: ModelState,
        key: jax.Array,
        images: Array,
        mask: Array,
        shape: tuple[int, ...],
    ) -> tuple[Array, Array, ModelState]:
        """What the head says of the features of tiles put together."""
        tiles = tiled(images, self.tiles, multiple=self.model.stride)
        seen, model_state = self._look(params, model_state, key, tiles, jnp.repeat(mask, self.tiles**2))
        whole = merged(seen.features, self.tiles, shape)
        said: Any = self.model.apply({"params": params}, whole, train=True, rngs={"dropout": key}, method="read")
        return said.logits, said.maps, model_state

    def _turned(
        self,
        turning: jax.Array,
        params: Params,
        model_state: ModelState,
        key: jax.Array,
        images: Array,
        mask: Array,
        shape: tuple[int, ...],
    ) -> tuple[Array, Array, ModelState]:
        """What the network says of turned images, with the maps turned back."""
        ways = turns(turning, len(images))
        seen, model_state = self._look(params, model_state, key, turned(images, ways), mask)
        return seen.logits, unturned(seen.maps, ways), model_state

    def _risen(self, model_state: ModelState) -> Float[Array, ""] | float:
        return jnp.minimum(model_state["ramp"]["updates"] / self.ramp, 1) if self.ramp else 1.0

    def _counted(self, model_state: ModelState) -> ModelState:
        updates = {"ramp": {"updates": model_state["ramp"]["updates"] + 1}} if self.ramp else {}
        return {**model_state, **updates}
