"""What is trained is what is saved, loaded and asked for features."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from hpax import features, models, train
from hpax.data.cell_crops import dummy
from hpax.models.encoder import Encoder
from hpax.recipes import inpaint
from hpax.recipes.cells import Atlas, Data, open_cells
from hpax.recipes.optimizers import Adam
from hpax.tasks.inpaint import PairedInpainting

TINY = inpaint.Config(network=inpaint.Network(width=0.03), optimizer=Adam(batch_size=16, steps=2))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    dummy.write(folder / "crops", "human")
    return open_cells(Data(cells="human", folder=folder / "crops", data_dir=folder / "data"))


@pytest.fixture(scope="module")
def workdir(cells, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    inpaint.train_model(TINY, cells, workdir, seed=3)
    return workdir


def crops(cells):
    return np.stack([cells.everything[place]["image"] for place in range(len(cells.everything))])


def test_features_of_the_saved_encoder_are_the_task_s_to_the_bit(cells, workdir):
    run = inpaint.build(TINY, cells, seed=3)
    state = train.fit(run, workdir)  # trained before: the last state is read
    encode = features.on_devices(run.task.encode, state.params, state.model_state)
    expected = [encode(batch["image"]) for batch in cells.batches()]
    encoder = Encoder.load(workdir / inpaint.FILE)
    found = encoder.features(crops(cells))
    assert tuple(found) == encoder.layers
    for layer in encoder.layers:
        rows = np.concatenate([np.asarray(part[layer]) for part in expected])[: len(cells.everything)]
        np.testing.assert_array_equal(found[layer], rows)
    np.testing.assert_array_equal(encoder.features(crops(cells), "conv3"), found["conv3"])
    assert encoder.features(crops(cells)[:0], layer="conv1").shape == (0, found["conv1"].shape[1])


def test_a_contrast_needs_pairs_of_one_protein_and_cells_of_two(tmp_path):
    for wrong in ({"contrast": -0.1}, {"contrast": 0.1, "pair": "random"}):
        with pytest.raises(ValueError, match="contrast must be a weight"):
            dataclasses.replace(TINY, **wrong)
    dummy.write(tmp_path / "yeast", "yeast", {"AAA1": 31})
    cells = open_cells(Data(cells="yeast", folder=tmp_path / "yeast", data_dir=tmp_path / "data"))
    with pytest.raises(ValueError, match="needs cells of two proteins"):
        inpaint.build(dataclasses.replace(TINY, contrast=0.1), cells)


def test_pairs_of_one_protein_are_of_two_fields(tmp_path):
    made = Atlas(proteins=57, size=160, fields=2)
    cells = open_cells(Data(atlas=made, data_dir=tmp_path))
    batch = inpaint.build(dataclasses.replace(TINY, pair="protein"), cells).batches[0]
    source, target = (cells.training.table.iloc[batch[name]] for name in ("index", "target_index"))
    assert (source["protein"].to_numpy() == target["protein"].to_numpy()).all()
    assert (source["field"].to_numpy() != target["field"].to_numpy()).all()


def test_the_network_of_one_vector_learns_from_crops_of_another_resolution(tmp_path):
    cells = open_cells(Data(atlas=Atlas(proteins=57, size=192), resolution=32, er=True, data_dir=tmp_path / "data"))
    assert (cells.size, cells.um_per_pixel) == (32, pytest.approx(1.28))
    config = dataclasses.replace(TINY, contrast=0.1, network=inpaint.Network(kind="vector", width=0.03))
    encoder = inpaint.train_model(config, cells, tmp_path / "run", seed=3)
    assert (encoder.network.architecture, encoder.size, len(encoder.channels)) == ("vector-inpainter", 32, 4)
    assert set(encoder.network.params) == {"source", "norm", "painter"}  # no head of a contrast
    assert encoder.features(crops(cells)[:2], "conv5").shape == (2, round(0.03 * 256))


def test_published_crops_are_of_their_own_size(tmp_path):
    with pytest.raises(ValueError, match="resolution must be 64 of crops that are not cut out here, got 128"):
        Data(cells="human", folder=tmp_path, resolution=128)
    for wrong in (0, -8, 36):
        with pytest.raises(ValueError, match=f"resolution must be a positive multiple of 8, got {wrong}"):
            Data(resolution=wrong)
    for wrong in ({"cells": "human", "folder": tmp_path, "crop_um": 20.0}, {"crop_um": 0.1}, {"crop_um": 2000.0}):
        with pytest.raises(
            ValueError, match=r"crop_um must be 5 to 400, and 40\.96 of crops that are not cut out here"
        ):
            Data(**wrong)


def test_crops_are_as_wide_as_asked(tmp_path):
    """Of one scene a crop of half the width is the middle of the whole one."""
    few = Atlas(proteins=57, size=192)
    whole, middle = (
        open_cells(Data(atlas=few, crop_um=crop_um, resolution=side, data_dir=tmp_path))
        for crop_um, side in ((40.96, 128), (20.48, 64))
    )
    assert middle.um_per_pixel == whole.um_per_pixel == pytest.approx(0.32, rel=0.01)
    assert whole.everything.table.index.equals(middle.everything.table.index)
    for one, other in zip(
        whole.everything.__getitems__(range(5)), middle.everything.__getitems__(range(5)), strict=True
    ):
        np.testing.assert_array_equal(one["image"][32:96, 32:96], other["image"])


@pytest.mark.slow
def test_with_a_contrast_beside_it_the_same_kind_of_encoder_is_kept(cells, workdir, tmp_path):
    config = dataclasses.replace(TINY, contrast=0.1)
    encoder = inpaint.train_model(config, cells, tmp_path, seed=3)
    run = inpaint.build(config, cells, seed=3)
    state = train.fit(run, tmp_path)  # trained before: the last state is read
    expected = run.task.encode(state.params, state.model_state, encoder.prepare(crops(cells)))
    for layer, rows in encoder.features(crops(cells)).items():
        np.testing.assert_allclose(rows, expected[layer], rtol=1e-4, atol=1e-5)
    alone = Encoder.load(workdir / inpaint.FILE)
    assert jax.tree.map(jnp.shape, encoder.network.params) == jax.tree.map(jnp.shape, alone.network.params)
    assert "0.1" in encoder.network.card
    proteins = cells.training.table["protein"].to_numpy(str)
    one, other = run.task.proteins[np.unique(proteins, return_index=True)[1][:2]]
    assert one != other


def test_the_number_of_cells_looked_at_together_changes_nothing_but_rounding(cells, workdir):
    encoder = Encoder.load(workdir / inpaint.FILE)
    few = dataclasses.replace(encoder, batch=8)
    np.testing.assert_allclose(few.features(crops(cells), "conv5"), encoder.features(crops(cells), "conv5"), rtol=1e-5)


def test_a_file_says_what_it_must_be_shown(cells, workdir):
    network = models.load_network(workdir / inpaint.FILE)
    assert isinstance(models.load(workdir / inpaint.FILE), Encoder)
    assert (network.architecture, network.size, network.preprocessing) == ("inpainter", 64, "human")
    assert network.channels == ("protein", "nucleus", "microtubules")
    assert network.um_per_pixel == pytest.approx(0.64)
    encoder = Encoder(network)
    for wrong in (crops(cells)[..., :2], crops(cells)[:, :32, :32]):
        with pytest.raises(ValueError, match="crops must be"):
            encoder.features(wrong)
    with pytest.raises(ValueError, match="layer must be one of conv1"):
        encoder.features(crops(cells), layer="conv9")
    with pytest.raises(ValueError, match="must be an inpainter"):
        Encoder(models.load_network("segment-nuclei"))


def test_devices_that_hold_the_cells_learn_the_same(cells, workdir, tmp_path):
    resident = dataclasses.replace(TINY, resident="yes")
    found = inpaint.train_model(resident, cells, tmp_path, seed=3).network.params
    jax.tree.map(np.testing.assert_array_equal, found, Encoder.load(workdir / inpaint.FILE).network.params)
    assert not inpaint.lives_on_device("no")
    assert inpaint.lives_on_device("auto") == (jax.default_backend() != "cpu")


@pytest.mark.slow
def test_training_in_half_the_bits_saves_whole_numbers_close_by(cells, workdir, tmp_path):
    half = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, dtype="bfloat16"))
    found = inpaint.train_model(half, cells, tmp_path, seed=3)
    exact = Encoder.load(workdir / inpaint.FILE)
    for one, other in zip(jax.tree.leaves(found.network.params), jax.tree.leaves(exact.network.params), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=5e-3)  # two steps of Adam at 1e-3
    assert found.features(crops(cells)[:4], "conv3").dtype == np.float32


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"preprocessing": json.dumps("os.system")}, "the preprocessing of inpainter must be of"),
        ({"preprocessing": json.dumps(None)}, "the preprocessing of inpainter must be of"),
        ({"options": json.dumps({"width": "wide"})}, "the option width"),
        ({"options": json.dumps({"width": 1.0})}, "must have shape"),
        ({"options": json.dumps({"width": 0.03, "decoder_width": -1.0})}, "the option decoder_width"),
    ],
)
def test_hostile_metadata_is_refused(workdir, tmp_path, metadata, told):
    with safetensors.safe_open(workdir / inpaint.FILE, framework="numpy") as file:
        before = file.metadata()
    leaves = safetensors.numpy.load_file(workdir / inpaint.FILE)
    safetensors.numpy.save_file(leaves, tmp_path / "net.safetensors", before | metadata)
    with pytest.raises(ValueError, match="holds no network of hpax") as error:
        Encoder.load(tmp_path / "net.safetensors")
    assert told in str(error.value)


def test_yeast_has_a_marker_and_a_pixel_size_that_nobody_knows(tmp_path):
    dummy.write(tmp_path / "crops", "yeast")
    cells = open_cells(Data(cells="yeast", folder=tmp_path / "crops", data_dir=tmp_path / "data"))
    path = inpaint.untrained(TINY, cells).save(tmp_path / "yeast.safetensors")
    encoder = Encoder.load(path)
    assert (encoder.channels, encoder.network.preprocessing) == (("protein", "marker"), "yeast")
    assert math.isnan(encoder.network.um_per_pixel)
    assert encoder.features(crops(cells)[:3], "conv2").shape[0] == 3


def test_epochs_pass_over_all_cells_and_equal_settings_share_an_optimizer(cells):
    config = dataclasses.replace(TINY, optimizer=Adam(batch_size=16, epochs=2.0))
    run = inpaint.build(config, cells)
    assert run.steps == 2 * math.ceil(len(cells.training) / 16)
    assert run.optimizer is inpaint.build(config, cells, seed=1).optimizer
    with pytest.raises(ValueError, match="epochs at least 0"):
        Adam(epochs=-1.0)


def test_data_of_another_kind_has_another_name(cells, tmp_path):
    dummy.write(
        tmp_path / "crops",
        "human",
    )
    same = open_cells(Data(cells="human", folder=tmp_path / "crops", data_dir=tmp_path / "data"))
    assert same.name == cells.name
    assert dataclasses.replace(cells, channels=("protein", "nucleus")).name != cells.name


def test_folders_are_asked_for():
    with pytest.raises(ValueError, match="give --folder FOLDER"):
        open_cells(Data(cells="human"))
    with pytest.raises(ValueError, match="give --fields FOLDER"):
        open_cells(Data(cells="hpa"))


@pytest.mark.slow
@pytest.mark.real
def test_the_published_preset_takes_steps_on_real_fields(real_data, tmp_path):
    from experiments import inpaint_pairs

    command = ["--preset", "lu2019", "--fields", str(real_data / "hpa_fields"), "--recipe.optimizer.epochs", "0"]
    command += ["--recipe.optimizer.steps", "3", "--data-dir", str(tmp_path / "data")]
    assert inpaint_pairs.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    (encoder,) = (tmp_path / "run" / "encoders").glob(f"*/{inpaint.FILE}")
    assert models.load_network(encoder).options == {"width": 1.0}


def test_the_published_preset_has_the_published_network():
    assert inpaint.PRESETS["lu2019"]["network.width"] == 1.0
    images = np.zeros((1, 8, 8, 3), np.float32)
    batch = {"source": images, "target": images}
    model = inpaint.Inpainter(1.0, inpaint.PRESETS["lu2019"]["network.decoder_width"])
    shapes = jax.eval_shape(PairedInpainting(model).init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 7_324_529


def test_paintings_brighter_than_white_are_dimmed_and_others_stay(untyped):
    rng = np.random.default_rng(0)
    batch = {side: rng.uniform(size=(3, 16, 16, 3)).astype(np.float32) for side in ("source", "target")}

    def paint(source, markers):
        return source[..., :1] / source[..., :1].max((1, 2, 3), keepdims=True)

    expected = inpaint.inpainting(paint, batch)
    np.testing.assert_array_equal(inpaint.inpainting(lambda *seen: 40 * paint(*seen), batch), expected)
    dark = inpaint.inpainting(lambda *seen: 0.2 * paint(*seen), batch)
    assert (dark <= expected).all()
    assert (dark < expected).any()


def test_an_error_that_nobody_knows_is_refused(untyped):
    with pytest.raises(ValueError, match=r"error must be one of squared, absolute, correlation, got 'hinge'"):
        inpaint.Config(error="hinge")
