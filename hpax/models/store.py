"""A trained network as one safetensors file: its arrays, and in the metadata what they are the weights of.

A file is data from a stranger: nothing in it is executed, its size bounds what it expands to, and what the arrays must
be follows from the architecture that it names, never from the arrays themselves.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

import flax.errors
import flax.traverse_util
import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn

from hpax import atlas, files
from hpax.models import checks
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet, CellNet
from hpax.nn.inpainter import Inpainter
from hpax.nn.unet import DualPathUNet, LightUNet
from hpax.nn.vector_inpainter import VectorInpainter
from hpax.types import ModelState, Params

INPAINTERS: dict[str, type[nn.Module]] = {"inpainter": Inpainter, "vector-inpainter": VectorInpainter}
"""The networks that paint a cell's protein after another cell: as published, and by one vector of it."""

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "light-unet": LightUNet,
    "dpn-unet": DualPathUNet,
    "cam-net": CamNet,
    "cell-net": CellNet,
    **INPAINTERS,
}
"""The networks that a file may name; the backbone of cam-net and cell-net is an option, a name in `nn.backbones`."""

PREPROCESSING = ("human", "yeast")
"""How crops are prepared for an inpainter, by the name of the function in `ops.preprocess`."""

CHANNELS = (*atlas.CHANNELS, "marker")
"""The channels that a network may see; "marker" is the only structural one of yeast crops."""

NAMES = (
    "segment-nuclei",
    "segment-cells",
    "label-fields",
    "label-cells",
    "encode-cells",
    "encode-cells-fine",
    "encode-yeast",
)
"""The networks that ship with hpax."""

WEIGHTS = pathlib.Path(__file__).parent / "weights"
MAX_BYTES = 2**30  # of a file
MAX_CARD = 2**20  # characters
_FORMAT = "hpax-1"
_LARGEST = 8192  # of an option: no layer is wider, no stage is deeper
_DEEPEST = 8  # entries of an option: levels of a network
_TOLD = ("architecture", "options", "channels", "um_per_pixel", "card")  # what metadata must have
_TEXT = 2**14  # characters of each of them but the card
_UM_PER_PIXEL = (0.01, 100.0)  # finer or coarser, no field of cells is seen
_MESSAGE = 2000  # characters of an error about what a file says
_DAMAGE = (
    safetensors.SafetensorError,
    flax.errors.FlaxError,
    jax.errors.JaxRuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
"""What reading, or building after, a stranger's file may raise."""


@runtime_checkable
class Trained(Protocol):
    """What is saved of a state of training, such as `hpax.train.State`."""

    @property
    def params(self) -> Params:
        """The network's parameters."""
        ...

    @property
    def model_state(self) -> ModelState:
        """Everything else that it keeps."""
        ...


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network, what it must be shown, and what is known of it."""

    architecture: str  # of ARCHITECTURES
    options: Mapping[str, Any]  # the network's fields
    channels: tuple[str, ...]  # of CHANNELS, in the order in which the network sees them
    um_per_pixel: float  # at which it learned; NaN: not known, of crops alone
    params: Params
    model_state: ModelState
    card: str  # Markdown
    size: int | None = None  # pixels of the side of the images that it must be shown; None: any that its strides divide
    masked: bool = False  # whether cells come without their neighbours and background
    preprocessing: str | None = None  # of PREPROCESSING; None: as other networks are shown images

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network that the weights are of."""
        return _model(self.architecture, self.options)

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.model_state}

    def save(self, path: str | os.PathLike, *, half: bool = False) -> pathlib.Path:
        """As `save`, which says what `half` does."""
        return save(
            path,
            architecture=self.architecture,
            options=self.options,
            channels=self.channels,
            um_per_pixel=self.um_per_pixel,
            state=self,
            card=self.card,
            size=self.size,
            masked=self.masked,
            preprocessing=self.preprocessing,
            half=half,
        )


