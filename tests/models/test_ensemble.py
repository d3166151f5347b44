"""Fields to labelled cells: what each kind of network says, and both, whatever a pixel's size; in files and folders."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest
from scipy import ndimage

from hpax import atlas, fields, images, models
from hpax.fields import Masks
from hpax.models import ensemble, field_classifier
from hpax.nn.backbones import BACKBONES
from hpax.predict import cams, combine, tta
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification
from hpax.tasks.localize import Localization

NOISE = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64, 4)), (3, 3, 0))
IMAGE = np.clip(128 + 60 * NOISE / NOISE.std(), 0, 255).astype(np.uint8)
SQUARES = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((32, 32), int))
SQUARES[::32] = SQUARES[:, ::32] = 0
MASKS = Masks(SQUARES.astype(np.uint16), np.where(SQUARES == 3, 0, SQUARES).astype(np.uint16))
FIELD = fields.Field(id="a", image=IMAGE, um_per_pixel=0.5, masks=MASKS)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """An image-level and a cell-level network, untrained, that went through a file."""
    folder, found = tmp_path_factory.mktemp("networks"), {}
    for seed, (kind, size) in enumerate({"cam-net": 64, "cell-net": 32}.items()):
        net = models.ARCHITECTURES[kind](BACKBONES["plain-tiny"]())
        variables = properties.drawn(net.init, jnp.zeros((1, 32, 32, 4)), seed=seed)
        state = types.SimpleNamespace(params=variables.pop("params"), model_state=variables)
        told = {"channels": atlas.CHANNELS, "um_per_pixel": 0.5, "size": size, "masked": kind == "cell-net"}
        path = folder / f"{kind}.safetensors"
        models.save(path, architecture=kind, options={"backbone": "plain-tiny"}, state=state, card="", **told)
        found[kind] = models.load_network(path)
    return found


@pytest.fixture(scope="module")
def both(networks):
    return models.Ensemble.of(list(networks.values()), tta=1)


def cells_alone(networks, views=1):
    return models.Ensemble.of([networks["cell-net"]], tta=views)


def test_cells_are_seen_as_in_training(networks):
    net = networks["cell-net"]
    _, crops = cell_images(IMAGE, MASKS, 0.5, crop_um=16, size=32, masked=True)
    seen = Classification(net.model).predict(net.params, net.model_state, images.as_float(crops))
    found = cells_alone(networks).predict(FIELD)
    np.testing.assert_allclose(found.cells, seen, atol=1e-5)
    assert found.field is None
    assert found.maps is None


def test_both_kinds_meet(networks, both):
    net = networks["cam-net"]
    (field,), (maps,) = Localization(net.model).predict(net.params, net.model_state, images.as_float(IMAGE[None]))
    found = both.predict(FIELD)
    np.testing.assert_allclose(found.field, field, atol=1e-5)
    np.testing.assert_allclose(found.maps, maps, atol=1e-4)
    cells = cells_alone(networks).predict(FIELD).cells
    read = cams.cell_probabilities(np.asarray(maps), np.asarray(field), MASKS.cells)
    np.testing.assert_allclose(found.cells, combine.fuse(np.asarray(field), [read, cells]), atol=1e-4)
    np.testing.assert_array_equal(found.cell_only, cells)
    alone = models.Ensemble.of([net], tta=1).predict(FIELD)
    np.testing.assert_allclose(alone.cells, (field + read) / 2, atol=1e-4)
    np.testing.assert_allclose(alone.cell_only, read, atol=1e-4)


def test_the_same_network_twice_is_itself(networks):
    one, two = (models.Ensemble.of([networks["cell-net"]] * times, tta=1).predict(FIELD) for times in (1, 2))
    np.testing.assert_allclose(one.cells, two.cells, rtol=1e-6)


def test_finer_pixels_change_little(both):
    image, cells, nuclei = (np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in (IMAGE, MASKS.cells, MASKS.nuclei))
    finer = fields.Field(id="a", image=image, um_per_pixel=0.25, masks=Masks(cells, nuclei))
    coarse, fine = both.predict(FIELD), both.predict(finer)
    wrong = both.predict(dataclasses.replace(finer, um_per_pixel=0.5))
    assert np.abs(fine.cells - coarse.cells).max() < 0.3 * np.abs(wrong.cells - coarse.cells).max()
    np.testing.assert_allclose(fine.field, coarse.field, atol=2e-3)


def test_the_full_scale_of_sixteen_bits_is_that_of_eight(both):
    deep = dataclasses.replace(FIELD, image=IMAGE.astype(np.uint16) * 257)
    for one, other in zip(both.predict(FIELD), both.predict(deep), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_views_of_a_field_are_averaged_one_by_one(networks):
    net = networks["cam-net"]
    oblong = fields.Field(id="a", image=IMAGE[:48], um_per_pixel=0.5)
    classifier = models.FieldClassifier(net)
    predict = Localization(net.model).predict
    probabilities, maps = [], []
    for turn in tta.ALL:
        seen = images.as_float(np.ascontiguousarray(turn(oblong.image[None])))
        prob, found = predict(net.params, net.model_state, seen)
        probabilities.append(np.asarray(prob)[0])
        maps.append(turn.back(np.asarray(found))[0])
    found = classifier.predict(oblong)
    np.testing.assert_allclose(found.probabilities, np.mean(probabilities, 0), atol=1e-5)
    np.testing.assert_allclose(found.maps, np.mean(maps, 0), atol=1e-4)


def test_the_views_of_cells_are_those_of_each_cell_alone(networks):
    net = networks["cell-net"]
    classifier = models.CellClassifier(net)
    predict = jax.jit(Classification(net.model).predict)
    expected = []
    for crop in classifier.crops(FIELD):
        views = []
        for turn in tta.ALL:
            view = images.as_float(np.ascontiguousarray(turn(crop[None])))
            views.append(np.asarray(predict(net.params, net.model_state, view))[0])
        expected.append(np.mean(views, 0))
    assert classifier.predict(FIELD).shape == (4, 19)
    np.testing.assert_allclose(classifier.predict(FIELD), expected, atol=1e-5)


@pytest.mark.parametrize(("seen", "whole"), [((5, 8), (8, 8)), ((8, 8), (8, 8)), ((9, 6), (12, 8)), ((1, 1), (8, 8))])
def test_maps_of_a_padded_image_are_those_over_the_image(seen, whole):
    rows, columns = (np.arange(4 * side) for side in whole)
    maps = (
        np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float32) + 0.5
    )  # the centres of pixels
    found = field_classifier._within(maps, (*seen, 4), (*whole, 4))
    assert found.shape == (4 * seen[0], 4 * seen[1], 2)
    np.testing.assert_allclose(found, maps[: 4 * seen[0], : 4 * seen[1]], atol=1e-4)


def test_maps_coarser_than_what_was_added_keep_their_place():
    """A map's pixel that lies half on the image counts for that half: positions are those of the image."""
    rows = np.tile(np.arange(8, dtype=np.float32)[:, None, None] + 0.5, (1, 8, 1))
    found = field_classifier._within(rows, (60, 64, 4), (64, 64, 4))  # 7.5 of 8 rows
    centres = (np.arange(8) + 0.5) * 7.5 / 8
    np.testing.assert_allclose(found[1:-1, :, 0], np.tile(centres[1:-1, None], (1, 8)), atol=0.1)


