"""Where a network looks: Grad-CAM and class activation maps at any layer, and how they overlap with the protein.

    attention = Attention.of(hpax.load("label-cells"), layer="backbone")
    maps = attention.maps(crops)  # (k, y, x, 19), logits' slopes
    overlap = iou(maps[..., label], signal(crops[..., 0]))

Grad-CAM after Selvaraju et al. (2017), overlap after Le et al. (2022, Figure 3), the control by random weights after
Adebayo et al. (2018). Any number of images and classes at once; a map without anything positive is 0, never NaN.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import linen as nn
from jaxtyping import Bool, Float, Float32, Int, Num, UInt

from hpax import atlas
from hpax import images as image_tools
from hpax.models import CellClassifier, FieldClassifier
from hpax.predict.cams import enlarged
from hpax.types import Array, ModelState, Params

BATCH = 16
"""Images looked at together."""


FINEST = "level0a"
"""The first layer of a plain backbone. A protein covers a few per cent of a crop, which coarse maps cannot follow: of
`explore_atlas` on real fields (BENCHMARKS.md) the last map, `--attention-layer backbone`, has no more overlap with the
protein than random weights, the first layer has."""


def finest_layer(classifier: FieldClassifier | CellClassifier) -> str:
    """The layer whose maps are fine enough to follow a protein.

    FINEST of a plain network, the first one of an inpainting encoder (whose last is no map), of others the last map.
    """
    backbone = classifier.network.params["backbone"]
    if "source" in backbone:
        return "backbone/source/conv1"
    return f"backbone/{FINEST}" if FINEST in backbone else "backbone"


@dataclasses.dataclass(frozen=True, eq=False)
class Attention:
    """A network, and the layer at which it is asked where it looks."""

    model: nn.Module  # hpax.nn.heads.CamNet or CellNet
    params: Params
    model_state: ModelState
    layer: str = "backbone"  # the path of a module whose output is a map (b, y, x, k), such as backbone/block3
    channels: int = 4  # of the images that the network sees

    @classmethod
    def of(cls, classifier: FieldClassifier | CellClassifier, *, layer: str = "backbone") -> "Attention":
        """That of a trained classifier."""
        network = classifier.network
        return cls(network.model, network.params, network.model_state, layer, len(network.channels))

    def randomised(self, seed: int = 0) -> "Attention":
        """The same network with fresh weights, a control: maps like its own say nothing of what was learnt."""
        shape = (1, 64, 64, self.channels)
        fresh = dict(self.model.init(jax.random.key(seed), jnp.zeros(shape, jnp.float32)))
        return dataclasses.replace(self, params=fresh.pop("params"), model_state=fresh)

    def maps(self, images: UInt[np.ndarray, "b h w c"], *, kind: str = "grad-cam") -> Float32[np.ndarray, "b y x n"]:
        """The map of every class in every image, not negative.

        Args:
            images: as the network sees them; the dtype's highest value is 1.
            kind: "grad-cam", or "cam": the last map times the classifier's weights, whatever `layer` says.

        Raises:
            ValueError: an unknown kind, or a layer that the network has not or whose output is no map.
        """
        if kind not in ("grad-cam", "cam"):
            raise ValueError(f"kind must be grad-cam or cam, got {kind!r}")
        if kind == "cam" and "norm" in self.params:
            raise ValueError("cam needs a classifier of features as they are, these are standardised; take grad-cam")
        look = self._grad_cam if kind == "grad-cam" else self._cam
        found = []
        for start in range(0, max(1, len(images)), BATCH):  # no image at all makes one batch of padding
            part = image_tools.as_float(images[start : start + BATCH])
            padded = np.pad(part, ((0, BATCH - len(part)), (0, 0), (0, 0), (0, 0)))
            found.append(np.asarray(look(padded), np.float32)[: len(part)])
        return np.concatenate(found)

    def own_maps(
        self, images: UInt[np.ndarray, "b h w c"], labels: Int[np.ndarray, " b"]
    ) -> Float32[np.ndarray, "b y x"]:
        """The Grad-CAM of one class for each image: `maps` of that class, for the work of one."""
        found = []
        for start in range(0, max(1, len(images)), BATCH):  # no image at all makes one batch of padding
            part, own = images[start : start + BATCH], labels[start : start + BATCH]
            missing = BATCH - len(part)
            padded = np.pad(image_tools.as_float(part), ((0, missing), (0, 0), (0, 0), (0, 0)))
            looked = self._own_grad_cam(padded, np.pad(own, (0, missing)))
            found.append(np.asarray(looked, np.float32)[: len(part)])
        return np.concatenate(found)

    @functools.cached_property
    def _own_grad_cam(self) -> Any:
        variables = jax.device_put({"params": self.params, **self.model_state})
        layer = tuple(self.layer.split("/"))

        def look(images: Float[Array, "b h w c"], labels: Int[Array, " b"]) -> Float[Array, "b y x"]:
            logits, of_slopes = _pulled_back(self.model, variables, layer, images)
            return of_slopes(jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype))

        return jax.jit(look)

    @functools.cached_property
    def _grad_cam(self) -> Any:
        variables = jax.device_put({"params": self.params, **self.model_state})
        return jax.jit(functools.partial(_grad_cam, self.model, variables, tuple(self.layer.split("/"))))

    @functools.cached_property
    def _cam(self) -> Any:
        variables = jax.device_put({"params": self.params, **self.model_state})

        def cam(images: Float[Array, "b h w c"]) -> Float[Array, "b y x n"]:
            _, last = _run(self.model, variables, ("backbone",), images)
            return jnp.maximum(last @ variables["params"]["classifier"]["kernel"], 0)

        return jax.jit(cam)


def signal(protein: Num[np.ndarray, "b h w"]) -> Bool[np.ndarray, "b h w"]:
    """Where each image has protein: above Otsu's threshold of its pixels above 0; nowhere if all are alike."""
    from skimage import filters

    lit = np.zeros(protein.shape, bool)
    for place, plane in enumerate(protein):
        inside = plane[plane > 0]
        if inside.size and inside.min() < inside.max():
            lit[place] = plane > filters.threshold_otsu(inside)
    return lit


