"""The networks that turn images into maps of features, by name.

Each is called as `backbone(images, mask=None, train=False)` with images (b, h, w, c) in [0, 1] of any number of
channels, and answers with its last map (b, h', w', k), after its activation and before any pooling. `backbone.stride`
is the pixels between two places of that map. Those of lu2019 answer with one place, the maxima of all their layers.
"""

from collections.abc import Callable
from functools import partial

from hpax.nn.densenet import DenseNet
from hpax.nn.efficientnet import SIZES, EfficientNet
from hpax.nn.inception import Inception
from hpax.nn.network import Network
from hpax.nn.plain import Plain
from hpax.nn.resnext import ResNeXt
from hpax.nn.source_encoder import SourceEncoder
from hpax.nn.swin import Swin

BACKBONES: dict[str, Callable[..., Network]] = {
    **{f"efficientnet-{size}": partial(EfficientNet, **options) for size, options in SIZES.items()},
    "inception-v3": Inception,
    "inception-tiny": partial(Inception, early=(32,), middle=(128,), late=1, thin=8),
    "densenet-121": DenseNet,
    "densenet-tiny": partial(DenseNet, stem=16, growth=8, depths=(2, 2, 2)),
    "se-resnext-50": ResNeXt,
    "se-resnext-tiny": partial(ResNeXt, stem=16, widths=(16, 32, 64), depths=(1, 1, 1), groups=4, squeeze=8),
    "swin-t": Swin,
    "swin-tiny": partial(Swin, width=24, depths=(2, 2), heads=(2, 4), window=4, drop=0.0),
    "plain-tiny": Plain,
    "plain-small": partial(Plain, widths=(32, 64, 128, 256, 256)),
    "lu2019": SourceEncoder,
    "lu2019-half": partial(SourceEncoder, width=0.5),
    "lu2019-quarter": partial(SourceEncoder, width=0.25),
}
"""Name → constructor, which takes `axis_name` and `momentum` (see `hpax.nn.norm.BatchNorm`) by keyword."""
