"""Smooth random textures over the canvas, drawn when first asked for and the same whatever the order."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from hpax.simulate.streams import stream


class Textures:
    """(name, scale in µm) → noise of mean 0 and variance 1 over a canvas, correlated over about `scale`."""

    def __init__(self, shape: tuple[int, int], um_per_pixel: float, *keys: int | str):
        self._shape, self._um_per_pixel, self._keys = shape, um_per_pixel, keys
        self._drawn: dict[tuple[str, float], Float[np.ndarray, "h w"]] = {}

    def __call__(self, name: str, scale: float) -> Float[np.ndarray, "h w"]:
        """The noise `name` at `scale`; the same array whenever it is asked for."""
        if (name, scale) not in self._drawn:
            draw = stream(*self._keys, "texture", name, round(1000 * scale))
            self._drawn[name, scale] = smooth_noise(draw, self._shape, scale / self._um_per_pixel)
        return self._drawn[name, scale]


def smooth_noise(draw: np.random.Generator, shape: tuple[int, int], sigma: float) -> Float[np.ndarray, "h w"]:
    """Gaussian noise blurred by `sigma` pixels, standardised; coarse noise is drawn on a coarse grid."""
    coarse = max(1, int(sigma / 2))
    grid = tuple(-(-n // coarse) + 2 for n in shape)
    noise = ndimage.gaussian_filter(draw.standard_normal(grid), sigma / coarse, mode="wrap", truncate=3.0)
    noise = (noise - noise.mean()) / noise.std()
    if coarse == 1:
        return noise[: shape[0], : shape[1]]
    return enlarge(enlarge(noise, coarse).T, coarse).T[: shape[0], : shape[1]]


def enlarge(plane: np.ndarray, factor: int) -> np.ndarray:
    """Rows repeated `factor` times with linear interpolation between them."""
    share = (np.arange(factor) / factor)[None, :, None]
    between = plane[:-1, None] * (1 - share) + plane[1:, None] * share
    return between.reshape(-1, plane.shape[1])
