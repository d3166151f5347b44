"""The networks that turn images into maps of features, by name.

Each is called as `backbone(images, mask=None, train=False)` with images (b, h, w, c) in [0, 1] of any number of
channels, and answers with its last map (b, h', w', k), after its activation and before any pooling. `backbone.stride`
is the pixels between two places of that map.
"""

from collections.abc import Callable
from functools import partial

from flax import linen as nn

from hpax.nn.efficientnet import SIZES, EfficientNet
from hpax.nn.plain import Plain

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    **{f"efficientnet-{size}": partial(EfficientNet, **options) for size, options in SIZES.items()},
    "plain-tiny": Plain,
}
"""Name → constructor, which takes `axis_name` and `momentum` (see `hpax.nn.norm.BatchNorm`) by keyword."""
