"""EfficientNet (Tan & Le 2019) and its lighter kin, EfficientNet-Lite: one network, scaled in width and in depth."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.nn.conv import glorot_uniform
from hpax.nn.depthwise import Depthwise
from hpax.nn.network import Mode, Network
from hpax.types import Array


class Shape(NamedTuple):
    """What a block is made of."""

    width: int  # channels after it
    expansion: int  # channels within, as multiples of those before it
    size: int  # of the depthwise kernel
    stride: int
    drop: float  # how often training leaves the block out where it is residual
    lite: bool


class EfficientNet(Network):
    """B0 by default, `SIZES` has the others. Its numbers are those of keras.applications, for any number of channels.

    Strided convolutions are padded as TensorFlow's, so images may have sides of any length. The lite network sees
    255 as 1 and 0 as −127/128, as its published weights did.

    Raises:
        ValueError: the options describe stages of different number.
    """

    width: float = 1.0  # times as many channels as B0
    depth: float = 1.0  # times as many blocks as B0
    lite: bool = False  # ReLU6 for swish, no squeeze-and-excitation; stem, top and first and last depth as B0's
    stem: int = 32  # channels at half the image's resolution
    top: int = 1280  # channels of the last map
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)  # of each stage
    depths: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)  # blocks
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    sizes: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)  # of a stage's first block
    drop: float = 0.2  # stochastic depth: how often training leaves out a residual block, rising to this from 0

    @property
    def stride(self) -> int:
        """The pixels between two places of the last map."""
        return 2 * math.prod(self.strides)

    def _forward(self, images: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        def activated(x: Array, name: str) -> Array:
            return activation(self.lite)(mode.norm(x, f"{name}_norm"))

        x = (255 * images - 127) / 128 if self.lite else images
        stem, top = (self.stem, self.top) if self.lite else (self._scaled(self.stem), self._scaled(self.top))
        convolution = partial(nn.Conv, use_bias=False, kernel_init=glorot_uniform, dtype=x.dtype)
        x = activated(convolution(stem, (3, 3), 2, name="stem")(x), "stem")
        for name, shape in self.blocks():
            x = mode.part(Block, x, shape, name=name)
        return activated(nn.Dense(top, use_bias=False, kernel_init=glorot_uniform, dtype=x.dtype, name="top")(x), "top")

    def blocks(self) -> Iterator[tuple[str, Shape]]:
        """The blocks' names, as Keras's, and their shapes."""
        stages = self.widths, self.expansions, self.sizes, self.strides
        entries = [len(option) for option in (self.depths, *stages)]
        if len(set(entries)) > 1:
            raise ValueError(f"the options must have an entry for each stage, got {entries} entries")
        depths, done = self._depths(), 0
        for stage, (depth, width, expansion, size, stride) in enumerate(zip(depths, *stages, strict=True), 1):
            for place in range(depth):
                drop = self.drop * done / sum(depths)
                step = 1 if place else stride
                yield (
                    f"block{stage}{_letters(place)}",
                    Shape(self._scaled(width), expansion, size, step, drop, self.lite),
                )
                done += 1

    def _depths(self) -> list[int]:
        last = len(self.depths) - 1
        kept = (0, last) if self.lite else ()
        return [depth if i in kept else math.ceil(depth * self.depth) for i, depth in enumerate(self.depths)]

    def _scaled(self, channels: int) -> int:
        """The nearest multiple of 8 to what the width makes of it, that is not less by a tenth."""
        wanted = channels * self.width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded


class Block(Network):
    """Widens by a 1×1 convolution, mixes each channel by a depthwise one, weighs the channels, and narrows again.

    Where the image keeps its size and number of channels, the block is residual.
    """

    shape: Shape

    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> Float[Array, "b _ _ k"]:
        shape, before = self.shape, x
        act = activation(shape.lite)
        pointwise = partial(nn.Dense, use_bias=False, kernel_init=glorot_uniform, dtype=x.dtype)
        if shape.expansion > 1:
            x = act(mode.norm(pointwise(shape.expansion * x.shape[-1], name="expand")(x), "expand_norm"))
        x = act(mode.norm(Depthwise(shape.size, shape.stride, name="depthwise")(x), "depthwise_norm"))
        if not shape.lite:
            weight = partial(nn.Dense, kernel_init=glorot_uniform)
            squeezed = act(weight(max(1, before.shape[-1] // 4), name="squeeze")(x.mean((1, 2), dtype=jnp.float32)))
            excited = nn.sigmoid(weight(x.shape[-1], name="excite")(squeezed))
            x = (x * excited[:, None, None]).astype(x.dtype)
        x = mode.norm(pointwise(shape.width, name="project")(x), "project_norm")
        if x.shape != before.shape:
            return x
        return before + nn.Dropout(shape.drop, broadcast_dims=(1, 2, 3))(x, deterministic=not mode.train)


def activation(lite: bool) -> Callable[[Array], Array]:
    """ReLU6 or swish."""
    return jax.nn.relu6 if lite else jax.nn.swish


def _letters(place: int) -> str:
    return chr(ord("a") + place)


SIZES: dict[str, dict[str, Any]] = {
    "b0": {},
    "b1": {"depth": 1.1},
    "b2": {"width": 1.1, "depth": 1.2},
    "b3": {"width": 1.2, "depth": 1.4},
    "b4": {"width": 1.4, "depth": 1.8},
    "b5": {"width": 1.6, "depth": 2.2},
    "b6": {"width": 1.8, "depth": 2.6},
    "b7": {"width": 2.0, "depth": 3.1},
    "lite0": {"lite": True},
    "lite1": {"lite": True, "depth": 1.1},
    "lite2": {"lite": True, "width": 1.1, "depth": 1.2},
    "tiny": {
        "stem": 16,
        "top": 128,
        "widths": (16, 24, 40, 64),
        "depths": (1, 1, 2, 2),
        "expansions": (1, 4, 4, 4),
        "sizes": (3, 3, 3, 3),
        "strides": (1, 2, 2, 2),
    },
}
"""What distinguishes each size from B0: the published ones, and a tiny one for CPUs."""
