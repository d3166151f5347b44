"""Classes of single cells, learned from the labels of the fields that they are in."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.ops.losses import Loss, arcface, bce
from hpax.ops.mil import Pooling, mean_present, pooled
from hpax.ops.mix import Mixture, mixed
from hpax.types import Array, Batch, ModelState, Params


@dataclasses.dataclass(frozen=True)
class Classification:
    """Says which patterns a cell shows (Le et al. 2022, the teams' cell-level models).

    A batch holds, for b fields of m cells each, `image` (b, m, s, s, c) in [0, 1], `present` (b, m), 1 for a cell and 0
    for none, `labels` (b, n) of the field in [0, 1], `mask` (b,), and where there are any, `targets` (b, m, n), labels
    of the cells, else each cell inherits those of its field, and `antibody` (b,) int32. An example is a field: its loss
    is the mean of its present cells', 0 where none is present.

    With `bag`, what the present cells say together (`ops.bags.pooled`) answers for the field's labels, and the cells'
    own loss only helps: .1 against 1 is what the second team took, with "max". With "mean" and without the cells' own
    loss it is the competition's bag of cells: as the classifier is linear, it answers by the mean features of a field's
    cells, and speaks of single cells where there is no mean.

    Raises:
        ValueError: antibodies that the model does not tell apart, or mixed cells of different fields in bags.
    """

    model: nn.Module  # called as hpax.nn.heads.CellNet is
    criterion: Loss = bce
    bag: Pooling | None = None
    bag_weight: float = 1.0
    cell_weight: float = 0.1  # beside a bag's; without a bag the cells' loss is the whole
    antibody_weight: float = 0.0  # of `ops.losses.arcface` over antibodies, in training only
    mix: Mixture = "none"  # of cells

    def __post_init__(self) -> None:
        if self.antibody_weight and not self.model.antibodies:
            raise ValueError("antibody_weight needs a model that tells antibodies apart, got 0 antibodies; set them")
        if self.bag and self.mix != "none":
            raise ValueError(f"a bag's cells must be of one field, got mix {self.mix!r}; leave one of the two out")

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and moving statistics for cells shaped like those of `batch`."""
        variables = self.model.init(key, batch["image"][:1, 0])
        return variables.pop("params"), variables

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Float[Array, " b"], ModelState]:
        """The weighted sum of the losses of each field's cells, bag and antibody; the statistics after the batch."""
        mixing, dropping = jax.random.split(key)
        present = batch["present"]
        rows = (batch["mask"][:, None] * present).reshape(-1)
        images, targets = mixed(self.mix, mixing, _flat(batch["image"]), _flat(_targets(batch)), rows)
        seen, model_state = self.model.apply(
            {"params": params, **model_state},
            images,
            mask=rows,
            train=True,
            rngs={"dropout": dropping},
            mutable=list(model_state),
        )
        total = self._loss(seen.logits, targets, batch)
        if self.antibody_weight:
            antibodies = jnp.repeat(batch["antibody"], present.shape[1])
            apart = arcface(seen.cosines, antibodies).reshape(present.shape)
            total += self.antibody_weight * mean_present(apart, present)
        return total, model_state

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Float[Array, " b"]]:
        """`loss` of cells and bags as in training, of what the network says of the cells as they are."""
        seen: Any = self.model.apply({"params": params, **model_state}, _flat(batch["image"]))
        return {"loss": self._loss(seen.logits, _flat(_targets(batch)), batch)}

    def predict(self, params: Params, model_state: ModelState, images: Float[Array, "k s s c"]) -> Float[Array, "k n"]:
        """The probabilities of the classes in each cell."""
        seen: Any = self.model.apply({"params": params, **model_state}, images)
        return jax.nn.sigmoid(seen.logits)

    def encode(
        self, params: Params, model_state: ModelState, images: Float[Array, "k s s c"]
    ) -> dict[str, Float[Array, "k d"]]:
        """The features before the classifier, averaged over places."""
        seen: Any = self.model.apply({"params": params, **model_state}, images)
        return {"penultimate": seen.features}

    def _loss(self, logits: Float[Array, "bm n"], targets: Float[Array, "bm n"], batch: Batch) -> Float[Array, " b"]:
        present = batch["present"]
        cells = mean_present(self.criterion(logits, targets).reshape(present.shape), present)
        if self.bag is None:
            return cells
        together = self.criterion(pooled(logits.reshape(*present.shape, -1), present, self.bag), batch["labels"])
        return self.cell_weight * cells + self.bag_weight * jnp.where((present > 0).any(1), together, 0)


def _targets(batch: Batch) -> Float[Array, "b m n"]:
    labels = batch["labels"][:, None]
    return batch["targets"] if "targets" in batch else jnp.repeat(labels, batch["present"].shape[1], 1)


def _flat(values: Float[Array, "b m ..."]) -> Float[Array, "bm ..."]:
    return values.reshape(-1, *values.shape[2:])
