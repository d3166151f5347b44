"""Weights that others left, as networks of hpax: strict, without pickle, without their code.

    encoder = convert("pci_human.h5")  # the published paired cell inpainting, as Keras saves it
    network = convert("net.safetensors", rules=RULES, architecture="cell-net", um_per_pixel=0.64, …)
    encoder.save("pci_human.safetensors")  # from then on `hpax.load` reads it

What can be read: HDF5 files of Keras (`model.save("x.h5")`, `save_weights("x.h5")`) with the published layers of paired
cell inpainting; safetensors of torch, and its legacy `.pth` of tensors by name, by rules for their names. Zipped `.pt`,
`.keras`, `.onnx` and pickles cannot: save those as safetensors where they were made.
"""

import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from hpax import atlas
from hpax.models import keras_h5, store, torch_pth
from hpax.models.card import card
from hpax.models.encoder import Encoder
from hpax.nn.inpainter import DECODER_WIDTHS, MARKER_WIDTHS, SOURCE_WIDTHS

Rules = Sequence[tuple[str, str]]
"""Regular expressions for names of tensors, and what they become: names such as params/backbone/stem/kernel."""

CROP_UM, CROP_PIXELS = 41.0, 64  # of a crop of the published human cells: 512 pixels of 0.08 µm, seen at 64

_SOURCE = {f"conv{layer}_1": f"source/conv{layer}" for layer in range(1, len(SOURCE_WIDTHS) + 1)}
_MARKERS = {f"rfpconv{layer}_1": f"markers/conv{layer}" for layer in range(1, len(MARKER_WIDTHS) + 1)}
_DECODER = {
    f"conv{len(SOURCE_WIDTHS) + layer}_1": f"decoder/conv{layer}"
    for layer in range(1, sum(map(len, DECODER_WIDTHS)) + 1)
}
KERAS_LAYERS = {**_SOURCE, **_MARKERS, **_DECODER, "y_gfp": "decoder/paint"}
"""The published name of a convolution → ours."""

KERAS_NORMS = (
    "source/norm1",
    "source/norm2",
    "markers/norm1",
    "markers/norm2",
    "source/norm3",
    "source/norm4",
    "source/norm5",
    "markers/norm3",
)
"""The normalisations, which have numbers for names, in the order in which the published code makes them."""

_NORM_LEAVES = {
    "gamma": "params/{}/scale",
    "beta": "params/{}/bias",
    "moving_mean": "model_state/batch_stats/{}/mean",
    "moving_variance": "model_state/batch_stats/{}/var",
}
USE = "Features of single cells by weights that others trained: `hpax.models.Encoder`."
LIMITS = "Converted; hpax knows neither what they were trained on nor their licence."


def convert(
    path: str | os.PathLike[str],
    *,
    rules: Rules = (),
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    channels: Sequence[str] = atlas.CHANNELS,
    um_per_pixel: float = math.nan,
    size: int | None = None,
    preprocessing: str | None = None,
) -> Encoder | store.Network:
    """The network in a file that another program wrote.

    Args:
        path: `.h5` or `.hdf5` of paired cell inpainting; else `.safetensors` or `.pth` of torch, whose tensors are
            renamed by `rules`. Kernels are turned into our order of axes.
        rules: for torch alone: each is applied to every name in turn; tensors whose name becomes "" are left out.
        architecture: for torch alone, one of `hpax.models.ARCHITECTURES`.
        options: of that network.
        channels: that it sees, for torch.
        um_per_pixel: at which it learnt, for torch.
        size: pixels of the side of its images, for torch, where it is to be shown no other.
        preprocessing: "human" or "yeast", for an inpainter of torch.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of a kind that cannot be read, or not the weights of such a network: all that is missing,
            unexpected or of another shape is listed.
    """
    path = checked(path)
    if path.suffix in (".h5", ".hdf5"):
        return _inpainter(path)
    if not rules or architecture is None:
        raise ValueError(
            f"{path.name} needs rules for the names of its tensors and an architecture "
            f"({', '.join(store.ARCHITECTURES)}), got neither or one; a file that hpax wrote is read by hpax.load"
        )
    tensors = torch_tensors(path)
    leaves = renamed(tensors, rules)
    record = {"converted from": path.name, "rules": f"{len(rules)} rules for {len(tensors)} tensors"}
    told = card(path.stem, use="Converted weights of torch.", limits=LIMITS, record=record)
    network = store.network(
        architecture,
        dict(options or {}),
        tuple(channels),
        leaves,
        um_per_pixel=um_per_pixel,
        size=size,
        card=told,
        preprocessing=preprocessing,
    )
    return Encoder(network) if architecture == "inpainter" else network


