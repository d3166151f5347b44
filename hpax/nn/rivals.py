"""The same networks in Keras and PyTorch, which hpax does not install: what ours are timed beside.

Each function takes the imported module, or imports it when it is called.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from hpax.nn import inpainter
from hpax.nn.reference import scaled
from hpax.types import Array


def keras_inception(side: int) -> Callable[[np.ndarray], Array]:
    """Keras's network on JAX, with its own fresh weights; images → features."""
    os.environ["KERAS_BACKEND"] = "jax"
    keras = importlib.import_module("keras")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects", UserWarning)  # four channels
        model = keras.applications.InceptionV3(False, None, input_shape=(side, side, 4), pooling="avg")
    variables = [[each.value for each in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    return jax.jit(lambda images: model.stateless_call(*variables, images, training=False)[0])


def torchvision_inception(variables: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """torchvision's network with the weights of our Inception, on as many cores; images → features.

    Both number convolutions alike. BatchNorm is folded into them and channels are last, the fastest of six forms tried,
    TorchScript's among them; `torch.compile` was not. Means leave out the padding, as ours do.

    Raises:
        ImportError: PyTorch is not there.
    """
    try:
        torch, models = importlib.import_module("torch"), importlib.import_module("torchvision.models")
    except ImportError as error:
        remedy = "`pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu`"
        raise ImportError(f"timing beside PyTorch needs torch and torchvision, got {error}; {remedy}") from error
    model = models.inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    model.Conv2d_1a_3x3.conv = torch.nn.Conv2d(4, 32, 3, stride=2, bias=False)
    model.fc = torch.nn.Identity()
    model.eval()
    blocks = [each for each in model.modules() if isinstance(each, models.inception.BasicConv2d)]
    for block, number in zip(blocks, range(len(variables["params"])), strict=True):
        params, stats = (variables[kind][f"conv{number}"] for kind in ("params", "batch_stats"))
        weights = {"conv.weight": params["kernel"].transpose(3, 2, 0, 1), "bn.bias": params["norm"]["bias"]}
        weights |= {"bn.running_mean": stats["norm"]["mean"], "bn.running_var": stats["norm"]["var"]}
        fixed = {"bn.weight": block.bn.weight, "bn.num_batches_tracked": block.bn.num_batches_tracked}
        block.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in weights.items()} | fixed)
        block.conv, block.bn = torch.nn.utils.fuse_conv_bn_eval(block.conv, block.bn), torch.nn.Identity()
    traced = torch.fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        if node.target is torch.nn.functional.avg_pool2d:
            node.update_kwarg("count_include_pad", False)
    traced.recompile()
    traced.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        return traced(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    return features


def device_of(torch: Any) -> str:
    """Where PyTorch works: on the GPU that it finds, else on CPUs."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_update(torch: Any, model: Any, loss: Callable[[Any], Any], *, dtype: str) -> Callable[[], None]:
    """One update of `model` after another; `loss(model)` is computed by autocast where asked for bfloat16."""
    device = device_of(torch)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def advance() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            lost = loss(model)
        lost.backward()
        optimizer.step()

    return advance


def torch_images(torch: Any, count: int, side: int, channels: int) -> Any:
    """Random images where PyTorch works."""
    images = torch.rand(count, channels, side, side, device=device_of(torch))
    return images.to(memory_format=torch.channels_last)


def torch_inpainting(torch: Any, *, batch: int, dtype: str, side: int, width: float) -> Callable[[], None]:
    """Updates of the paired inpainting network."""
    nn = torch.nn

    def encoder(channels: int, widths: Sequence[int]) -> Any:
        layers = []
        for layer, own in enumerate(scaled(widths, width), 1):
            layers += [nn.Conv2d(channels, own, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(own, 1e-3, 0.01)]
            layers += [nn.MaxPool2d(2)] if layer in inpainter.POOLED else []
            channels = own
        return nn.Sequential(*layers)

    told, seen = encoder(3, inpainter.SOURCE_WIDTHS), encoder(2, inpainter.MARKER_WIDTHS)
    channels = sum(scaled([inpainter.SOURCE_WIDTHS[-1], inpainter.MARKER_WIDTHS[-1]], width))
    layers = []
    for group, widths in enumerate(inpainter.DECODER_WIDTHS):
        layers += [nn.Upsample(scale_factor=2)] if group else []
        for own in scaled(widths, width):
            layers += [nn.Conv2d(channels, own, 3, padding=1), nn.ReLU()]
            channels = own
    decoder = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))
    source, target = torch_images(torch, batch, side, 3), torch_images(torch, batch, side, 3)

    def loss(parts: Any) -> Any:
        painted = parts[2](torch.cat([parts[0](source), parts[1](target[:, 1:])], 1))
        return (painted.float() - target[:, :1]).square().mean()

    return torch_update(torch, nn.ModuleList([told, seen, decoder]), loss, dtype=dtype)


def torch_efficientnet(torch: Any, *, batch: int, dtype: str, side: int) -> Callable[[], None]:
    """Updates of torchvision's EfficientNet-B0."""
    model = importlib.import_module("torchvision.models").efficientnet_b0(num_classes=19)
    model.features[0][0] = torch.nn.Conv2d(4, 32, 3, stride=2, padding=1, bias=False)
    fields = torch_images(torch, batch, side, 4)
    labels = torch.randint(0, 2, (batch, 19), device=device_of(torch)).float()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    return torch_update(torch, model, lambda model: bce(model(fields).float(), labels), dtype=dtype)


def torch_fields(torch: Any, *, batch: int, side: int) -> Callable[[], None]:
    """What torchvision's EfficientNet-B0 says of fields, without learning."""
    model = importlib.import_module("torchvision.models").efficientnet_b0(num_classes=19)
    model.features[0][0] = torch.nn.Conv2d(4, 32, 3, stride=2, padding=1, bias=False)
    model = model.to(device_of(torch)).to(memory_format=torch.channels_last).eval()
    fields = torch_images(torch, batch, side, 4)

    @torch.inference_mode()
    def say() -> None:
        model(fields)

    return say


def torch_inception(torch: Any, *, batch: int, dtype: str, side: int) -> Callable[[], None]:
    """Features of torchvision's Inception-v3, of cells that are where PyTorch works."""
    models = importlib.import_module("torchvision.models")
    model = models.inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    model.Conv2d_1a_3x3.conv = torch.nn.Conv2d(4, 32, 3, stride=2, bias=False)
    model.fc, cells = torch.nn.Identity(), torch_images(torch, batch, side, 4)
    device = device_of(torch)
    model = model.to(device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def features() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            model(cells)

    return features
