"""One optimisation step, the same function whether it runs alone, jitted or on many devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hpax.task import Task
from hpax.train.state import UPDATE, State, stream
from hpax.types import Array, Batch, ModelState, Params


def update(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: Batch,
    seed: np.uint32 | Array,
    *,
    axis_name: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """Moves the parameters by one step on a global batch, of which `batch` is this device's part.

    Sums and counts are added over `axis_name` before anything is divided, so that neither the number of devices nor
    where the padding lies changes the step. The report holds "loss", the mean over real examples, "examples", and
    "finite": whether the loss, its gradient and the new parameters and model state all are.
    """
    key = jax.random.fold_in(stream(seed, UPDATE), state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    real = batch["mask"] > 0
    examples = _total(real.sum(dtype=jnp.float32), axis_name)

    def share(params: Params) -> tuple[Array, ModelState]:
        losses, model_state = task.loss(params, state.model_state, batch, key=key)
        per_example(f"the loss of {type(task).__name__}", losses, batch)
        return jnp.where(real, losses, 0).sum() / jnp.maximum(examples, 1), model_state

    (loss, model_state), gradient = jax.value_and_grad(share, has_aux=True)(state.params)
    loss, gradient = _total((loss, gradient), axis_name)
    if axis_name is not None:  # equal already where the networks reduce over the axis, as ours do
        model_state = jax.lax.pmean(model_state, axis_name)
    changes, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, changes)
    report = {"loss": loss, "examples": examples, "finite": _finite((loss, gradient, params, model_state))}
    return State(state.step + 1, params, model_state, opt_state), report


def per_example(what: str, numbers: Array, batch: Batch) -> None:
    """A ValueError if `numbers` are not one for each row of the batch: a mean would count padding as examples."""
    shape, expected = jnp.shape(numbers), jnp.shape(batch["mask"])
    if shape != expected:
        raise ValueError(
            f"{what} must be one number for each example, of shape {expected}, got shape {shape}; reduce over all axes "
            "but the first, as in error.mean(tuple(range(1, error.ndim)))"
        )


def _finite(tree: Any) -> Array:
    """Whether no number of a tree is NaN or infinite: () bool."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def _total(tree: Any, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)
