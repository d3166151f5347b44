"""Parameters and moving statistics of one network planted into another."""

import jax
import numpy as np

from hpax.models.store import Trained
from hpax.types import ModelState, Params


def graft(params: Params, model_state: ModelState, pretrained: Trained, *, at: str = "") -> tuple[Params, ModelState]:
    """Both with the subtree `at`, such as "encoder/stem", taken from `pretrained`, where it has the same place.

    The whole tree by default. Of the model state, the collections are planted that `pretrained` has, such as moving
    statistics. Use as `Run.init`: `functools.partial(graft, pretrained=..., at=...)`.

    Raises:
        ValueError: a subtree is not there, or its leaves differ in names or shapes; all of them are listed.
    """
    path = at.split("/") if at else []
    state = {
        name: _grafted(tree, pretrained.model_state[name], path) if _known(pretrained.model_state, name, path) else tree
        for name, tree in model_state.items()
    }
    return _grafted(params, pretrained.params, path), state


def _known(model_state: ModelState, name: str, path: list[str]) -> bool:
    tree = model_state.get(name)
    for place in path:
        tree = (tree or {}).get(place)
    return tree is not None


def _grafted(tree: Params, donor: Params, path: list[str]) -> Params:
    scion = _at(donor, path, "the weights")
    here, there = _named(_at(tree, path, "the network")), _named(scion)
    wrong = [f"{name} is missing in the weights" for name in sorted(here.keys() - there.keys())]
    wrong += [f"{name} is unexpected" for name in sorted(there.keys() - here.keys())]
    wrong += [
        f"{name} must have shape {here[name]}, got {there[name]}"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name]
    ]
    if wrong:
        raise ValueError(f"what is grafted at {'/'.join(path) or 'the root'!r} must fit: {'; '.join(wrong)}")
    return _planted(tree, path, scion)


def _at(tree: Params, path: list[str], owner: str) -> Params:
    for place, name in enumerate(path):
        if name not in tree:
            there = ", ".join(tree)
            raise ValueError(f"{owner} must have {'/'.join(path[: place + 1])!r} to be grafted; there are {there}")
        tree = tree[name]
    return tree


def _named(tree: Params) -> dict[str, tuple[int, ...]]:
    """Name → shape of each leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf) for path, leaf in leaves}


def _planted(tree: Params, path: list[str], scion: Params) -> Params:
    if not path:
        return jax.tree.map(np.asarray, scion)
    return {**tree, path[0]: _planted(tree[path[0]], path[1:], scion)}
