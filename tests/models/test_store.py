"""Networks in files: what is saved is loaded, and whatever else is refused, by name."""

import dataclasses
import json
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
import safetensors
import safetensors.numpy

from hpax import atlas, models
from hpax.models import checks, store
from hpax.nn.backbones import BACKBONES
from hpax.nn.unet import DualPathUNet, LightUNet

OPTIONS = {"widths": (4, 6), "momentum": 0.9}
CHANNELS = ("microtubules", "er", "nucleus")


@dataclasses.dataclass
class State:
    params: dict
    model_state: dict


def _state(seed=0):
    variables = properties.drawn(LightUNet(**OPTIONS).init, jnp.zeros((1, 8, 8, 3)), seed=seed)
    noise = np.random.default_rng(seed)
    params, state = (
        jax.tree.map(lambda leaf: noise.uniform(0.1, 1, leaf.shape).astype(np.float32), variables[name])
        for name in ("params", "batch_stats")
    )
    return State(params, {"batch_stats": state})


STATE = _state()


def _save(path, **changes):
    told = {"architecture": "light-unet", "options": OPTIONS, "channels": CHANNELS, "um_per_pixel": 0.32}
    return models.save(path, **{**told, "state": STATE, "card": "# A card\n", "half": False, **changes})


def _parts(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata(), safetensors.numpy.load_file(path)


def _changed(path, metadata=(), leaves=(), without=()):
    """The same file with other metadata and leaves."""
    old_metadata, old_leaves = _parts(path)
    kept = {name: leaf for name, leaf in old_leaves.items() if name not in without}
    safetensors.numpy.save_file(kept | dict(leaves), path, old_metadata | dict(metadata))
    return path


@pytest.fixture
def path(tmp_path):
    return _save(tmp_path / "net.safetensors")


def test_what_is_saved_is_loaded(path):
    net = models.load_network(path)
    jax.tree.map(np.testing.assert_array_equal, (net.params, net.model_state), (STATE.params, STATE.model_state))
    assert (net.model, net.channels, net.um_per_pixel) == (LightUNet(**OPTIONS), CHANNELS, 0.32)
    assert net.card == path.with_suffix(".md").read_text() == "# A card\n"
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    expected = LightUNet(**OPTIONS).apply({"params": STATE.params, **STATE.model_state}, image)
    np.testing.assert_array_equal(net.model.apply(net.variables, image), expected)
    assert {file.name for file in path.parent.iterdir()} == {"net.safetensors", "net.md"}


def test_a_dual_path_network_is_saved_and_loaded_too(tmp_path):
    options = {"stem": 4, "widths": (8,), "growth": (2,), "depths": (1,), "bottleneck": 4, "groups": 2}
    net = DualPathUNet(**options)
    variables = properties.drawn(net.init, jnp.zeros((1, 4, 4, 1)))
    state = State(variables.pop("params"), variables)
    told = {"architecture": "dpn-unet", "options": options, "channels": ("nucleus",), "state": state}
    again = models.load_network(_save(tmp_path / "dpn.safetensors", **told))
    assert again.model == net
    jax.tree.map(np.testing.assert_array_equal, again.params, state.params)


@pytest.mark.parametrize(("architecture", "options"), [("cam-net", {"pooling": "gem"}), ("cell-net", {})])
def test_a_head_is_saved_with_its_backbone_by_name(tmp_path, architecture, options):
    net = models.ARCHITECTURES[architecture](BACKBONES["inception-tiny"](), **options)
    variables = properties.drawn(net.init, jnp.zeros((1, 96, 96, 4)))
    state = State(variables.pop("params"), variables)
    options = {"backbone": "inception-tiny", **options}
    told = {"architecture": architecture, "options": options, "channels": atlas.CHANNELS, "state": state}
    again = models.load_network(_save(tmp_path / "net.safetensors", **told, size=96, masked=True))
    assert (again.model, again.size, again.masked) == (net, 96, True)
    jax.tree.map(np.testing.assert_array_equal, again.variables, {"params": state.params, **state.model_state})
    wrong = {"pooling": "sum"} if "pooling" in options else {"backbone": "resnet"}
    with pytest.raises(ValueError, match=f"the option {next(iter(wrong))} of {architecture}"):
        models.load_network(_changed(tmp_path / "net.safetensors", metadata={"options": json.dumps(options | wrong)}))


def test_halved_kernels_are_off_by_one_part_in_2048_at_most(tmp_path, path):
    half = models.load_network(_save(tmp_path / "half.safetensors", half=True))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.variables)} == {np.dtype(np.float32)}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2**-11), half.params, STATE.params)
    jax.tree.map(np.testing.assert_array_equal, half.model_state, STATE.model_state)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * path.stat().st_size
    huge = jax.tree.map(lambda leaf: leaf * 1e6, STATE.params)
    with pytest.raises(ValueError, match="half=False"):
        _save(tmp_path / "huge.safetensors", state=State(huge, STATE.model_state), half=True)


