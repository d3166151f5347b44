"""Convolutions that run and train fast on CPUs, halved and doubled images included.

XLA's own convolution is right on accelerators. On CPUs its gradient by the kernel, and its forward pass on images of
few channels or smaller than the kernel, run at a fraction of what a matrix product reaches; here they are matrix
products there.
"""

import math
import operator
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array

_FEW = 4  # input channels up to which all nine shifts of an image at once are cheap
_LOT = 64  # channels from which XLA's convolution is at its best
_THIN = 16  # channels from which an image and its gradient each share the shifts
_CHUNK = 4 << 20  # bytes of shifted images that a step of the gradient holds, about a core's cache


class Conv3x3(nn.Module):
    """Same-padded 3×3 convolution; parameters as those of `nn.Conv(features, (3, 3))`, and equal numbers."""

    features: int
    doubled: bool = False  # convolve the image at twice its size, every pixel as 2×2

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 k"]:
        """The images' features, as many as `features`."""
        kernel = self.param("kernel", glorot_uniform, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        convolved = correlate_doubled(x, kernel) if self.doubled else correlate(x, kernel.astype(x.dtype))
        return biased(convolved, bias)


class Conv1x1(nn.Module):
    """1×1 convolution; parameters and numbers are those of `nn.Conv(features, (1, 1))`."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """The images' features, as many as `features`."""
        kernel = self.param("kernel", glorot_uniform, (1, 1, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return biased(_native(x, kernel.astype(x.dtype), (0, 0)), bias)


def biased(x: Float[Array, "b h w k"], bias: Float[Array, " k"]) -> Float[Array, "b h w k"]:
    """`x + bias`, added in the bias's precision: its gradient is a sum over all pixels, too long for bfloat16."""
    return (x.astype(bias.dtype) + bias).astype(x.dtype)


def glorot_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = "float32"
) -> Float[Array, "..."]:
    """Keras's default kernel. Drawn flat: XLA compiles that three times faster than a draw in four axes."""
    flat = math.prod(shape)
    limit = math.sqrt(6 * math.prod(shape[-2:]) / (flat * sum(shape[-2:])))
    return jax.random.uniform(key, (flat,), dtype, -limit, limit).reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def correlate(
    x: Float[Array, "b h w c"], kernel: Float[Array, "n m c k"], before: tuple[int, int] = (1, 1)
) -> Float[Array, "b h w k"]:
    """Slides a small kernel over each image, zeros beyond its border. For reverse-mode differentiation only.

    The kernel of a pixel starts `before` pixels above and left of it; (1, 1) is the usual place of a 3×3 kernel.
    """
    return _correlated(x, kernel, before)


def _correlated(x: Array, kernel: Array, before: tuple[int, int]) -> Array:
    if not _swifter_by_shifts(x, kernel):
        return _native(x, kernel, before)
    shifted = partial(_by_shifts, before=before)
    return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=partial(_native, before=before))


def _swifter_by_shifts(x: Array, kernel: Array) -> bool:
    """Whether CPUs convolve faster by a matrix product: of few channels, by one pixel, or by more than the image."""
    sides, size = x.shape[1:3], kernel.shape[:2]
    return x.shape[-1] <= _FEW or size == (1, 1) or any(map(operator.lt, sides, size))


def _forward(x: Array, kernel: Array, before: tuple[int, int]) -> tuple[Array, tuple[Array, Array]]:
    return correlate(x, kernel, before), (x, kernel)


def _backward(before: tuple[int, int], saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    by_image = jax.linear_transpose(lambda x: _correlated(x, kernel, before), x)(g)[0]
    matmul = partial(_by_kernel, size=kernel.shape[:2], before=before)
    native = partial(_native_by_kernel, kernel=jax.ShapeDtypeStruct(kernel.shape, kernel.dtype), before=before)
    return by_image, jax.lax.platform_dependent(x, g, cpu=matmul, default=native)


correlate.defvjp(_forward, _backward)


def correlate_doubled(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c k"]) -> Float[Array, "b 2*h 2*w k"]:
    """Correlates the image whose every pixel is 2×2 pixels of `x` with 3×3 kernels, in four ninths of the work.

    A pixel of the doubled image sees only 2×2 pixels of `x`; which, and with what sums of weights, depends on whether
    its row and column are even or odd.
    """
    small = jnp.einsum("pai,qbj,ijck->pqabck", _SEEN, _SEEN, kernel).astype(x.dtype)
    return _of_parities(x, small)


@jax.custom_vjp
def _of_parities(x: Float[Array, "b h w c"], small: Float[Array, "2 2 2 2 c k"]) -> Float[Array, "b 2*h 2*w k"]:
    """The doubled image of which the pixels of every parity are what a kernel of their own sees of `x`."""
    return jax.lax.platform_dependent(x, small, cpu=_one_by_one, default=_together)


def _one_by_one(x: Array, small: Array) -> Array:
    parts = [[correlate(x, small[p, q], (1 - p, 1 - q)) for q in (0, 1)] for p in (0, 1)]
    return _interleaved(parts)


def _together(x: Array, small: Array) -> Array:
    """One convolution with an even border: accelerators like few and wide ones, and no zeros on one side only."""
    (h, w), k = x.shape[1:3], small.shape[-1]
    kernel = jnp.moveaxis(small, (0, 1), (3, 4)).reshape(2, 2, x.shape[-1], 4 * k)
    layout = ("NHWC", "HWIO", "NHWC")
    border = jax.lax.conv_general_dilated(jnp.asarray(x), kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=layout)
    every = border.reshape(len(x), h + 1, w + 1, 2, 2, k)
    return _interleaved([[every[:, p : p + h, q : q + w, p, q] for q in (0, 1)] for p in (0, 1)])


def _interleaved(parts: list[list[Array]]) -> Array:
    """The image whose pixels of parities p and q are `parts[p][q]`."""
    b, h, w, k = parts[0][0].shape
    rows = [jnp.stack(part, axis=3) for part in parts]  # b h w 2 k
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, k)


def _forward_parities(x: Array, small: Array) -> tuple[Array, tuple[Array, Array]]:
    return _of_parities(x, small), (x, small)


def _backward_parities(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def gradient(way: Callable[[Array, Array], Array], x: Array, small: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(way, x, small)[1](g)

    ways = {"cpu": partial(gradient, _one_by_one), "default": partial(gradient, _together)}
    return jax.lax.platform_dependent(*saved, g, **ways)


_of_parities.defvjp(_forward_parities, _backward_parities)

_SEEN = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
"""Which taps of a 3-tap kernel fall on which of 2 pixels, at even and at odd places of a doubled line."""


def _native(x: Array, kernel: Array, before: tuple[int, int]) -> Array:
    padding, layout = _padding(kernel.shape[:2], before), ("NHWC", "HWIO", "NHWC")
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


def _native_by_kernel(x: Array, g: Array, kernel: jax.ShapeDtypeStruct, before: tuple[int, int]) -> Array:
    return jax.linear_transpose(lambda kernel: _native(x, kernel, before), kernel)(g)[0]


def _by_shifts(x: Array, kernel: Array, before: tuple[int, int]) -> Array:
    size = kernel.shape[:2]
    shifts = _shifts(x, size, _padding(size, before))
    return jnp.einsum("bhwi,ik->bhwk", shifts, kernel.reshape(-1, kernel.shape[-1]))


def _by_kernel(x: Array, g: Array, size: tuple[int, ...], before: tuple[int, int]) -> Array:
    """The gradient by a kernel of `size`: one matrix product for a few images at a time."""
    c, k = x.shape[-1], g.shape[-1]
    thin = min(c, k) < _THIN
    product = partial(_product if thin else _shared_product, size=size, before=before)
    channels = (
        math.prod(size) * min(c, k) if thin else (size[1] * c + size[0] * k) / 4
    )  # wide products like longer chunks
    chunk = _chunk(len(x), math.prod(x.shape[1:3]) * channels * x.dtype.itemsize)
    parts = [each.reshape(-1, chunk, *each.shape[1:]) for each in (x, g)]
    if len(parts[0]) == 1:
        return product(x, g)
    zero = jnp.zeros((*size, c, k), jnp.promote_types(x.dtype, jnp.float32))
    return jax.lax.scan(lambda total, part: (total + product(*part), None), zero, parts)[0].astype(x.dtype)


def _shared_product(x: Array, g: Array, size: tuple[int, ...], before: tuple[int, int]) -> Array:
    """Shifts the image by the kernel's columns and the gradient back by its rows: few copies, and a wide product."""
    rows, columns = _padding(size, before)
    along = _shifts(x, (1, size[1]), [(0, 0), columns])
    back = _shifts(g, (size[0], 1), [rows[::-1], (0, 0)])
    product = _inner(along, back).reshape(size[1], x.shape[-1], size[0], g.shape[-1])
    return product.transpose(2, 0, 1, 3)[::-1]


def _product(x: Array, g: Array, size: tuple[int, ...], before: tuple[int, int]) -> Array:
    """Shifts whichever has fewer channels: the image against the gradient, or the gradient back against the image."""
    c, k, padding = x.shape[-1], g.shape[-1], _padding(size, before)
    if c <= k:
        return _inner(_shifts(x, size, padding), g).reshape(*size, c, k)
    back = _shifts(g, size, [pair[::-1] for pair in padding])
    return _inner(x, back).reshape(c, *size, k)[:, ::-1, ::-1].transpose(1, 2, 0, 3)


def _inner(a: Float[Array, "b h w i"], b: Float[Array, "b h w j"]) -> Float[Array, "i j"]:
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def _padding(size: tuple[int, ...], before: tuple[int, int]) -> list[tuple[int, int]]:
    return [(lead, extent - 1 - lead) for extent, lead in zip(size, before, strict=True)]


def _shifts(x: Array, size: tuple[int, ...], padding: list[tuple[int, int]]) -> Float[Array, "b h w nmc"]:
    """What a kernel of `size` sees from each pixel, zeros beyond the border, row by row."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(size[0]) for j in range(size[1])], axis=-1)


def _chunk(images: int, size: float) -> int:
    """The largest divisor of `images` whose share of bytes, `size` each, stays within bounds; 1 if none does."""
    return max(n for n in range(1, images + 1) if images % n == 0 and (n == 1 or n * size <= _CHUNK))


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """The maximum of every 2×2 pixels. Sides are even; equal maxima share the gradient."""
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "n m i k"],
    stride: int = 1,
    groups: int = 1,
    *,
    padded: bool = True,
) -> Float[Array, "b _ _ k"]:
    """A convolution padded by half the kernel, or not at all, in groups of channels. For reverse-mode differentiation.

    XLA's grouped convolution is slow on CPUs, its gradient far more so: there groups are joined until they have 64
    channels or so, and each lot is convolved over all of its channels, with zeros between groups.
    """
    half = tuple((side - 1) // 2 * padded for side in kernel.shape[:2])
    if kernel.shape[:2] == (1, 1):
        x, stride = x[:, ::stride, ::stride], 1
    if groups == stride == 1 and (padded or kernel.shape[:2] == (1, 1)):
        return correlate(x, kernel, half)
    native = partial(
        jax.lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=[(each, each) for each in half],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    if groups == 1:
        return native(jnp.asarray(x), jnp.asarray(kernel))
    lots = partial(_by_lots, stride=stride, groups=groups, padded=padded)
    return jax.lax.platform_dependent(x, kernel, cpu=lots, default=native)


def convolved(
    module: nn.Module,
    name: str,
    x: Float[Array, "b h w c"],
    features: int,
    size: tuple[int, int] = (1, 1),
    *,
    stride: int = 1,
    groups: int = 1,
    padded: bool = True,
) -> Float[Array, "b _ _ {features}"]:
    """`convolve` by the kernel that is the parameter `name` of `module`, of `size` rows and columns; without bias."""
    kernel = module.param(name, glorot_uniform, (*size, x.shape[-1] // groups, features))
    return convolve(x, kernel.astype(x.dtype), stride, groups, padded=padded)


def _by_lots(x: Array, kernel: Array, stride: int, groups: int, padded: bool) -> Array:
    n = max(n for n in range(1, groups + 1) if groups % n == 0 and (n == 1 or x.shape[-1] >= n * _LOT))
    lots = zip(jnp.split(x, n, axis=-1), jnp.split(kernel, n, axis=-1), strict=True)
    parts = [convolve(lot, ungrouped(part, groups // n), stride, padded=padded) for lot, part in lots]
    return jnp.concatenate(parts, axis=-1)


def ungrouped(kernel: Float[Array, "n m i k"], groups: int) -> Float[Array, "n m c k"]:
    """The kernel over all channels, c = groups × i, that is 0 from the channels of one group to another."""
    n, m, i, k = kernel.shape
    parts = kernel.reshape(n, m, i, groups, k // groups)
    return jnp.einsum("nmigk,hg->nmhigk", parts, jnp.eye(groups, dtype=kernel.dtype)).reshape(n, m, groups * i, k)