def iou(
    maps: Float[np.ndarray, "b y x"], lit: Bool[np.ndarray, "b h w"], *, threshold: float = 0.5
) -> Float32[np.ndarray, " b"]:
    """The overlap over the union of each map at `threshold` of its maximum, enlarged to the image, with the signal.

    NaN where there is no signal; 0 where the map has nothing positive.
    """
    found = np.full(len(maps), np.nan, np.float32)
    for place, (plane, own) in enumerate(zip(maps, lit, strict=True)):
        if own.any():
            large = enlarged(plane, own.shape)
            hot = large > threshold * large.max() if large.max() > 0 else np.zeros(own.shape, bool)
            found[place] = (hot & own).sum() / (hot | own).sum()
    return found


def _run(
    model: nn.Module,
    variables: Any,
    layer: tuple[str, ...],
    images: Float[Array, "b h w c"],
    added: Float[Array, "b y x k"] | None = None,
) -> tuple[Float[Array, "b n"], Float[Array, "b y x k"]]:
    """The logits, and the output of a layer, to which something may be added on its way."""
    caught: list[Any] = []

    def watch(call: Any, arguments: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*arguments, **options)
        if context.module.path != layer or context.method_name != "__call__":
            return out
        caught.append(out)
        return out if added is None else out + added

    with nn.intercept_methods(watch):
        answer: Any = model.apply(variables, images)
    if len(caught) != 1 or getattr(caught[0], "ndim", 0) != 4:
        raise ValueError(f"layer must be a module that is called once and gives a map, {'/'.join(layer)!r} is none")
    if max(caught[0].shape[1:3]) == 1 < min(images.shape[1:3]):
        raise ValueError(f"layer must give a map of several places, {'/'.join(layer)!r} gives one; name a layer before")
    return answer.logits, caught[0]


def _grad_cam(
    model: nn.Module, variables: Any, layer: tuple[str, ...], images: Float[Array, "b h w c"]
) -> Float[Array, "b y x n"]:
    """The layer's channels weighted by the mean slope of each class's logit, the positive part."""
    logits, of_slopes = _pulled_back(model, variables, layer, images)
    eye = jnp.eye(logits.shape[1], dtype=logits.dtype)
    found = jax.lax.map(lambda one: of_slopes(jnp.broadcast_to(one, logits.shape)), eye)
    return jnp.moveaxis(found, 0, -1)


def _pulled_back(
    model: nn.Module, variables: Any, layer: tuple[str, ...], images: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b n"], Callable[[Float[Array, "b n"]], Float[Array, "b y x"]]]:
    """The logits, and what turns a choice of them, one-hot in each row, into the map of that class."""
    _, features = jax.eval_shape(functools.partial(_run, model, variables, layer), images)

    def logits_of(added: Float[Array, "b y x k"]) -> tuple[Float[Array, "b n"], Float[Array, "b y x k"]]:
        return _run(model, variables, layer, images, added)

    logits, backward, kept = jax.vjp(logits_of, jnp.zeros(features.shape, features.dtype), has_aux=True)

    def of_slopes(chosen: Float[Array, "b n"]) -> Float[Array, "b y x"]:
        (slopes,) = backward(chosen)
        return jnp.maximum(jnp.einsum("byxk,bk->byx", kept, slopes.mean((1, 2))), 0)

    return logits, of_slopes


def overlaps(
    attention: Attention, crops: UInt[np.ndarray, "k s s c"], labels: Int[np.ndarray, " k"], *, seed: int = 0
) -> pd.DataFrame:
    """By class, the mean overlap of its maps with the protein signal of cells that show it alone, and the control's.

    Columns: cells, iou, control (by weights drawn anew); a class without cells has no row. The protein is channel 0.
    """
    lit = signal(crops[..., 0])
    found = [iou(looked.own_maps(crops, labels), lit) for looked in (attention, attention.randomised(seed))]
    table = pd.DataFrame({"class": np.array(atlas.LOCATIONS)[labels], "iou": found[0], "control": found[1]})
    grouped = table.groupby("class")
    return grouped[["iou", "control"]].mean().assign(cells=grouped.size())[["cells", "iou", "control"]]
