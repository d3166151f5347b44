"""Features of single cells by a trained network: one that inpaints (Lu et al. 2019), or one that classifies cells.

encoder = Encoder.load("encoder.safetensors")
features = encoder.features(crops, layer="conv3")
by_labeller = Encoder.load("label-cells").features(crops_of_its_own, layer="penultimate")
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt, UInt8

from hpax import images as pixels
from hpax.data import preprocess
from hpax.fields import Field
from hpax.models.cell_crops import cell_crops
from hpax.models.store import INPAINTERS, Network, load_network
from hpax.nn.inpainter import LAYERS
from hpax.task import Task
from hpax.tasks.classify import Classification
from hpax.tasks.inpaint import PairedInpainting
from hpax.types import Array

PREPARE: Mapping[str | None, Callable[[Any], Any]] = {
    "human": preprocess.human,
    "yeast": preprocess.yeast,
    None: pixels.as_float,
}
"""How crops are made into what a network sees, by `Network.preprocessing`."""

KINDS = {
    **dict.fromkeys(INPAINTERS, LAYERS),
    "cell-net": ("penultimate",),
}
"""Architecture of a network that describes cells → its layers, the first one first."""

BATCH, CPU_BATCH = 256, 16
"""Cells that are looked at together."""

SIZE = 64
"""Pixels of the side of crops for an encoder that does not say."""


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """What a network knows of cells: of one that inpaints, layer by layer, the maximum over space of each channel.

    Of one that classifies cells (`CellClassifier`), the mean over space of what its last layer sees.

    Raises:
        ValueError: the network neither inpaints nor classifies cells.
    """

    network: Network
    batch: int = 0  # cells looked at together, on all local devices; 0: 16 on CPUs, which are fastest so, 256 elsewhere

    def __post_init__(self) -> None:
        if self.network.architecture not in KINDS:
            kinds, got = " or ".join(KINDS), self.network.architecture
            raise ValueError(f"an encoder must be an {kinds}, got a {got}; use hpax.load")

    @property
    def together(self) -> int:
        """Cells looked at together."""
        return self.batch or (CPU_BATCH if jax.default_backend() == "cpu" else BATCH)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that `features` knows, the first convolution first."""
        return KINDS[self.network.architecture]

    @property
    def masked(self) -> bool:
        """Whether crops must show their cell alone, black around it."""
        return self.network.masked

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that crops must have, in this order."""
        return self.network.channels

    @property
    def size(self) -> int | None:
        """Pixels of the side of the crops that it learnt from; None: not known."""
        return self.network.size

    def features(
        self, images: UInt[np.ndarray, "n s s c"], layer: str | None = None
    ) -> Float32[np.ndarray, "n d"] | dict[str, Float32[np.ndarray, "n d"]]:
        """The features of cells by one layer, or layer → features of all of them.

        Args:
            images: crops as the network's training had them, before any preprocessing: `channels`, of side `size`; the
                dtype's highest value is full scale.
            layer: one of `layers`; None for all.

        Raises:
            ValueError: crops of other channels or another side, or an unknown layer.
        """
        self._check(images, layer)
        wanted = self.layers if layer is None else (layer,)
        found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        for start in range(0, max(1, len(images)), self.together):  # no cells at all make one batch of padding
            part = self.prepare(images[start : start + self.together])
            padding = [(0, self.together - len(part)), (0, 0), (0, 0), (0, 0)]
            by_layer = self.encode(np.pad(part, padding))
            for name in wanted:
                found[name].append(np.asarray(by_layer[name], np.float32)[: len(part)])
        joined = {name: np.concatenate(parts) for name, parts in found.items()}
        return joined if layer is None else joined[layer]

    def crops(self, field: Field) -> UInt8[np.ndarray, "k s s c"]:
        """The cells of a field, by ascending index, as `features` takes them.

        Raises:
            ValueError: the field has no masks, or the network knows no pixel size of crops of fields.
        """
        if not self.network.um_per_pixel > 0:
            raise ValueError(f"the encoder must know its pixel size, got {self.network.um_per_pixel}; give it crops")
        return cell_crops(self.network, field, self.size or SIZE)

    def prepare(self, images: UInt[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n s s c"]:
        """Crops as the network sees them."""
        return np.asarray(PREPARE[self.network.preprocessing](images))

    def encode(self, images: Float[Array, "n s s c"]) -> Mapping[str, Float[Array, "n d"]]:
        """Layer → features of prepared cells; for `hpax.features.extract`."""
        return self._encode(images)

    def paint(self, source: Float[Array, "b s s c"], markers: Float[Array, "b s s m"]) -> Float[Array, "b s s 1"]:
        """The protein that the network expects in cells of structure `markers`, given prepared `source` cells of it.

        Raises:
            ValueError: the network does not inpaint.
        """
        if self.network.architecture not in INPAINTERS:
            raise ValueError(f"to paint, a network must inpaint, got a {self.network.architecture}; name another")
        return self._predict(self.network.params, self.network.model_state, source, markers)

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> pathlib.Path:
        """Writes the network to a .safetensors file and its card beside it; `half` keeps kernels as float16."""
        return self.network.save(path, half=half)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Encoder":
        """The encoder in a file that `save` wrote.

        Raises:
            ValueError: the file holds another kind of network, or none.
        """
        return cls(load_network(path))

    @functools.cached_property
    def _task(self) -> Task:
        inpaints = self.network.architecture in INPAINTERS
        return PairedInpainting(self.network.model) if inpaints else Classification(self.network.model)

    @functools.cached_property
    def _predict(self) -> Callable[..., Float[Array, "b s s 1"]]:
        return jax.jit(self._task.predict)

    @functools.cached_property
    def _encode(self) -> Callable[[Float[Array, "n s s c"]], Mapping[str, Float[Array, "n d"]]]:
        from hpax.features import on_devices  # here, as AnnData takes a second to import

        return on_devices(self._task.encode, self.network.params, self.network.model_state)

    def _check(self, images: np.ndarray, layer: str | None) -> None:
        if layer is not None and layer not in self.layers:
            raise ValueError(f"layer must be one of {', '.join(self.layers)}, got {layer!r}; leave it out for all")
        side = self.size or images.shape[1]
        if images.shape[1:] != (side, side, len(self.channels)):
            wanted = f"(n, {side}, {side}, {len(self.channels)}) with channels {', '.join(self.channels)}"
            raise ValueError(f"crops must be {wanted}, got {images.shape}; choose channels and resize (hpax.images)")
