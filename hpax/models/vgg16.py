"""VGG16 by weights of ImageNet that a file has: Keras's `vgg16_weights_….h5`, or torchvision's, by their own names.

    model, params = vgg16.load("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
    layers = model.apply({"params": params}, pictures)  # in [0, 1], red first

Each was trained on other numbers of a picture. Their scale and the order of their colours become part of the first
kernel, and what is subtracted first is an option of the network.
"""

import os
import pathlib

import flax.traverse_util
import numpy as np
from jaxtyping import Float

from hpax.models import checks, keras_h5
from hpax.models.convert import checked, kernels_turned, torch_tensors
from hpax.nn.vgg import LAYERS, Vgg16
from hpax.types import Params

KERAS_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # red, green, blue
TORCH_MEAN, TORCH_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Of the convolutions, among torchvision's `features`."""


def load(path: str | os.PathLike[str]) -> tuple[Vgg16, Params]:
    """The network and its parameters; layers above the last convolution are not read.

    Args:
        path: `.h5` of Keras, with or without its top; `.safetensors` or legacy `.pth` of torchvision.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of a kind that cannot be read, or not the weights of VGG16: all that is missing or of another
            shape is listed.
    """
    path = checked(path)
    keras = path.suffix in (".h5", ".hdf5")
    leaves = _of_keras(path) if keras else _of_torch(path)
    model = Vgg16(KERAS_MEAN if keras else TORCH_MEAN)
    checks.check_leaves(model, 3, leaves)
    first = f"params/{LAYERS[0]}/kernel"
    leaves[first] = _of_unit_colours(leaves[first], keras)
    return model, flax.traverse_util.unflatten_dict(leaves, sep="/")["params"]


def _of_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Kernels have four axes and biases one, whatever a version of Keras calls them."""
    leaves = {}
    for layer, weights in keras_h5.load(path, LAYERS).items():
        for tensor in weights.values():
            leaves[f"params/{layer}/{'kernel' if tensor.ndim == 4 else 'bias'}"] = tensor
    return leaves


def _of_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    tensors, leaves = torch_tensors(path), {}
    for layer, place in zip(LAYERS, TORCH_PLACES, strict=True):
        for theirs, ours in (("weight", "kernel"), ("bias", "bias")):
            tensor = tensors.get(f"features.{place}.{theirs}")
            if tensor is not None:
                leaves[f"params/{layer}/{ours}"] = kernels_turned(tensor)
    return leaves


def _of_unit_colours(kernel: Float[np.ndarray, "3 3 3 k"], keras: bool) -> Float[np.ndarray, "3 3 3 k"]:
    """The first kernel as one of pictures in [0, 1], red first: Keras's sees 0 to 255, blue first."""
    if keras:
        return np.ascontiguousarray(kernel[:, :, ::-1] * np.float32(255))
    return kernel / np.asarray(TORCH_SD, kernel.dtype)[:, None]
