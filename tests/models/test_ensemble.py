"""Fields to labelled cells: what each kind of network says, and both, whatever the pixels' size."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from hpax import atlas, images, models
from hpax.fields import Masks
from hpax.nn.backbones import BACKBONES
from hpax.predict import cams, combine
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification
from hpax.tasks.localize import Localization

NOISE = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64, 4)), (3, 3, 0))
FIELD = np.clip(128 + 60 * NOISE / NOISE.std(), 0, 255).astype(np.uint8)
SQUARES = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((32, 32), int))
SQUARES[::32] = SQUARES[:, ::32] = 0
MASKS = Masks(SQUARES.astype(np.uint16), np.where(SQUARES == 3, 0, SQUARES).astype(np.uint16))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """An image-level and a cell-level network, untrained, that went through a file."""
    folder, found = tmp_path_factory.mktemp("networks"), {}
    for seed, (kind, size) in enumerate({"cam-net": 64, "cell-net": 32}.items()):
        net = models.ARCHITECTURES[kind](BACKBONES["plain-tiny"]())
        variables = jax.jit(net.init)(jax.random.key(seed), jnp.zeros((1, 32, 32, 4)))
        state = types.SimpleNamespace(params=variables.pop("params"), model_state=variables)
        told = {"channels": atlas.CHANNELS, "um_per_pixel": 0.5, "size": size, "masked": kind == "cell-net"}
        path = folder / f"{kind}.safetensors"
        models.save(path, architecture=kind, options={"backbone": "plain-tiny"}, state=state, card="", **told)
        found[kind] = models.load(path)
    return found


def test_cells_are_seen_as_in_training(networks):
    net = networks["cell-net"]
    _, crops = cell_images(FIELD, MASKS, 0.5, crop_um=16, size=32, masked=True)
    seen = Classification(net.model).predict(net.params, net.model_state, images.as_float(crops))
    found = models.Labeller([net], turns=1)(FIELD, MASKS, 0.5)
    np.testing.assert_allclose(found.cells, seen, atol=1e-5)
    assert found.field is None
    assert found.maps is None


def test_both_kinds_meet(networks):
    net = networks["cam-net"]
    (field,), (maps,) = Localization(net.model).predict(net.params, net.model_state, images.as_float(FIELD[None]))
    both = models.Labeller(list(networks.values()), turns=1)(FIELD, MASKS, 0.5)
    np.testing.assert_allclose(both.field, field, atol=1e-5)
    cells = models.Labeller([networks["cell-net"]], turns=1)(FIELD, MASKS, 0.5).cells
    read = cams.cell_probabilities(np.asarray(maps), np.asarray(field), MASKS.cells)
    np.testing.assert_allclose(both.cells, combine.fuse(np.asarray(field), [read, cells]), atol=1e-4)
    np.testing.assert_array_equal(both.cell_only, cells)
    alone = models.Labeller([net], turns=1)(FIELD, MASKS, 0.5)
    np.testing.assert_allclose(alone.cells, (field + read) / 2, atol=1e-4)
    np.testing.assert_allclose(alone.cell_only, read, atol=1e-4)


def test_the_same_network_twice_is_itself(networks):
    one, two = (models.Labeller([networks["cell-net"]] * times, turns=1)(FIELD, MASKS, 0.5) for times in (1, 2))
    np.testing.assert_allclose(one.cells, two.cells, rtol=1e-6)


def test_finer_pixels_change_little(networks):
    labeller = models.Labeller(list(networks.values()), turns=1)
    coarse = labeller(FIELD, MASKS, 0.5)
    finer = [np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in (FIELD, MASKS.cells, MASKS.nuclei)]
    fine = labeller(finer[0], Masks(*finer[1:]), 0.25)
    wrong = labeller(finer[0], Masks(*finer[1:]), 0.5)
    assert np.abs(fine.cells - coarse.cells).max() < 0.3 * np.abs(wrong.cells - coarse.cells).max()
    np.testing.assert_allclose(fine.field, coarse.field, atol=2e-3)


def test_a_field_without_cells_has_none(networks):
    empty = np.zeros((64, 64), np.uint16)
    assert models.Labeller(list(networks.values()), turns=1)(FIELD, Masks(empty, empty), 0.5).cells.shape == (0, 19)


def test_what_labels_nothing_is_refused(networks):
    with pytest.raises(ValueError, match="needs networks of kind"):
        models.Labeller([])
    with pytest.raises(ValueError, match="um_per_pixel"):
        models.Labeller([networks["cell-net"]])(FIELD, MASKS, 0.0)
