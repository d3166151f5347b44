"""Features of cells by networks that learnt ImageNet: EfficientNet-Lite0 where it is installed, VGG16 from a file.

Lu et al. (2019) took VGG16 at the crops' own size, shown each channel by itself, the protein alone, or a colour
picture. The same three ways here, after the last layer of each stage, each the maximum over space.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.features import on_devices
from hpax.models import imagenet, vgg16
from hpax.nn.efficientnet import Block
from hpax.nn.vgg import WIDTHS
from hpax.types import Array

Strategy = Literal["protein", "colours", "channels"]
Stages = Callable[[Any, Float[Array, "b s s 3"]], Mapping[str, Float[Array, "b d"]]]
"""Parameters, pictures → stage → features."""


def encoder(strategy: Strategy, *, side: int | None = None, weights: Path | None = None) -> Callable:
    """What turns prepared cells into stage → features; of "channels", those of each channel side by side.

    Args:
        strategy: what the network is shown.
        side: pixels that crops are resized to, such as 224, that the networks learnt at; None: as they are.
        weights: a file of VGG16's, as `hpax.models.vgg16` reads it; None: EfficientNet-Lite0.

    Raises:
        ModuleNotFoundError: the package with the weights of EfficientNet-Lite0 is not installed; it is named.
        FileNotFoundError: there is no such file.
        ValueError: an unknown strategy, or a file of other weights.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"the strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    variables: Any
    if weights is None:
        lite = imagenet.lite(0)
        stages, variables = functools.partial(_of_lite, lite.model), lite.variables
    else:
        vgg, variables = vgg16.load(weights)
        stages = functools.partial(_of_vgg, vgg)
    return on_devices(functools.partial(_encode, stages, strategy, side), variables)


def _encode(
    stages: Stages, strategy: Strategy, side: int | None, variables: Any, images: Float[Array, "b s s c"]
) -> dict[str, Float[Array, "b d"]]:
    if side is not None:
        images = jax.image.resize(images, (len(images), side, side, images.shape[-1]), "linear")
    parts = [stages(variables, picture) for picture in rendered(images, strategy)]
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


def _of_lite(model: nn.Module, variables: dict, picture: Float[Array, "b s s 3"]) -> dict[str, Float[Array, "b d"]]:
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


def _of_vgg(model: nn.Module, params: dict, picture: Float[Array, "b s s 3"]) -> dict[str, Float[Array, "b d"]]:
    """The maximum over space after the last convolution of each block."""
    layers: Any = model.apply({"params": params}, picture)
    return {f"block{block}": layers[f"block{block}_conv{len(widths)}"] for block, widths in enumerate(WIDTHS, start=1)}
