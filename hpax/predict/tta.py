"""Test-time augmentation: predictions averaged over turned, mirrored and resized images, their maps turned back.

predict = tta.of_cells(functools.partial(jax.jit(task.predict), params, model_state))
probabilities = predict(crops)
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Num, UInt8

from hpax.types import Array

Images = Float[Array, "b h w c"]
PredictCells = Callable[[Images], Float[Array, "b n"]]
"""Images → probabilities, as `tasks.classify.Classification.predict`."""

PredictFields = Callable[[Images], tuple[Float[Array, "b n"], Float[Array, "b y x n"]]]
"""Images → probabilities and maps of logits, as `tasks.localize.Localization.predict`."""


class Turn(NamedTuple):
    """Quarter turns, after mirroring."""

    quarters: int = 0
    mirrored: bool = False

    def __call__(self, images: Images | UInt8[np.ndarray, "b h w c"]) -> Num[np.ndarray, "b y x c"]:
        """Turned images; sides swap by an odd number of quarters."""
        return np.rot90(images[:, :, ::-1] if self.mirrored else images, self.quarters, (1, 2))

    def back(self, maps: Images) -> Float[np.ndarray, "b y x c"]:
        """The inverse."""
        turned = np.rot90(maps, -self.quarters, (1, 2))
        return turned[:, :, ::-1] if self.mirrored else turned


ALL = tuple(Turn(quarters, mirrored) for mirrored, quarters in itertools.product((False, True), range(4)))
"""The eight symmetries of a square; the first leaves images as they are, the next three turn them."""


def check(views: int) -> None:
    """A ValueError unless the first so many of `ALL` are evenly spread: 1, 2, the 4 quarter turns, or all 8."""
    if views not in (1, 2, 4, len(ALL)):
        raise ValueError(
            f"tta must be 1, 2, 4 or {len(ALL)} views, got {views}; all flips and rotations are {len(ALL)}"
        )


def of_cells(predict: PredictCells, *, turns: Sequence[Turn] = ALL, scales: Sequence[float] = (1.0,)) -> PredictCells:
    """`predict`, averaged over all turns at all scales of the images."""

    def averaged(images: Images) -> Float[np.ndarray, "b n"]:
        return _mean([np.asarray(predict(view)) for _, view in _views(images, turns, scales)])

    return averaged


def of_fields(
    predict: PredictFields, *, turns: Sequence[Turn] = ALL, scales: Sequence[float] = (1.0,)
) -> PredictFields:
    """`predict`, its probabilities and its maps averaged over all turns at all scales of the images.

    The maps have the shape of those of the first turn and scale.
    """

    def averaged(images: Images) -> tuple[Float[np.ndarray, "b n"], Float[np.ndarray, "b y x n"]]:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for turn, view in _views(images, turns, scales):
            probabilities, maps = map(np.asarray, predict(view))
            maps = turn.back(maps)
            found.append((probabilities, maps if not found else _resized(maps, found[0][1].shape[1:3])))
        probabilities, maps = map(_mean, zip(*found, strict=True))
        return probabilities, maps

    return averaged


def _views(images: Images, turns: Sequence[Turn], scales: Sequence[float]) -> Iterator[tuple[Turn, Images]]:
    images = np.asarray(images)
    for scale in scales:
        height, width = (max(1, round(scale * side)) for side in images.shape[1:3])
        sized = _resized(images, (height, width))
        yield from ((turn, turn(sized)) for turn in turns)


def _mean(predictions: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(predictions, axis=0)


def _resized(images: Images, shape: tuple[int, int]) -> Float[np.ndarray, "b y x c"]:
    """Images at `shape` (h, w), bilinear, averaged where that is smaller."""
    if images.shape[1:3] == tuple(shape):
        return np.asarray(images)
    return np.asarray(jax.image.resize(images, (len(images), *shape, images.shape[-1]), "linear"))
