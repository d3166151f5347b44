"""Heads: what a network says of a field and of each place in it, or of a cell.

A backbone is called as `backbone(images, mask=mask, train=train)` and answers with its last map (b, h, w, k); see
`hpax.nn.backbones`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.norm import BatchNorm
from hpax.ops import cam
from hpax.types import Array


class CamOutput(NamedTuple):
    """What a network says of fields."""

    logits: Float[Array, "b n"]
    maps: Float[Array, "b h w n"]  # class activation maps: the logits of each place
    features: Float[Array, "b h w k"]  # of the backbone


class CamNet(nn.Module):
    """Classes of a field and where they are: one linear classifier for every place, and a pooling over places.

    "average" pools the maps (Zhou et al. 2016), "lse" too, by a smooth maximum; "gem" pools the features, by a
    generalised mean whose power is learned, and asks the classifier then.
    """

    backbone: nn.Module
    classes: int = 19
    pooling: Literal["average", "gem", "lse"] = "average"
    dropout: float = 0.0  # of whole channels, alike at every place

    def setup(self) -> None:
        """The classifier, and what stands between it and the backbone."""
        self.classifier = nn.Dense(self.classes)
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1, 2))
        if self.pooling == "gem":
            self.power = self.param("power", nn.initializers.constant(3.0), (), jnp.float32)

    @property
    def stride(self) -> int:
        """The backbone's."""
        return self.backbone.stride

    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> CamOutput:
        """What the network says of images in [0, 1]; rows of `mask` 0 are left out of batch statistics."""
        return self.read(self.backbone(images, mask=mask, train=train), train=train)

    def read(self, features: Float[Array, "b h w k"], *, train: bool = False) -> CamOutput:
        """What the head says of features, such as those of tiles put together."""
        seen = self.drop(features, deterministic=not train)
        maps = self.classifier(seen)
        if self.pooling == "gem":
            return CamOutput(self.classifier(cam.gem(seen, self.power)), maps, features)
        return CamOutput(maps.mean((1, 2)) if self.pooling == "average" else cam.log_mean_exp(maps), maps, features)


class CellOutput(NamedTuple):
    """What a network says of cells."""

    logits: Float[Array, "b n"]
    features: Float[Array, "b k"]  # penultimate: the backbone's, averaged over places
    cosines: Float[Array, "b a"] | None  # with the antibodies, where the network tells them apart


class CellNet(nn.Module):
    """Classes of a cell, by a linear classifier of the average of a backbone's map.

    With `antibodies`, the features are also compared to a direction of each antibody, for `ops.losses.arcface`.
    """

    backbone: nn.Module
    classes: int = 19
    dropout: float = 0.0
    antibodies: int = 0
    standardised: bool = False  # the classifier sees features of mean 0 and variance 1: frozen ones have any
    frozen: bool = False  # training leaves the backbone as it is

    @property
    def stride(self) -> int:
        """The backbone's."""
        return self.backbone.stride

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> CellOutput:
        """What the network says of images in [0, 1]; rows of `mask` 0 are left out of batch statistics."""
        maps = self.backbone(images, mask=mask, train=train and not self.frozen)
        features = (jax.lax.stop_gradient(maps) if self.frozen else maps).mean((1, 2))
        scaled = features
        if self.standardised:
            norm = BatchNorm(self.backbone.axis_name, self.backbone.momentum, name="norm")
            scaled = norm(features, mask=mask, train=train)
        seen = nn.Dropout(self.dropout)(scaled, deterministic=not train)
        logits = nn.Dense(self.classes, name="classifier")(seen)
        if not self.antibodies:
            return CellOutput(logits, features, None)
        shape = (features.shape[-1], self.antibodies)
        directions = self.param("antibodies", nn.initializers.glorot_uniform(), shape, jnp.float32)
        return CellOutput(logits, features, _directed(seen, -1) @ _directed(directions, 0))


def _directed(vectors: Array, axis: int) -> Array:
    return vectors / jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(axis, keepdims=True), 1e-12))