def checked(path: str | os.PathLike[str]) -> pathlib.Path:
    """A file of weights of a kind that can be read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is too large, or its name ends as that of no such kind.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give a file of weights")
    if path.stat().st_size > store.MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the bound of {store.MAX_BYTES}")
    if path.suffix not in (".h5", ".hdf5", ".safetensors", ".pth"):
        raise ValueError(
            f"{path.name} cannot be read: weights must be .h5 of Keras, or .safetensors or legacy .pth of torch; save "
            "them as safetensors where they were made (safetensors.torch.save_file(model.state_dict(), ...))"
        )
    return path


def renamed(tensors: Mapping[str, np.ndarray], rules: Rules) -> dict[str, np.ndarray]:
    """Our names → tensors in our order of axes: kernels (rows, columns, in, out), matrices (in, out).

    Raises:
        ValueError: two tensors get one name.
    """
    leaves: dict[str, np.ndarray] = {}
    for theirs, tensor in tensors.items():
        ours = theirs
        for pattern, replacement in rules:
            ours = re.sub(pattern, replacement, ours)
        if not ours:
            continue
        if ours in leaves:
            raise ValueError(f"rules must give every tensor a name of its own, {theirs} becomes {ours} as another does")
        leaves[ours] = kernels_turned(np.asarray(tensor))
    return leaves


def kernels_turned(tensor: np.ndarray) -> np.ndarray:
    """A tensor of torch in our order of axes, output channels last."""
    if tensor.ndim == 4:
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0))
    return np.ascontiguousarray(tensor.T) if tensor.ndim == 2 else tensor


def torch_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Name → tensor of a file of torch, `.pth` or `.safetensors`.

    Raises:
        ValueError: it holds none that NumPy knows, or is damaged.
    """
    if path.suffix == ".pth":
        return torch_pth.load(path)
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no tensors that NumPy knows: {error}; save them as float32") from error


def _inpainter(path: pathlib.Path) -> Encoder:
    """Paired cell inpainting as published: human cells where it sees three channels, yeast where two."""
    tensors = keras_h5.load(path)
    leaves: dict[str, np.ndarray] = {}
    norms = sorted((name for name in tensors if name.startswith("batch_normalization")), key=_number)
    if len(norms) != len(KERAS_NORMS):
        raise ValueError(f"{path.name} must have {len(KERAS_NORMS)} BatchNormalization layers, got {len(norms)}")
    places = {**KERAS_LAYERS, **dict(zip(norms, KERAS_NORMS, strict=True))}
    for layer, weights in tensors.items():
        place = places.get(layer)
        for kind, tensor in weights.items():
            leaf = _NORM_LEAVES.get(kind, f"params/{{}}/{kind}") if layer in norms else f"params/{{}}/{kind}"
            leaves[leaf.format(place) if place else f"{layer}/{kind}"] = tensor
    first = leaves.get("params/source/conv1/kernel")
    seen = first.shape[2] if first is not None and first.ndim == 4 else 0
    if seen not in (2, 3):
        raise ValueError(f"conv1_1 of {path.name} must see 3 channels (human) or 2 (yeast), it sees {seen}")
    yeast = seen == 2
    record = {"converted from": path.name, "layout": "paired cell inpainting (Lu et al. 2019), Keras"}
    network = store.network(
        "inpainter",
        _widths(leaves),
        ("protein", "marker") if yeast else atlas.CHANNELS[:3],
        leaves,
        um_per_pixel=math.nan if yeast else CROP_UM / CROP_PIXELS,
        size=CROP_PIXELS,
        card=card(path.stem, use=USE, limits=LIMITS, record=record),
        preprocessing="yeast" if yeast else "human",
    )
    return Encoder(network)


def _widths(leaves: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The width factors that the first kernels of encoder and decoder are of."""
    widths = {}
    for name, kernel, full in (
        ("width", "params/source/conv1/kernel", SOURCE_WIDTHS[0]),
        ("decoder_width", "params/decoder/conv1/kernel", DECODER_WIDTHS[0][0]),
    ):
        if kernel in leaves:
            widths[name] = leaves[kernel].shape[-1] / full
    if widths.get("decoder_width") == widths.get("width"):
        widths.pop("decoder_width", None)
    return widths


def _number(layer: str) -> int:
    """Of batch_normalization_7: 7; of batch_normalization: 0."""
    digits = layer.removeprefix("batch_normalization").lstrip("_")
    return int(digits) if digits.isdigit() else 0
