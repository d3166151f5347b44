"""What networks of images share: what they are called with, and how their parts come to know of it."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Float, PyTree

from hpax.nn.norm import BatchNorm
from hpax.types import Array


@dataclasses.dataclass(frozen=True)
class Mode:
    """What a network tells its parts: options of BatchNorm, which rows are real, and whether this is training."""

    axis_name: str | None
    momentum: float
    mask: Float[Array, " b"] | None
    train: bool

    def part(
        self, kind: type[nn.Module], x: Float[Array, "b h w c"], *sizes: Any, name: str, **options: Any
    ) -> PyTree[Float[Array, "b _ _ _"]]:
        """What a new `Network` or BatchNorm of that name, with these fields of its own, makes of `x`."""
        made = kind(*sizes, **options, axis_name=self.axis_name, momentum=self.momentum, name=name)
        return made(x, mask=self.mask, train=self.train)

    def norm(self, x: Float[Array, "b h w c"], name: str, **options: Any) -> Float[Array, "b h w c"]:
        """`x` after a BatchNorm of that name."""
        return self.part(BatchNorm, x, name=name, **options)


class Network(nn.Module, abc.ABC, kw_only=True):
    """A network of images, or a block of one; a subclass says what it makes of them (`_forward`)."""

    axis_name: str | None = None  # the mapped axis of data parallelism, for BatchNorm
    momentum: float = 0.99  # of BatchNorm's moving averages; lower it for runs of a few hundred steps
    dtype: jax.typing.DTypeLike | None = None  # what is computed in, such as bfloat16; None: that of the images

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> PyTree[Float[Array, "b _ _ _"]]:
        """What the network makes of images; where it leaves out parts by chance, it draws from the stream "dropout".

        Parameters, BatchNorm's statistics and the answer have the images' dtype, float32, whatever `dtype` is.

        Args:
            images: in [0, 1]; of a block, the map before it.
            mask: 1 for an example, 0 for padding, which BatchNorm leaves out.
            train: normalise by the batch instead of by the moving averages, and leave out parts by chance.
        """
        return in_dtype(self.dtype, self._forward, images, Mode(self.axis_name, self.momentum, mask, train))

    @abc.abstractmethod
    def _forward(self, x: Float[Array, "b h w c"], mode: Mode) -> PyTree[Float[Array, "b _ _ _"]]: ...


def in_dtype(
    dtype: jax.typing.DTypeLike | None, compute: Callable[..., Any], images: Float[Array, "b h w c"], *options: Any
) -> PyTree[Float[Array, "..."]]:
    """`compute(images, *options)` of images in `dtype`, its answer in theirs; None leaves both as they are."""
    if dtype is None:
        return compute(images, *options)
    answer = compute(images.astype(dtype), *options)
    return jax.tree.map(lambda each: each.astype(images.dtype), answer)
