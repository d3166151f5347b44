"""A depthwise convolution that is fast on CPUs: each channel with a kernel of its own.

XLA's own is right on accelerators. On CPUs it is slow, its gradients far more so: there the sum is written out as one
multiplication and addition of whole images for each tap of the kernel.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array


class Depthwise(nn.Module):
    """A depthwise convolution without bias, padded as TensorFlow's "SAME" is.

    Its parameters and numbers are those of `nn.Conv(c, (size, size), stride, feature_group_count=c, use_bias=False)`.
    """

    size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """The images, every channel convolved."""
        kernel = self.param("kernel", fan_uniform, (self.size, self.size, 1, x.shape[-1]))
        return depthwise(x, kernel.astype(x.dtype), self.stride)


def fan_uniform(
    key: jax.Array, shape: tuple[int, int, int, int], dtype: jax.typing.DTypeLike = "float32"
) -> Float[Array, "n m 1 c"]:
    """Uniform numbers of variance 1 over the taps of a channel's kernel, so that the output varies as the input."""
    limit = math.sqrt(3 / math.prod(shape[:2]))
    return jax.random.uniform(key, (math.prod(shape),), dtype, -limit, limit).reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "n m 1 c"], stride: int = 1
) -> Float[Array, "b h2 w2 c"]:
    """Slides each channel's kernel over it, zeros beyond the border. For reverse-mode differentiation only."""
    native, by_taps = partial(_native, stride=stride), partial(_by_taps, stride=stride)
    return jax.lax.platform_dependent(x, kernel, cpu=by_taps, default=native)


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def native(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(_native, stride=stride), x, kernel)[1](g)

    def by_taps(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return _by_image(x.shape, kernel, g, stride), _by_kernel(x, kernel.shape[:2], g, stride)

    return jax.lax.platform_dependent(*saved, g, cpu=by_taps, default=native)


depthwise.defvjp(_forward, _backward)


def _native(x: Array, kernel: Array, stride: int) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        strides,
        "SAME",
        dimension_numbers=layout,
        feature_group_count=x.shape[-1],
    )


def _by_taps(x: Array, kernel: Array, stride: int) -> Array:
    sides = [-(-side // stride) for side in x.shape[1:3]]
    return _taps_summed(_phases(x, kernel.shape[:2], stride), kernel, sides, stride)


def _by_image(shape: tuple[int, ...], kernel: Array, g: Array, stride: int) -> Array:
    """The gradient by an image of `shape`: the turned kernel over the gradient, zeros between its pixels."""
    (n, m), sides = kernel.shape[:2], shape[1:3]
    edges = []
    for extent, side, (before, _) in zip((n, m), sides, _padding(sides, (n, m), stride), strict=True):
        spread = (-(-side // stride) - 1) * stride + 1
        edges.append((extent - 1 - before, side + before - spread, stride - 1))
    zero = jnp.zeros((), g.dtype)
    spread = jax.lax.optimization_barrier(jax.lax.pad(g, zero, [(0, 0, 0), *edges, (0, 0, 0)]))
    return _taps_summed([[spread]], kernel[::-1, ::-1], sides, 1)


def _by_kernel(x: Array, size: tuple[int, ...], g: Array, stride: int) -> Array:
    """The gradient by a kernel of `size`, image by image; a product with ones sums far faster than XLA's own sum."""
    ones = jnp.ones((1, math.prod(g.shape[1:3])), g.dtype)

    def add(total: jax.Array, image: tuple[list[list[Array]], Array]) -> tuple[jax.Array, None]:
        phases, g = image
        taps = [_tap(phases, i, j, g.shape[:2], stride) * g for i in range(size[0]) for j in range(size[1])]
        sums = [ones @ jax.lax.optimization_barrier(tap).reshape(-1, tap.shape[-1]) for tap in taps]
        return total + jnp.stack(sums), None

    zero = jnp.zeros((math.prod(size), 1, x.shape[-1]), jnp.promote_types(x.dtype, jnp.float32))
    return jax.lax.scan(add, zero, (_phases(x, size, stride), g))[0].reshape(*size, 1, -1).astype(x.dtype)


def _taps_summed(phases: list[list[Array]], kernel: Array, sides: Sequence[int], stride: int) -> Array:
    n, m = kernel.shape[:2]
    return jnp.asarray(sum(_tap(phases, i, j, sides, stride) * kernel[i, j, 0] for i in range(n) for j in range(m)))


def _tap(phases: list[list[Array]], i: int, j: int, sides: Sequence[int], stride: int) -> Array:
    """What the tap in row i and column j of a kernel sees from each of the `sides` places."""
    phase, top, left = phases[i % stride][j % stride], i // stride, j // stride
    return phase[..., top : top + sides[0], left : left + sides[1], :]


def _phases(x: Array, size: tuple[int, ...], stride: int) -> list[list[Array]]:
    """The padded images' rows and columns that leave each remainder by `stride`, laid out in memory one by one."""
    padded = jnp.pad(x, ((0, 0), *_padding(x.shape[1:3], size, stride), (0, 0)))
    apart = [[padded[:, i::stride, j::stride] for j in range(stride)] for i in range(stride)]
    return jax.lax.optimization_barrier(apart)


def _padding(sides: Sequence[int], size: tuple[int, ...], stride: int) -> list[tuple[int, int]]:
    """Zeros before and after each side, one more after where they are odd, as TensorFlow's."""
    whole = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(sides, size, strict=True)]
    return [(zeros // 2, zeros - zeros // 2) for zeros in whole]
