"""Features of cells by a network that learnt ImageNet: EfficientNet-Lite0, where its weights are installed.

Lu et al. (2019) took VGG16 at the crops' own size, shown each channel by itself, the protein alone, or a colour
picture. The same three ways here, after the last block of each stage, each the maximum over space.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.features import on_devices
from hpax.models import imagenet
from hpax.nn.efficientnet import Block
from hpax.types import Array

Strategy = Literal["protein", "colours", "channels"]


def encoder(strategy: Strategy, *, side: int | None = None) -> Callable:
    """What turns prepared cells into stage → features; of "channels", those of each channel side by side.

    Args:
        strategy: what the network is shown.
        side: pixels that crops are resized to, such as 224, that the network learnt at; None: as they are.

    Raises:
        ModuleNotFoundError: the package with the weights is not installed; it is named.
        ValueError: an unknown strategy.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"the strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    network = imagenet.lite(0)
    return on_devices(functools.partial(_encode, network.model, strategy, side), network.variables)


def _encode(
    model: nn.Module, strategy: Strategy, side: int | None, variables: dict, images: Float[Array, "b s s c"]
) -> dict[str, Float[Array, "b d"]]:
    if side is not None:
        images = jax.image.resize(images, (len(images), side, side, images.shape[-1]), "linear")
    pictures = rendered(images, strategy)
    parts = [_stages(model, variables, picture) for picture in pictures]
    return {stage: jnp.concatenate([part[stage] for part in parts], -1) for stage in parts[0]}


def rendered(images: Float[Array, "b s s c"], strategy: Strategy) -> Sequence[Float[Array, "b s s 3"]]:
    """The pictures that the network is shown: grey ones, or the protein green, nucleus blue, microtubules red.

    Yeast's one marker is shown red.
    """
    grey = [jnp.repeat(images[..., channel, None], 3, -1) for channel in range(images.shape[-1])]
    if strategy == "protein":
        return grey[:1]
    if strategy == "channels":
        return grey
    blank = jnp.zeros_like(images[..., 0])
    red, blue = (images[..., 2], images[..., 1]) if images.shape[-1] > 2 else (images[..., 1], blank)
    return [jnp.stack([red, images[..., 0], blue], -1)]


def _stages(model: nn.Module, variables: dict, picture: Float[Array, "b s s 3"]) -> dict[str, Float[Array, "b d"]]:
    """The maximum over space after the last block of each stage."""
    _, kept = model.apply(
        variables,
        picture,
        capture_intermediates=lambda module, method: method == "__call__" and isinstance(module, Block),
        mutable=["intermediates"],
    )
    stages = {}
    blocks = kept["intermediates"]["backbone"]
    for name in sorted(blocks):  # of a stage the last letter is the last block
        stages[f"stage{name.removeprefix('block')[:-1]}"] = blocks[name]["__call__"][0].max((1, 2))
    return stages
