"""The networks that turn images into maps of features, by name.

Each is called as `backbone(images, mask=None, train=False)` with images (b, h, w, c) in [0, 1] of any number of
channels, and answers with its last map (b, h', w', k), after its activation and before any pooling. `backbone.stride`
is the pixels between two places of that map.
"""

from collections.abc import Callable

from flax import linen as nn

from hpax.nn.plain import Plain

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "plain-tiny": Plain,
}
"""Name → constructor, which takes `axis_name` and `momentum` (see `hpax.nn.norm.BatchNorm`) by keyword."""
