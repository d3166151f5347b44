"""Squares cut out of images at any place, size and angle, and light spread over planes, compiled.

Pure functions of one image, for a batch by `vmap`: the numbers of `hpax.data.image_batches.square`, of SciPy's
`gaussian_filter` and of Pillow's `resize`, but for rounding. Beyond the edge of an image lies its mirror image.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt, UInt8
from PIL import Image

from hpax.types import Array

COARSE = 8
"""Pixels along each side that are one where light is spread far."""

FARTHEST = 0.16
"""Of a side: the standard deviation that `spread` takes at most."""


def window(
    image: UInt8[Array, "h w c"],
    extent: Int[Array, "2"],
    corner: Int[Array, "2"],
    turns: Bool[Array, "3"],
    *,
    size: int,
) -> UInt8[Array, "{size} {size} c"]:
    """The pixels from `corner` (y, x) on, turned by `turns` (`ops.mix.turned`): no pixel changes, each is one of them.

    Of `image` the first `extent` (h, w) pixels count; what lies below and right of them is padding.
    """
    rows, columns = _turned_grid(turns, size)
    return _within(image, extent, corner[0] + rows, corner[1] + columns)


def square(
    image: UInt8[Array, "h w c"],
    extent: Int[Array, "2"],
    middle: Float[Array, "2"],
    zoom: Float[Array, ""],
    angle: Float[Array, ""],
    turns: Bool[Array, "3"],
    *,
    size: int,
) -> UInt8[Array, "{size} {size} c"]:
    """The square of `zoom` times `size` pixels around `middle` (y, x), turned by `angle` (radians), at `size` pixels.

    Then turned by `turns`, as `window` is. Bilinear and cut to whole levels, as Pillow does; where a level is whole but
    for rounding, it may be the one below. For a `zoom` near 1, as it interpolates and does not average.
    """
    down, right = (place - (size - 1) / 2 for place in _turned_grid(turns, size))
    cos, sin = zoom * jnp.cos(angle), zoom * jnp.sin(angle)
    y = middle[0] + sin * right + cos * down - 0.5
    x = middle[1] + cos * right - sin * down - 0.5
    top, left = jnp.floor(y), jnp.floor(x)
    share_y, share_x = (y - top)[..., None], (x - left)[..., None]
    row, column = top.astype(jnp.int32), left.astype(jnp.int32)
    lines = []
    for line in (row, row + 1):
        near, far = (_within(image, extent, line, place).astype(jnp.float32) for place in (column, column + 1))
        lines.append(near + (far - near) * share_x)
    return jnp.floor(lines[0] + (lines[1] - lines[0]) * share_y).astype(jnp.uint8)


def _turned_grid(turns: Bool[Array, "3"], size: int) -> tuple[Int[Array, "s s"], Int[Array, "s s"]]:
    """Row and column before the turn of every pixel of a square after it."""
    rows, columns = jnp.indices((size, size), jnp.int32)
    return before_turn(rows, columns, turns, extent=(size, size))


def before_turn(
    rows: Int[Array, "*s"],
    columns: Int[Array, "*s"],
    turns: Bool[Array, "3"],
    *,
    extent: tuple[int | Int[Array, ""], int | Int[Array, ""]],
) -> tuple[Int[Array, "*s"], Int[Array, "*s"]]:
    """Row and column, before a turn (`ops.mix.turned`), of pixels of an image that has `extent` (h, w) after it."""
    transposed, upside_down, mirrored = turns
    rows = jnp.where(upside_down, extent[0] - 1 - rows, rows)
    columns = jnp.where(mirrored, extent[1] - 1 - columns, columns)
    return jnp.where(transposed, columns, rows), jnp.where(transposed, rows, columns)


def pixels(image: UInt[Array, "h w c"], rows: Int[Array, "*s"], columns: Int[Array, "*s"]) -> UInt[Array, "*s c"]:
    """The pixels of an image at rows and columns; whatever pixel where these lie outside."""
    return jnp.take(image.reshape(-1, image.shape[-1]), rows * image.shape[1] + columns, axis=0, mode="clip")


def _within(
    image: UInt8[Array, "h w c"], extent: Int[Array, "2"], rows: Int[Array, "*s"], columns: Int[Array, "*s"]
) -> UInt8[Array, "*s c"]:
    return pixels(image, _mirrored(rows, extent[0]), _mirrored(columns, extent[1]))


def _mirrored(places: Int[Array, "*s"], extent: Int[Array, ""]) -> Int[Array, "*s"]:
    """Where in an image that is mirrored at its edges, again and again, places are."""
    folded = places % (2 * extent)
    return jnp.minimum(folded, 2 * extent - 1 - folded)


def gaussian(sigma: Float[Array, " c"], n: int, *, largest: float) -> Float[Array, "c {n} {n}"]:
    """Matrices that blur n pixels by standard deviations of `sigma` pixels, `largest` at most; 0 blurs nothing.

    Cut off at four standard deviations, as SciPy does.
    """
    radius = jnp.floor(4 * sigma + 0.5)[:, None, None]
    steep = 0.5 / jnp.maximum(sigma, 1e-6)[:, None, None] ** 2
    here, there = np.indices((n, n), np.float32)
    blocks = math.ceil(int(4 * largest + 0.5) / n)  # mirror images on each side that are reached
    total = jnp.zeros((len(sigma), n, n))
    for block in range(-blocks, blocks + 1):
        apart = block * n + (n - 1 - there if block % 2 else there) - here
        total += jnp.where(jnp.abs(apart) <= radius, jnp.exp(-steep * apart**2), 0)
    return total / total.sum(-1, keepdims=True)


def blurred(planes: Float[Array, "s s c"], sigma: Float[Array, " c"], *, largest: float) -> Float[Array, "s s c"]:
    """Each plane blurred by a Gaussian of its own `sigma` (pixels, `largest` at most), as SciPy's `gaussian_filter`."""
    return _both_ways(gaussian(sigma, len(planes), largest=largest), planes)


def spread(planes: Float[Array, "s s c"], reach: Float[Array, " c"]) -> Float[Array, "s s c"]:
    """Light from far out of focus: a Gaussian of `reach` pixels of each plane, computed at an eighth of the size.

    `reach` is at most `FARTHEST` of the side.
    """
    side = len(planes)
    coarsely, finely = _resizing(side)
    coarse = _both_ways(jnp.broadcast_to(coarsely, (len(reach), *coarsely.shape)), planes)
    blurring = gaussian(reach / COARSE, len(coarse), largest=FARTHEST * side / COARSE)
    return _both_ways(jnp.matmul(finely, blurring, precision=jax.lax.Precision.HIGHEST), coarse)


def _both_ways(matrices: Float[Array, "c n s"], planes: Float[Array, "s s c"]) -> Float[Array, "n n c"]:
    """Each plane with its matrix applied to its columns and its rows."""
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return exact("cij,kjc->kic", matrices, exact("cij,jkc->ikc", matrices, planes))


@functools.cache
def _resizing(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The matrices by which Pillow makes `side` pixels an eighth as many, and these `side` again."""
    few = max(1, side // COARSE)
    kinds = ((side, few, Image.Resampling.BOX), (few, side, Image.Resampling.BILINEAR))
    fewer, more = (
        np.asarray(Image.fromarray(np.eye(before, dtype=np.float32)).resize((before, after), kind))
        for before, after, kind in kinds
    )
    return fewer, more