def test_maps_of_a_field_that_is_padded_lie_over_the_field(networks):
    classifier = models.FieldClassifier(networks["cam-net"], tta=1)
    whole = classifier.predict(FIELD).maps
    part = classifier.predict(fields.Field(id="a", image=IMAGE[:60], um_per_pixel=0.5)).maps
    scale = whole.shape[0] / 64
    assert part.shape == (round(60 * scale), whole.shape[1], 19)
    y = (np.arange(len(part)) + 0.5) * 60 / len(part)  # pixels of the field that each row of maps lies at
    rows = np.abs(y[:, None] - (np.arange(len(whole)) + 0.5) / scale).argmin(1)
    assert np.corrcoef(part.ravel(), whole[rows].ravel())[0, 1] > 0.9


def test_a_field_without_cells_has_none(both):
    empty = np.zeros((64, 64), np.uint16)
    found = both.predict(dataclasses.replace(FIELD, masks=Masks(empty, empty)))
    assert found.cells.shape == found.cell_only.shape == (0, 19)


def test_what_labels_nothing_is_refused(networks):
    with pytest.raises(ValueError, match="needs a network of kind"):
        models.Ensemble.of([])
    with pytest.raises(ValueError, match="needs networks of kind"):
        models.Ensemble.load(["segment-nuclei"])
    with pytest.raises(ValueError, match="field classifier needs a network of kind cam-net, got cell-net"):
        models.FieldClassifier(networks["cell-net"])
    with pytest.raises(ValueError, match="cell classifier needs a network of kind cell-net, got cam-net"):
        models.CellClassifier(networks["cam-net"])
    with pytest.raises(ValueError, match="tta must be 1, 2, 4 or 8"):
        cells_alone(networks, views=3)
    with pytest.raises(ValueError, match="um_per_pixel"):
        cells_alone(networks).predict(dataclasses.replace(FIELD, um_per_pixel=0.0))


