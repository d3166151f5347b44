"""What a file must hold to be a network: bounded before anything is built, then leaf by leaf, then by its answer."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hpax.nn.inpainter import Inpainter

MAX_LEAVES = 4096  # arrays of a network; EfficientNet-B7 has 1,400
MAX_BLOCKS = 64  # of all stages of a network; DPN-131, the deepest that is known, has 43
LAYERS = ("depths",)
"""Options that count blocks; all others count channels."""

_BLOCK = 3  # arrays at least that a block has
_SIDE = 96  # pixels at least, of an image that every network takes
_SHOWN = 20  # leaves that an error lists
_NAME = 120  # characters of a name that an error shows


def short(text: Any, length: int = _NAME) -> str:
    """What a stranger's file says, as far as it fits an error message."""
    text = str(text)
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def check_count(names: Sequence[str]) -> None:
    """Refuses more arrays than any network has.

    Raises:
        ValueError: there are more than `MAX_LEAVES`.
    """
    if len(names) > MAX_LEAVES:
        raise ValueError(f"it has {len(names)} arrays, more than the bound of {MAX_LEAVES}")


def check_size(options: Mapping[str, Any], leaves: Mapping[str, np.ndarray]) -> None:
    """Refuses options that ask for more blocks or channels than a file's arrays can be the weights of.

    Raises:
        ValueError: they do; nothing was built.
    """
    numbers = sum(leaf.size for leaf in leaves.values())
    most = {True: min(MAX_BLOCKS, len(leaves) // _BLOCK), False: numbers}
    for name, value in options.items():
        counts = value if isinstance(value, tuple) else (value,)
        asked = sum(count for count in counts if type(count) is int)
        if asked > most[name in LAYERS]:
            what = "blocks" if name in LAYERS else "channels"
            raise ValueError(
                f"the option {name} asks for {asked} {what}, but {len(leaves)} arrays of {numbers} numbers in all can "
                f"hold no more than {most[name in LAYERS]}"
            )


def expected_leaves(model: nn.Module, channels: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Name → shape and type of every leaf of a network; nothing is allocated."""
    images = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in _shapes(model, channels)]
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), *images))
    return flax.traverse_util.flatten_dict({"params": variables.pop("params"), "model_state": variables}, sep="/")


def check_leaves(model: nn.Module, channels: int, leaves: Mapping[str, np.ndarray]) -> None:
    """Refuses leaves, by names such as params/stem/kernel, that are not the weights of a network.

    Raises:
        ValueError: leaves are missing, unexpected, of another shape or type, or not finite, or a variance is negative;
            the first 20 of them are listed.
    """
    expected = expected_leaves(model, channels)
    wrong = [f"{name} is missing" for name in sorted(expected.keys() - leaves.keys())]
    wrong += [f"{short(name)} is unexpected" for name in sorted(leaves.keys() - expected.keys())]
    for name in sorted(expected.keys() & leaves.keys()):
        if fault := _fault(name, leaves[name], expected[name].shape):
            wrong.append(f"{name} {fault}")
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    if wrong:
        raise ValueError("; ".join(wrong[:_SHOWN] + more))


def _fault(name: str, leaf: np.ndarray, shape: tuple[int, ...]) -> str:
    """What is wrong with a leaf; "" if nothing is."""
    if leaf.shape != shape:
        return f"must have shape {shape}, got {short(leaf.shape)}"
    if leaf.dtype not in (np.float16, np.float32):
        return f"must be float16 or float32, got {leaf.dtype}"
    if not np.isfinite(leaf).all():
        return "has NaN or infinite numbers"
    if name.startswith("model_state/batch_stats/") and name.endswith("/var") and leaf.min(initial=0) < 0:
        return f"has variances down to {leaf.min():g}; they must not be negative"
    return ""


def check_answer(model: nn.Module, channels: int, variables: Mapping[str, Any]) -> None:
    """Refuses a network whose answer to an image of noise is not finite.

    Raises:
        ValueError: it is not.
    """
    if not bool(_answers(model, variables, _shapes(model, channels))):
        raise ValueError("its answer to an image of noise has NaN or infinite numbers; train it again, at a lower rate")


@functools.partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def _answers(model: nn.Module, variables: Mapping[str, Any], shapes: Iterable[tuple[int, ...]]) -> jax.Array:
    """Whether all that a network says of noise in [0, 1] is finite; compiled fast, as it runs once."""
    noise = [jax.random.uniform(jax.random.key(place), shape) for place, shape in enumerate(shapes)]
    answers = jax.tree.leaves(model.apply(variables, *noise))
    return jnp.stack([jnp.isfinite(answer).all() for answer in answers]).all()


def _shapes(model: nn.Module, channels: int) -> tuple[tuple[int, ...], ...]:
    """The shapes of the images that a network takes, one of each, as small as can be."""
    stride: int = model.stride
    side = math.ceil(_SIDE / stride) * stride
    shapes = [(1, side, side, channels)]
    if isinstance(model, Inpainter):
        shapes.append((1, side, side, channels - 1))
    return tuple(shapes)
