"""The Task protocol: where training and tasks meet."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax

from hpax.types import Array, Batch, ModelState, Params


@runtime_checkable
class Task(Protocol):
    """Knows what a batch means. Returns *per-example* numbers; only `hpax.train` reduces them."""

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Fresh parameters and model state for batches shaped like `batch`."""
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, *, key: jax.Array
    ) -> tuple[Array, ModelState]:
        """The training loss of each example (b,), and the model state after the batch.

        Rows whose `batch["mask"]` is 0 must not influence the other rows or the state.
        """
        ...

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> dict[str, Array]:
        """Named numbers of each example, each (b,), at inference; must hold "loss"."""
        ...

    @property
    def predict(self) -> Callable[..., Any]:
        """`predict(params, model_state, images, ...)`: what the network answers for images (b, ...), at inference.

        An array with a row for each, or a tuple of such arrays; what images a network must be shown is the task's own.
        """
        ...

    def encode(self, params: Params, model_state: ModelState, images: Array) -> Mapping[str, Array]:
        """Named features of each image, each (b, k), at inference."""
        ...
