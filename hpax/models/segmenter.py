"""Cells and nuclei of a field by two trained networks.

from hpax import models
segmenter = models.Segmenter()
masks = segmenter(image, um_per_pixel=0.08)
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float32, UInt
from PIL import Image

import hpax
from hpax import atlas, files
from hpax.fields import Field, Masks
from hpax.images import percentile_normalise
from hpax.models.card import summary
from hpax.models.store import Network, load_network, path_of
from hpax.segment import classical
from hpax.segment.watershed import cells_from_maps
from hpax.tasks.segment import Segmentation

SHIPPED = ("segment-nuclei", "segment-cells")
"""The networks of the catalogue that find nuclei and cells."""

BUCKET = 128  # pixels; sides are padded to multiples, so that few shapes are compiled

Segment = Callable[[UInt[np.ndarray, "h w 4"], float], Masks]
"""Image and µm per pixel → masks."""

Maps = Float32[np.ndarray, "y x 2"]


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """Finds the cells of a field (atlas.CHANNELS) and their nuclei, as the networks and the watershed see them.

    Called as `hpax.segment.classical.segment` is. Fields are resized to the pixel size of the networks, looked at in
    tiles if they are large, and the masks brought back. Tiles overlap by twice `margin`, which is more than the light
    network sees around a pixel, so that its maps have no seams.

    Raises:
        ValueError: the networks learned at different pixel sizes, or a tile is no multiple of `BUCKET`, or a margin
            no multiple of the networks' strides or too large for it.
    """

    nuclei: Network = dataclasses.field(default_factory=lambda: load_network(SHIPPED[0]))
    cells: Network = dataclasses.field(default_factory=lambda: load_network(SHIPPED[1]))
    tile: int = 1024  # pixels of the networks; bounds the memory
    margin: int = 96  # pixels of the networks

    def __post_init__(self) -> None:
        if self.nuclei.um_per_pixel != self.cells.um_per_pixel:
            there = f"{self.nuclei.um_per_pixel} and {self.cells.um_per_pixel}"
            raise ValueError(f"both networks must have learned at one pixel size, got {there} µm; choose others")
        stride = max(self.nuclei.model.stride, self.cells.model.stride)
        if self.tile % BUCKET or BUCKET % stride or self.margin % stride or not 0 < 2 * self.margin < self.tile:
            told = f"tile {self.tile}, margin {self.margin} and stride {stride}"
            raise ValueError(f"a tile must be a multiple of {BUCKET}, these of the stride, and margins fit, got {told}")

    def __call__(self, image: UInt[np.ndarray, "h w 4"], um_per_pixel: float) -> Masks:
        """The masks of a field, 8 or 16 bits deep, of any size.

        Raises:
            ValueError: um_per_pixel is not positive, or the image has no pixels or not four channels.
        """
        nuclei, cells = self.maps(image, um_per_pixel)
        return cells_from_maps(nuclei, cells, self.nuclei.um_per_pixel).resized(image.shape[:2])

    def predict(self, field: Field) -> Masks:
        """The masks of a field."""
        return self(field.image, field.um_per_pixel)

    def maps(self, image: UInt[np.ndarray, "h w 4"], um_per_pixel: float) -> tuple[Maps, Maps]:
        """The probabilities of [border, object] of nuclei and of cells, at the pixel size of the networks."""
        if not um_per_pixel > 0:
            raise ValueError(f"um_per_pixel must be positive, got {um_per_pixel}; HPA fields have 0.08 at 2048 pixels")
        if image.ndim != 3 or image.shape[2] != len(atlas.CHANNELS) or not image.size:
            raise ValueError(f"a field must be (h, w, {len(atlas.CHANNELS)}), {atlas.CHANNELS}, got {image.shape}")
        names = dict.fromkeys((*self.nuclei.channels, *self.cells.channels))
        factor = um_per_pixel / self.nuclei.um_per_pixel
        seen = {name: _resized(percentile_normalise(image[..., atlas.CHANNELS.index(name)]), factor) for name in names}
        nuclei, cells = (
            self._tiled(predict, np.stack([seen[name] for name in network.channels], axis=-1))
            for network, predict in zip((self.nuclei, self.cells), self._networks, strict=True)
        )
        return nuclei, cells

    @functools.cached_property
    def _networks(self) -> tuple[Callable, Callable]:
        """Images → maps by each network, compiled once for each shape."""

        def compiled(network: Network) -> Callable:
            weights = jax.device_put((network.params, network.model_state))
            return functools.partial(jax.jit(Segmentation(network.model).predict), *weights)

        return compiled(self.nuclei), compiled(self.cells)

    def _tiled(self, predict: Callable, seen: Float32[np.ndarray, "y x c"]) -> Maps:
        height, width = seen.shape[:2]
        padded = np.pad(seen, ((0, -height % BUCKET), (0, -width % BUCKET), (0, 0)), mode="symmetric")
        maps = np.empty((*padded.shape[:2], 2), np.float32)
        for rows, columns in itertools.product(*(self._tiles(side) for side in padded.shape[:2])):
            (top, bottom, above), (left, right, before) = rows, columns
            found = np.asarray(predict(padded[None, top:bottom, left:right]))[0]
            maps[top + above : bottom, left + before : right] = found[above:, before:]
        return maps[:height, :width]

    def _tiles(self, side: int) -> Iterator[tuple[int, int, int]]:
        """Start and stop of each tile along a side, and how much of it is left to the tile before.

        The next tile overwrites the end of this one, up to the middle of what they share.
        """
        last = max(side - self.tile, 0)
        starts = [*range(0, last, self.tile - 2 * self.margin), last]
        for before, start in zip([None, *starts], starts, strict=False):
            shared = 0 if before is None else before + self.tile - start
            yield start, min(start + self.tile, side), shared // 2


@functools.cache
def by_name(kind: Literal["networks", "classical"], networks: tuple[str, ...] = SHIPPED) -> Segment:
    """What turns a field into masks, made once in a process: two networks, or thresholds and watersheds.

    Raises:
        ValueError, FileNotFoundError: a network is unknown, not there, or damaged.
    """
    if kind == "classical":
        return classical.segment
    nuclei, cells = map(load_network, networks)
    return Segmenter(nuclei, cells)


def content_name(kind: Literal["networks", "classical"], networks: tuple[str, ...] = SHIPPED) -> str:
    """A name for what finds the cells, which changes with the content of the networks' files."""
    if kind == "classical":
        return f"classical-{hpax.__version__}"
    return f"networks-{files.digest(*map(path_of, networks))}"


def described(kind: Literal["networks", "classical"], networks: tuple[str, ...] = SHIPPED) -> list[tuple[str, str]]:
    """What finds the cells, and what the cards of networks say of them: name and text of each."""
    if kind == "classical":
        return [("classical", "Thresholds and watersheds; nothing was learnt.")]
    return [(str(name), summary(load_network(name).card) or "nothing") for name in networks]


def _resized(channel: Float32[np.ndarray, "h w"], factor: float) -> Float32[np.ndarray, "y x"]:
    """A channel at `factor` times its size, averaged where that is smaller."""
    height, width = (max(1, round(side * factor)) for side in channel.shape)
    if (height, width) == channel.shape:
        return channel
    return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