def test_a_field_that_nobody_looked_for_cells_in_is_refused(both):
    with pytest.raises(ValueError, match="masks"):
        both.predict(dataclasses.replace(FIELD, masks=None))


def test_cells_are_seen_fewer_times_where_their_field_is_seen_too(networks):
    for asked, found in ((8, 4), (4, 4), (2, 2), (1, 1)):
        assert models.Ensemble.of(list(networks.values()), tta=asked).views == {"tta": asked, "cell_tta": found}
    assert cells_alone(networks, 8).views == {"tta": 1, "cell_tta": 8}
    with pytest.raises(ValueError, match="tta must be 1, 2, 4 or 8"):
        models.Ensemble.of([networks["cam-net"]], cell_tta=3)


def test_a_folder_that_says_one_number_of_views_means_both(networks, tmp_path):
    folder = models.Ensemble.of(list(networks.values()), tta=4).save(tmp_path)
    index = json.loads((folder / models.ensemble.INDEX).read_text())
    del index["cell_tta"]  # as earlier versions wrote it
    (folder / models.ensemble.INDEX).write_text(json.dumps(index))
    assert models.load(folder).views == {"tta": 4, "cell_tta": 4}


def test_a_folder_is_the_ensemble_again_to_the_bit(networks, tmp_path):
    saved = models.Ensemble.of([networks["cell-net"], networks["cam-net"], networks["cell-net"]], tta=1)
    loaded = models.load(saved.save(tmp_path / "models"))
    assert isinstance(loaded, models.Ensemble)
    assert {model.tta for model in (*loaded.fields, *loaded.cells)} == {1}
    other = models.Ensemble.of(saved.networks, tta=2, cell_tta=8)
    assert models.load(other.save(tmp_path / "other")).views == other.views == {"tta": 2, "cell_tta": 8}
    assert [net.architecture for net in loaded.networks] == ["cam-net", "cell-net", "cell-net"]
    for before, after in zip(saved.predict(FIELD), loaded.predict(FIELD), strict=True):
        np.testing.assert_array_equal(before, after)
    kinds = {"field0": models.FieldClassifier, "cell0": models.CellClassifier, "cell1": models.CellClassifier}
    for name, kind in kinds.items():
        assert isinstance(models.load(tmp_path / "models" / f"{name}.safetensors"), kind)
        assert (tmp_path / "models" / f"{name}.md").is_file()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 60_000,
        json.dumps({"networks": ["cell0.safetensors"]}),
        json.dumps({"networks": [], "tta": 1}),
        json.dumps({"networks": ["../cell0.safetensors"], "tta": 1}),
        json.dumps({"networks": ["/etc/passwd"], "tta": 1}),
        json.dumps({"networks": [7], "tta": 1}),
        json.dumps({"networks": ["cell0.safetensors"] * 65, "tta": 1}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": 3}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": "8"}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": True}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": [1]}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": 1, "cell_tta": 3}),
        json.dumps({"networks": ["cell0.safetensors"], "tta": 1}) + " " * 2**16,
        "\udcff",
    ],
)
def test_a_damaged_index_is_refused(networks, tmp_path, text):
    folder = cells_alone(networks).save(tmp_path / "models")
    (folder / ensemble.INDEX).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"ensemble\.json is damaged .*; save the ensemble again"):
        models.load(folder)


def test_a_folder_whose_networks_are_gone_or_label_nothing_is_refused(networks, tmp_path):
    folder = cells_alone(networks).save(tmp_path / "models")
    models.load_network("segment-nuclei").save(folder / "cell0.safetensors")
    with pytest.raises(ValueError, match="needs networks of kind"):
        models.load(folder)
    (folder / "cell0.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no network of hpax"):
        models.load(folder)
    (folder / "cell0.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"ensemble\.json is damaged \(it names 'cell0\.safetensors', which is not there"
    ):
        models.load(folder)
    with pytest.raises(FileNotFoundError, match=r"holds no ensemble\.json"):
        models.load(tmp_path)