def test_every_wrong_leaf_is_listed(path):
    there = "params/head/bias"
    wrong = {"params/extra": np.zeros(3, np.float32), "params/head/kernel": np.zeros((2, 2), np.float32)}
    wrong |= {"params/across0/bias": np.zeros(4, np.int32), "params/up0/bias": np.full(4, np.nan, np.float32)}
    with pytest.raises(ValueError, match="holds no network") as error:
        models.load_network(_changed(path, leaves=wrong, without=[there]))
    told = [
        f"{there} is missing",
        "params/extra is unexpected",
        "params/head/kernel must have shape (4, 8), got (2, 2)",
    ]
    told += ["params/across0/bias must be float16 or float32, got int32", "params/up0/bias has NaN"]
    assert [part for part in told if part not in str(error.value)] == []


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"architecture": "os.system"}, "no architecture 'os.system'; there are light-unet"),
        ({"options": json.dumps({"depth": 3})}, "must be among"),
        ({"options": json.dumps({"widths": [10**9, 4]})}, "the option widths"),
        ({"options": json.dumps({"widths": [4] * 1000})}, "the option widths"),
        ({"options": json.dumps({"widths": "abc"})}, "the option widths"),
        ({"options": json.dumps({"momentum": None})}, "the option momentum"),
        ({"options": "[" * 100_000}, "no network"),
        ({"options": json.dumps([1])}, "must be among"),
        ({"channels": json.dumps(["blue"])}, "channels must be some of"),
        ({"channels": json.dumps("nucleus")}, "channels must be some of"),
        ({"channels": json.dumps([["er"]])}, "no network"),
        ({"channels": json.dumps(["nucleus"])}, "params/down0a/kernel must have shape"),
        ({"um_per_pixel": "NaN"}, "um_per_pixel must be positive"),
        ({"format": "other"}, "its format must be"),
    ],
)
def test_hostile_metadata_is_refused(path, metadata, told):
    with pytest.raises(ValueError, match="holds no network of hpax") as error:
        models.load_network(_changed(path, metadata))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"architecture": "dpn-unet", "options": json.dumps({"depths": [8192] * 4})}, "depths asks for 32768 blocks"),
        ({"options": json.dumps({"widths": [8192] * 8})}, "widths asks for 65536 channels"),
        ({"architecture": "x" * 10**6}, "its architecture has 1000000 characters"),
        ({"architecture": "x" * 10**4}, "… (10002 characters)"),
        ({"options": json.dumps({"widths": "x" * 16_000})}, "characters)"),
        ({"options": " " * 10**6 + "{}"}, "its options has 1000002 characters"),
        ({"card": "x" * (store.MAX_CARD + 1)}, "its card has"),
        ({"channels": json.dumps(["er"] * 1000)}, "each once"),
        ({"um_per_pixel": "1e-300"}, "um_per_pixel must be positive"),
        ({"y" * 10**6: "x" * 10**6}, "has 1000000 characters"),
    ],
)
def test_what_a_file_asks_for_is_bounded_and_so_is_what_is_said_of_it(path, metadata, told):
    began = time.monotonic()
    with pytest.raises(ValueError, match="holds no network of hpax") as error:
        models.load_network(_changed(path, metadata))
    assert told in str(error.value)
    assert len(str(error.value)) < 3000
    assert time.monotonic() - began < 5


def test_a_name_of_a_megabyte_and_a_thousand_strange_leaves_are_told_in_short(path):
    strange = {f"params/{number:04}": np.zeros(1, np.float32) for number in range(1000)}
    with pytest.raises(ValueError, match="and 981 more") as error:
        models.load_network(_changed(path, leaves=strange | {"params/" + "x" * 10**6: np.zeros(1, np.float32)}))
    assert len(str(error.value)) < 3000
    with pytest.raises(ValueError, match="more than the bound of 4096"):
        models.load_network(_changed(path, leaves={f"p{number}": np.zeros(0, np.float32) for number in range(5000)}))


def test_a_variance_is_not_negative(path):
    name = "model_state/batch_stats/down0a_norm/var"
    with pytest.raises(ValueError, match=f"{name} has variances down to -0.5"):
        models.load_network(_changed(path, leaves={name: np.full(4, -0.5, np.float32)}))


def test_a_network_whose_answer_is_not_finite_is_refused(path):
    huge = {name: np.full_like(leaf, 1e30) for name, leaf in _parts(path)[1].items() if name.endswith("kernel")}
    with pytest.raises(ValueError, match="its answer to an image of noise"):
        models.load_network(_changed(path, leaves=huge))


@pytest.mark.parametrize("name", models.NAMES)
def test_shipped_networks_answer_with_finite_numbers(name):
    net = models.load_network(name)
    checks.check_answer(net.model, len(net.channels), net.variables)


def test_damaged_and_foreign_files_are_refused(path, tmp_path, monkeypatch):
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:20], b"\xff" * 64, b"\x80\x04\x95pickle"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no network"):
            models.load_network(path)
    safetensors.numpy.save_file({"a": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="its format"):
        models.load_network(path)
    path.write_bytes(whole)
    monkeypatch.setattr(store, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="bound of 100"):
        models.load_network(path)


def test_unknown_names_and_missing_files_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="segment-nuclei, segment-cells"):
        models.load_network("segment-nucleus")
    with pytest.raises(ValueError, match=r"no network '\.\./\.\./secret'"):
        models.load_network("../../secret")
    with pytest.raises(FileNotFoundError, match="segment_fields"):
        models.load_network(tmp_path / "none.safetensors")


def test_wrong_weights_are_not_saved(tmp_path):
    path = tmp_path / "net.safetensors"
    for changes in ({"options": {"widths": (4, 5)}}, {"channels": ("nucleus",)}, {"architecture": "dpn-unet"}):
        with pytest.raises(ValueError, match=r"must|missing"):
            _save(path, **changes)
    with pytest.raises(ValueError, match=r"end in \.safetensors"):
        _save(tmp_path / "net.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", models.NAMES)
def test_shipped_networks_are_small_and_have_their_card(name):
    assert name in models.NAMES
    net, path = models.load_network(name), store.WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    assert net.card == path.with_suffix(".md").read_text(encoding="utf-8")
    assert net.channels == ("protein", "marker") if name == "encode-yeast" else "nucleus" in net.channels


def test_shipped_networks_together_are_small():
    assert {path.stem for path in store.WEIGHTS.glob("*.safetensors")} == set(models.NAMES)
    assert sum(path.stat().st_size for path in store.WEIGHTS.iterdir()) < 24e6