def path_of(name: str | os.PathLike) -> pathlib.Path:
    """The .safetensors file of a network: of the catalogue by its name, or the file itself.

    Raises:
        ValueError: the name is unknown.
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(name)
    if path.suffix != ".safetensors":
        if str(name) not in NAMES:
            raise ValueError(f"no network {str(name)!r}; there are {', '.join(NAMES)}, or give a .safetensors file")
        path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; `python -m experiments.segment_fields` trains such networks")
    return path


def load_network(name: str | os.PathLike) -> Network:
    """A network of the catalogue by its name, or one from a .safetensors file.

    Raises:
        ValueError: the name is unknown, or the file is not one that `save` writes; leaves that are missing,
            unexpected, of another shape or type, or not finite are listed; or its answer to noise is not finite.
        FileNotFoundError: there is no such file.
    """
    path = path_of(name)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the bound of {MAX_BYTES}")
    try:
        network = _network(*_content(path))
        if path.parent != WEIGHTS:  # those that ship are known
            checks.check_answer(network.model, len(network.channels), network.variables)
        return network
    except _DAMAGE as error:
        raise ValueError(f"{path} holds no network of hpax: {checks.short(error, _MESSAGE)}") from error


def _content(path: pathlib.Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of a file, neither of which is looked into yet."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, names = file.metadata() or {}, list(file.keys())
        if metadata.get("format") != _FORMAT:
            told = checks.short(repr(metadata.get("format")))
            raise ValueError(f"its format must be {_FORMAT!r}, got {told}; see models.save")
        if missing := [name for name in _TOLD if name not in metadata]:
            raise ValueError(f"its metadata must tell {', '.join(_TOLD)}; {missing[0]} is missing")
        for name, value in metadata.items():
            if len(value) > (bound := MAX_CARD if name == "card" else _TEXT):
                raise ValueError(f"its {checks.short(name)} has {len(value)} characters, more than {bound}")
        checks.check_count(names)
        return metadata, {name: file.get_tensor(name) for name in names}


def save(
    path: str | os.PathLike,
    *,
    architecture: str,
    options: Mapping[str, Any],
    channels: Sequence[str],
    um_per_pixel: float,
    state: Trained,
    card: str,
    size: int | None = None,
    masked: bool = False,
    preprocessing: str | None = None,
    half: bool = True,
) -> pathlib.Path:
    """Writes a network to the .safetensors file `path`, and its model card to the .md file beside it.

    Args:
        path: replaced if it is there.
        architecture: one of ARCHITECTURES.
        options: the network's fields that differ from their defaults, what only training needs left out; a backbone
            by its name.
        channels: those that the network sees, in order, by their names in `CHANNELS`.
        um_per_pixel: of the images that it learned from; NaN where it is not known, of inpainters alone.
        state: `params` and `model_state`, on the host, for one device.
        card: what the reader should know, as `card` writes it.
        size: pixels of the side of these images, where the network is to be shown no other.
        masked: a cell must come without its neighbours and background.
        preprocessing: of an inpainter, one of PREPROCESSING.
        half: keep kernels as float16, half the size; each number moves by at most 1 part in 2,048.

    Raises:
        ValueError: the weights are not those of such a network, or not finite.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a network's file must end in .safetensors, got {path.name}")
    pixel = None if math.isnan(um_per_pixel) else float(um_per_pixel)
    told: dict[str, Any] = {"options": dict(options), "channels": list(channels), "um_per_pixel": pixel}
    told |= {"size": size, "masked": masked} | ({"preprocessing": preprocessing} if preprocessing else {})
    metadata = {"format": _FORMAT, "architecture": architecture, "card": card}
    metadata |= {name: json.dumps(value) for name, value in told.items()}
    leaves = _flat({"params": state.params, "model_state": state.model_state})
    _network(metadata, leaves)
    stored = {name: _stored(name, leaf, half) for name, leaf in leaves.items()}
    files.write_text(path.with_suffix(".md"), card)
    files.write_bytes(path, safetensors.numpy.save(stored, metadata))
    return path


def network(
    architecture: str,
    options: Mapping[str, Any],
    channels: Sequence[str],
    leaves: Mapping[str, np.ndarray],
    *,
    um_per_pixel: float,
    card: str,
    size: int | None = None,
    preprocessing: str | None = None,
) -> Network:
    """A network of leaves by names such as params/stem/kernel, held to all that a file is held to.

    Raises:
        ValueError: as `load_network`.
    """
    pixel = None if math.isnan(um_per_pixel) else float(um_per_pixel)
    told = {"options": dict(options), "channels": list(channels), "um_per_pixel": pixel, "size": size}
    metadata = {"architecture": architecture, "card": card, "preprocessing": json.dumps(preprocessing)}
    return _network(metadata | {name: json.dumps(value) for name, value in told.items()}, leaves)


