"""Networks of Flax's own layers and untrained weights: what ours are held against."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from hpax.nn import inpainter
from hpax.types import Array


class PlainEncoder(nn.Module):
    """`hpax.nn.inpainter.Encoder` of Flax's own layers."""

    widths: Sequence[int]
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h4 w4 k"]:
        """The code of each image."""
        for layer, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
            x = nn.BatchNorm(use_running_average=not train, momentum=0.99, epsilon=1e-3, dtype=self.dtype)(x)
            x = nn.max_pool(x, (2, 2), (2, 2)) if layer in inpainter.POOLED else x
        return x


class PlainInpainter(nn.Module):
    """`hpax.nn.inpainter.Inpainter` of Flax's own layers."""

    width: float
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, source: Array, markers: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        """The painted protein; padding is not masked here."""
        told = PlainEncoder(scaled(inpainter.SOURCE_WIDTHS, self.width), self.dtype)(source, train)
        seen = PlainEncoder(scaled(inpainter.MARKER_WIDTHS, self.width), self.dtype)(markers, train)
        x = jax.numpy.concatenate([told, seen], axis=-1)
        for group, widths in enumerate(inpainter.DECODER_WIDTHS):
            x = x.repeat(2, axis=1).repeat(2, axis=2) if group else x
            for width in scaled(widths, self.width):
                x = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype)(x))
        return nn.Conv(1, (1, 1))(x)


def scaled(widths: Sequence[int], factor: float) -> list[int]:
    """Channels of layers in a network so many times as wide."""
    return [max(1, round(factor * width)) for width in widths]


def drawn_weights(shapes: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """Weights of an untrained network that keep the size of its signal, and statistics that are not trivial."""
    random = np.random.default_rng(seed)

    def draw(path: Sequence[Any], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            return random.standard_normal(leaf.shape, np.float32) * np.float32((2 / np.prod(leaf.shape[:-1])) ** 0.5)
        low, high = (0.5, 1.5) if path[-1].key == "var" else (-0.2, 0.2)
        return random.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def hold_alike(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, tolerance: float = 1e-3) -> None:
    """Raises a ValueError if features differ by more than `tolerance` of the largest."""
    largest = np.max([np.abs(each).max(initial=0) for each in ours])
    apart = np.max([np.abs(one - other).max(initial=0) for one, other in zip(ours, theirs, strict=True)]) / largest
    if not apart <= tolerance:
        raise ValueError(f"networks of the same weights must agree to {tolerance}, got {apart:.2g}; do not time them")
