"""Maps of classes over an image: pooled into one answer, cut into tiles and put together, and made comparable."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hpax.types import Array


def gem(
    features: Float[Array, "b h w k"], power: float | Float[Array, ""], *, floor: float = 1e-6
) -> Float[Array, "b k"]:
    """Generalised mean over places: the average at power 1, the maximum as it grows; values count from `floor` up.

    Powers are taken of shares of the maximum, so that none of them overflows.
    """
    features = jnp.maximum(features, floor)
    highest = jax.lax.stop_gradient(features.max((1, 2), keepdims=True))
    return highest[:, 0, 0] * ((features / highest) ** power).mean((1, 2)) ** (1 / power)


def log_mean_exp(maps: Float[Array, "b h w n"], *, sharpness: float = 5.0) -> Float[Array, "b n"]:
    """A smooth maximum over places (Pinheiro & Collobert 2015), the sharper the higher above their mean."""
    places = maps.shape[1] * maps.shape[2]
    return (jax.nn.logsumexp(sharpness * maps, (1, 2)) - jnp.log(places)) / sharpness


def tiled(images: Float[Array, "b h w c"], tiles: int, *, multiple: int = 1) -> Float[Array, "b*{tiles}*{tiles} y x c"]:
    """Each image as `tiles` × `tiles` tiles, row by row, whose sides are multiples of `multiple`.

    Where the image does not fill them, its mirror image follows at the bottom and at the right.
    """
    b, h, w, c = images.shape
    y, x = (-(-side // (tiles * multiple)) * multiple for side in (h, w))
    images = jnp.pad(images, ((0, 0), (0, tiles * y - h), (0, tiles * x - w), (0, 0)), "symmetric")
    return images.reshape(b, tiles, y, tiles, x, c).swapaxes(2, 3).reshape(-1, y, x, c)


def merged(parts: Float[Array, "n y x c"], tiles: int, shape: tuple[int, ...]) -> Float[Array, "b h w c"]:
    """The inverse of `tiled`: maps of tiles put together and cut to `shape`.

    Maps of a network that loses places at the border of each tile do not reach `shape`; these are stretched to it.
    """
    _, y, x, c = parts.shape
    whole = parts.reshape(-1, tiles, tiles, y, x, c).swapaxes(2, 3).reshape(-1, tiles * y, tiles * x, c)
    if whole.shape[1] < shape[0] or whole.shape[2] < shape[1]:
        return jax.image.resize(whole, (len(whole), *shape, c), "linear")
    return whole[:, : shape[0], : shape[1]]


def normalised(maps: Float[Array, "b h w n"], *, floor: float = 1e-5) -> Float[Array, "b h w n"]:
    """The positive part of each map as a share of its maximum, in [0, 1); 0 everywhere if none of it is positive.

    As Puzzle-CAM's code does (Jo & Yu 2021), `floor` off the map and onto the maximum.
    """
    highest = jnp.maximum(maps.max((1, 2), keepdims=True), 0)
    return jnp.maximum(maps - floor, 0) / (highest + floor)


def cam_consistency(
    maps: Float[Array, "b h w n"], others: Float[Array, "b h w n"], labels: Float[Array, "b n"]
) -> Float[Array, " b"]:
    """The mean absolute difference of maps of one image, those of absent classes counted as none (Puzzle-CAM)."""
    return (jnp.abs(maps - others).mean((1, 2)) * labels).mean(-1)
