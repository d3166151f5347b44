"""What a training run carries from step to step, and how it is born."""

from collections.abc import Callable
from typing import Any, no_type_check

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpax.task import Task
from hpax.types import Array, Batch, ModelState, Params

Init = Callable[[Params, ModelState], tuple[Params, ModelState]]
"""Fresh parameters and model state → those to begin with, such as `functools.partial(models.graft, ...)`."""

INIT, UPDATE = range(2)
"""Streams of randomness: each is `fold_in(key(seed), stream)`."""


@no_type_check  # a pytree: what maps over it builds states of shapes, names or nothing
@flax.struct.dataclass
class State:
    """Everything that changes during training; with (config, seed) it determines the rest of the run."""

    step: Array  # () int32, updates done
    params: Params
    model_state: ModelState
    opt_state: Any


def stream(seed: int | np.uint32 | Array, name: int) -> jax.Array:
    """The key of one stream of randomness of a run."""
    return jax.random.fold_in(jax.random.key(seed), name)


def create(
    task: Task,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    *,
    seed: int,
    init: Init | None = None,
) -> State:
    """The state before the first update; `init` may replace what is fresh, as a grafted encoder does."""

    def fresh(key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        return task.init(key, batch)

    params, model_state = jax.jit(fresh)(stream(seed, INIT), dict(batch))
    params, model_state = (params, model_state) if init is None else init(params, model_state)
    return State(jnp.zeros((), jnp.int32), params, model_state, optimizer.init(params))