def _stored(name: str, leaf: np.ndarray, half: bool) -> np.ndarray:
    if not half or leaf.ndim < 2:
        return leaf
    if np.abs(leaf).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{name} does not fit into float16; save with half=False")
    return leaf.astype(np.float16)


def _network(metadata: Mapping[str, str], leaves: Mapping[str, np.ndarray]) -> Network:
    """The network that the metadata tells of, if the leaves are its weights."""
    options, channels, um_per_pixel = (json.loads(metadata[name]) for name in ("options", "channels", "um_per_pixel"))
    size, masked = json.loads(metadata.get("size", "null")), json.loads(metadata.get("masked", "false"))
    if not isinstance(channels, list) or not channels or not set(channels) <= set(CHANNELS):
        raise ValueError(f"channels must be some of {CHANNELS}, got {checks.short(channels)}")
    if len(set(channels)) < len(channels):
        raise ValueError(f"channels must be some of {CHANNELS}, each once, got {checks.short(channels)}")
    preprocessing = json.loads(metadata.get("preprocessing", "null"))
    known = PREPROCESSING if metadata["architecture"] in INPAINTERS else (None,)
    if preprocessing not in known:
        raise ValueError(
            f"the preprocessing of {metadata['architecture']} must be of {known}, got {checks.short(preprocessing)}"
        )
    if um_per_pixel is None and preprocessing:
        um_per_pixel = math.nan
    elif not isinstance(um_per_pixel, float) or not _UM_PER_PIXEL[0] <= um_per_pixel <= _UM_PER_PIXEL[1]:
        bounds = " to ".join(map(str, _UM_PER_PIXEL))
        raise ValueError(f"um_per_pixel must be positive, {bounds} µm, got {checks.short(um_per_pixel)}")
    if not (size is None or (type(size) is int and 0 < size <= _LARGEST)) or not isinstance(masked, bool):
        told = checks.short(f"{size}, {masked}")
        raise ValueError(f"size must be null or pixels up to {_LARGEST} and masked true or false, got {told}")
    options = _options(metadata["architecture"], options)
    checks.check_size(options, leaves)
    model = _model(metadata["architecture"], options)
    checks.check_leaves(model, len(channels), leaves)
    tree = _nested({name: leaf.astype(np.float32) for name, leaf in leaves.items()})
    return Network(
        metadata["architecture"],
        options,
        tuple(channels),
        um_per_pixel,
        tree["params"],
        tree.get("model_state", {}),
        metadata["card"],
        size,
        masked,
        preprocessing,
    )


def _model(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    backbone = {"backbone": BACKBONES[options["backbone"]]()} if "backbone" in options else {}
    return ARCHITECTURES[architecture](**{**options, **backbone})


def _options(architecture: str, options: Any) -> dict[str, Any]:
    """The options, if the architecture has such fields and they are of a size that a network can have."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no architecture {checks.short(repr(architecture))}; there are {', '.join(ARCHITECTURES)}")
    known = {
        field.name: field
        for field in dataclasses.fields(ARCHITECTURES[architecture])
        if field.name not in ("parent", "name", "axis_name", "dtype")
    }
    needed = {name for name, field in known.items() if field.default is dataclasses.MISSING}
    if not isinstance(options, dict) or not needed <= set(options) <= set(known):
        raise ValueError(f"the options of {architecture} must be among {', '.join(known)}, got {checks.short(options)}")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name, value in options.items():
        if not _fits(value, known[name]):
            such = ", ".join(BACKBONES) if name == "backbone" else known[name].default
            raise ValueError(f"the option {name} of {architecture} must be such as {such}, got {checks.short(value)}")
    return options


def _fits(value: Any, field: dataclasses.Field) -> bool:
    default: Any = field.default
    if field.name == "backbone":
        return isinstance(value, str) and value in BACKBONES
    if isinstance(default, str):
        return value in get_args(field.type)
    if isinstance(default, tuple):
        ints = isinstance(value, tuple) and all(type(entry) is int and 0 < entry <= _LARGEST for entry in value)
        return ints and 0 < len(value) <= _DEEPEST
    kind = float if default is None else type(default)
    return type(value) is kind and 0 < value <= _LARGEST


def _flat(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, order="C") for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def _nested(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
