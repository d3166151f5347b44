"""Checkpoints: the only place that knows orbax.

A run keeps its latest state, to go on from, the one before, should the latest be damaged, and the state that validated
best, to use. With every state lies a digest of each of its arrays, so that no state is ever another than was saved.
"""

import json
import logging
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from hpax import files
from hpax.train.state import State

log = logging.getLogger(__name__)


class Damaged(ValueError):
    """A checkpoint's files no longer hold what was saved."""


class Checkpoints:
    """`folder/latest` and `folder/best` of one run, written in the background; use as a context manager.

    Leaving the context waits for what is still being written. A save appears whole or not at all.

    Raises:
        OSError: it cannot be written, as when the disk is full (`files.writable`).
    """

    def __init__(self, folder: pathlib.Path):
        folder = folder.absolute()
        self._folder = folder
        self._latest = _manager(folder, "latest", keep=2)
        self._best = _manager(folder, "best", keep=1, best_fn=lambda scores: scores["loss"], best_mode="min")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        with files.writable(self._folder):
            self._latest.close()
            self._best.close()

    def save(self, state: State) -> None:
        """Keeps `state` (not replicated) as the latest; a step that is there already is left alone."""
        with files.writable(self._folder):
            self._best.wait_until_finished()
            self._latest.save(int(state.step), args=ocp.args.StandardSave(state), custom_metadata=_record(state))

    def save_if_best(self, state: State, scores: Mapping[str, float]) -> None:
        """Keeps `state` as the best so far if `scores["loss"]` is the lowest."""
        kept = {"args": ocp.args.StandardSave(state), "custom_metadata": _record(state)}
        with files.writable(self._folder):
            self._latest.wait_until_finished()
            self._best.save(int(state.step), metrics=dict(scores), **kept)

    def restore(self, like: State) -> State | None:
        """The latest state that is whole, or None where none was saved yet; damaged ones after it are removed.

        Raises:
            ValueError: all are damaged, or they are not of `like` (`load`).
        """
        damaged: list[int] = []
        for step in sorted(self._latest.all_steps(), reverse=True):
            try:
                state = _restore(self._latest, step, like)
            except Damaged as error:
                log.warning("%s", error)
                damaged.append(step)
                continue
            for other in damaged:
                log.warning("step %d is used, the one before; training goes on from there", step)
                self._latest.delete(other)
            return state
        if damaged:
            raise Damaged(
                f"every state in {self._latest.directory} is damaged; delete {self._folder} to train from the beginning"
            )
        return None


def _manager(folder: pathlib.Path, name: str, *, keep: int, **best: Any) -> ocp.CheckpointManager:
    """One of the two. Their processes meet at barriers of different names, and one of them writes at a time."""
    meeting = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=name)
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, multiprocessing_options=meeting, **best)
    with files.writable(folder):
        return _opened(folder / name, options)


def _opened(folder: pathlib.Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    """The manager of a folder; Damaged if what lies there keeps orbax from opening it, with the folder to delete."""
    try:
        return ocp.CheckpointManager(folder, options=options, item_handlers=ocp.StandardCheckpointHandler())
    except OSError:
        raise
    except Exception as error:  # damaged metadata can raise nearly anything
        steps = [path for path in sorted(folder.iterdir()) if path.name.isdecimal()] if folder.is_dir() else []
        wrong = [path for path in steps if not _opens(path)]
        raise Damaged(_fault(wrong[-1] if wrong else folder, str(error))) from error


def _opens(step: pathlib.Path) -> bool:
    """Whether orbax opens a folder that holds this step alone."""
    with tempfile.TemporaryDirectory() as alone:
        (pathlib.Path(alone) / step.name).symlink_to(step)
        try:
            ocp.CheckpointManager(alone, options=ocp.CheckpointManagerOptions(read_only=True)).close()
        except Exception:
            return False
    return True


def load(folder: pathlib.Path, like: State, *, which: str = "best") -> State:
    """The "best" or "latest" state under a run's checkpoint folder; `like` gives structure, shapes and dtypes.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        Damaged: (a ValueError) its files no longer hold what was saved.
        ValueError: it holds other leaves than `like`; nothing is restored in part.
    """
    path = pathlib.Path(folder).absolute() / which
    if not path.is_dir():
        raise FileNotFoundError(f"a run's checkpoint folder must hold {which!r}, {folder} does not; train first")
    with _opened(path, ocp.CheckpointManagerOptions(read_only=True)) as manager:
        step = manager.latest_step()
        if step is None:
            raise FileNotFoundError(f"{path} holds no finished checkpoint; train until the first save")
        return _restore(manager, step, like)


def _restore(manager: ocp.CheckpointManager, step: int, like: State) -> State:
    """The state of a step, as it was saved; see `load` for what is refused."""
    folder = pathlib.Path(manager.directory) / str(step)
    told = _told(manager, step, folder)
    if wrong := _differences(_record(like)["leaves"], told):
        raise ValueError(
            f"the checkpoint at {folder} must hold the state that this run's network and optimiser make: "
            f"{'; '.join(wrong)}; use the config it was made with, or another folder"
        )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        restored = manager.restore(step, args=ocp.args.StandardRestore(abstract))
        found = _record(restored)["leaves"]
    except Exception as error:  # damaged files can raise nearly anything
        raise Damaged(_fault(folder, f"it cannot be read: {error}")) from error
    if other := [name for name, leaf in told.items() if found[name] != leaf]:
        raise Damaged(_fault(folder, f"{len(other)} of its arrays are not those that were saved, such as {other[0]}"))
    return restored


def _fault(folder: pathlib.Path, why: str) -> str:
    return f"the checkpoint at {folder} is damaged ({why[:500]}); delete that folder, and what was saved before is used"


def _record(state: State) -> dict[str, Any]:
    """What is kept with a state: of each leaf by its name dtype, shape and digest, and a digest of all this."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        leaves[jax.tree_util.keystr(path)] = [str(array.dtype), list(array.shape), files.digest(array.tobytes())]
    return {"leaves": leaves, "digest": files.digest(json.dumps(leaves, sort_keys=True))}


def _told(manager: ocp.CheckpointManager, step: int, folder: pathlib.Path) -> dict[str, list]:
    """The leaves that `_record` told of when a step was saved."""
    try:
        record = dict(manager.metadata(step).custom_metadata or {})
        leaves = {name: [dtype, list(shape), digest] for name, (dtype, shape, digest) in record["leaves"].items()}
        whole = record["digest"] == files.digest(json.dumps(leaves, sort_keys=True))
    except Exception as error:  # damaged metadata can raise nearly anything
        raise Damaged(_fault(folder, f"what it holds cannot be read: {error!r}")) from error
    if not whole:
        raise Damaged(_fault(folder, "the list of its arrays is not the one that was saved"))
    return leaves


def _differences(expected: Mapping[str, list], told: Mapping[str, list]) -> list[str]:
    """Leaves that are missing, not wanted, or whose dtype or shape is not as expected, named."""
    wrong = [f"{name} is missing" for name in expected.keys() - told.keys()]
    wrong += [f"{name} is unexpected" for name in told.keys() - expected.keys()]
    for name in expected.keys() & told.keys():
        here, there = expected[name][:2], told[name][:2]
        if here != there:
            wrong.append(f"{name} is {here[0]} {tuple(here[1])} here, {there[0]} {tuple(there[1])} there")
    return sorted(wrong)[:10]
