"""Checkpoints: the only place that knows orbax.

A run keeps its latest state, to go on from, and the state that validated best, to use.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from hpax.train.state import State


class Checkpoints:
    """`folder/latest` and `folder/best` of one run, written in the background; use as a context manager.

    Leaving the context waits for what is still being written. A save appears whole or not at all.
    """

    def __init__(self, folder: pathlib.Path):
        folder = folder.absolute()
        self._latest = _manager(folder, "latest")
        self._best = _manager(folder, "best", best_fn=lambda scores: scores["loss"], best_mode="min")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._latest.close()
        self._best.close()

    def save(self, state: State) -> None:
        """Keeps `state` (not replicated) as the latest; a step that is there already is left alone."""
        self._best.wait_until_finished()
        self._latest.save(int(state.step), args=ocp.args.StandardSave(state))

    def save_if_best(self, state: State, scores: Mapping[str, float]) -> None:
        """Keeps `state` as the best so far if `scores["loss"]` is the lowest."""
        self._latest.wait_until_finished()
        self._best.save(int(state.step), args=ocp.args.StandardSave(state), metrics=dict(scores))

    def restore(self, like: State) -> State | None:
        """The latest state, or None where there is none yet. See `load` for what is refused."""
        return _restore(self._latest, like)


def _manager(folder: pathlib.Path, name: str, **best: Any) -> ocp.CheckpointManager:
    """One of the two. Their processes meet at barriers of different names, and one of them writes at a time."""
    meeting = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True, multiprocessing_options=meeting, **best)
    return ocp.CheckpointManager(folder / name, options=options)


def load(folder: pathlib.Path, like: State, *, which: str = "best") -> State:
    """The "best" or "latest" state under a run's checkpoint folder; `like` gives structure, shapes and dtypes.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it holds other leaves than `like`; nothing is restored in part.
    """
    path = pathlib.Path(folder).absolute() / which
    if not path.is_dir():
        raise FileNotFoundError(f"a run's checkpoint folder must hold {which!r}, {folder} does not; train first")
    with ocp.CheckpointManager(path, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
        state = _restore(manager, like)
    if state is None:
        raise FileNotFoundError(f"{path} holds no finished checkpoint; train until the first save")
    return state


def _restore(manager: ocp.CheckpointManager, like: State) -> State | None:
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        restored = manager.restore(step, args=ocp.args.StandardRestore(abstract))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the checkpoint at {manager.directory} must hold the state that this run's network and optimiser make: "
            f"{error}; use the config it was made with, or another folder"
        ) from error
    if wrong := _differences(abstract, restored):
        raise ValueError(f"the checkpoint at {manager.directory} has leaves of another shape or type: {wrong}")
    return restored


def _differences(expected: State, found: State) -> list[str]:
    """Leaves whose shape or dtype is not as expected, named."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True)
    return [
        f"{jax.tree_util.keystr(path)}: {leaf.shape} {leaf.dtype} here, {other.shape} {other.dtype} there"
        for (path, leaf), other in pairs
        if (leaf.shape, leaf.dtype) != (other.shape, other.dtype)
    ]
