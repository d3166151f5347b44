"""What is trained is what is saved, loaded and asked, to the bit; and one scene has one answer at any pixel size."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from hpax import files, images, launch, models, simulate, train
from hpax.fields import Field
from hpax.predict import cells
from hpax.recipes import classify, learning, localize, scoring, weak_labels
from hpax.recipes.configs import SHIPPED
from hpax.recipes.optimizers import Optimizer
from hpax.tasks.classify import Classification
from hpax.tasks.localize import Localization

FEW = Optimizer(steps=2)
TINY = weak_labels.Config(
    field=localize.Config(um_per_pixel=1.28, window=32, pooling="lse", optimizer=FEW),
    cell=classify.Config(resolution=32, optimizer=FEW),
    folds=0,
)


@pytest.fixture(scope="module")
def trained(split, tmp_path_factory):
    """The ensemble that training returned, and the shelf that it left."""
    shelf = weak_labels.Shelf(tmp_path_factory.mktemp("shelf"), split.kind)
    return weak_labels.train_ensemble(TINY, split.training, split.validation.part([]), shelf), shelf.root


def only(root, name):
    (path,) = root.glob(f"*/{name}")
    return path


def same(first, second):
    """Every number of two predictions."""
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def state(run, folder):
    """The last state of a run that has ended."""
    return learning.fit(run, folder, describe="again")


def test_an_image_level_model_is_what_its_file_says_on_every_test_field(split, trained):
    ensemble, root = trained
    path = only(root, localize.FILE)
    loaded = models.load(path)
    assert isinstance(loaded, models.FieldClassifier)
    for field in split.test:
        same(ensemble.fields[0].predict(field), loaded.predict(field))
    config = dataclasses.replace(TINY.field, init_from=only(root, classify.FILE))
    run = localize.build(config, split.training, split.validation.part([]))
    last = state(run, path.parent)
    jax.tree.map(np.testing.assert_array_equal, loaded.network.params, jax.device_get(last.params))
    assert isinstance(run.task, Localization)
    predict = jax.jit(run.task.predict)
    for field in list(split.test)[:3]:
        seen = images.padded(images.to_um_per_pixel(field.image, 0.32, 1.28), loaded.network.model.stride)
        prob, maps = predict(last.params, last.model_state, images.as_float(seen)[None])
        alone = dataclasses.replace(loaded, tta=1).predict(field)
        same(alone, (np.asarray(prob)[0], np.asarray(maps)[0]))


def test_a_cell_level_model_is_what_its_file_says_on_every_test_field(split, trained):
    ensemble, root = trained
    path = only(root, classify.FILE)
    loaded = models.load(path)
    assert isinstance(loaded, models.CellClassifier)
    for field in split.test:
        np.testing.assert_array_equal(ensemble.cells[0].predict(field), loaded.predict(field))
    run = classify.build(TINY.cell, split.training, split.validation.part([]))
    last = state(run, path.parent)
    jax.tree.map(np.testing.assert_array_equal, loaded.network.params, jax.device_get(last.params))
    assert isinstance(run.task, Classification)
    predict = jax.jit(run.task.predict)
    field = split.test[0]
    crops = loaded.crops(field)
    batch = cells.CPU_BATCH
    seen = np.zeros((-(-len(crops) // batch) * batch, *crops.shape[1:]), np.float32)
    seen[: len(crops)] = images.as_float(crops)
    parts = [predict(last.params, last.model_state, seen[row : row + batch]) for row in range(0, len(seen), batch)]
    expected = np.concatenate(parts)[: len(crops)]
    np.testing.assert_array_equal(dataclasses.replace(loaded, tta=1).predict(field), expected)


def test_an_ensemble_is_what_its_folder_says_on_every_test_field(split, trained, tmp_path):
    ensemble, _ = trained
    loaded = models.load(ensemble.save(tmp_path / "models"))
    scored = [ensemble.predict(field) for field in split.test]
    for field, before in zip(split.test, scored, strict=True):
        same(before, loaded.predict(field))
    cells = [prediction.cells for prediction in scored]
    again = [loaded.predict(field).cells for field in split.test]
    assert scoring.score_cells(split.test, cells).mean() == scoring.score_cells(split.test, again).mean()


def test_a_card_says_what_was_learnt_from(split, trained):
    _, root = trained
    for name in (localize.FILE, classify.FILE):
        network = models.load_network(only(root, name))
        assert split.training.name in network.card
        assert f"{len(split.training)}" in network.card
        assert "simulated" in network.card


def test_what_was_trained_before_is_not_trained_again(split, trained):
    ensemble, root = trained
    ends = sorted(root.glob("*/checkpoints/latest/*/commit_success.txt"))
    before = [path.stat().st_mtime_ns for path in ends]
    again = weak_labels.train_ensemble(
        TINY, split.training, split.validation.part([]), weak_labels.Shelf(root, split.kind)
    )
    assert len({path.parents[3] for path in ends}) == 2
    assert [path.stat().st_mtime_ns for path in ends] == before
    for first, second in zip(ensemble.networks, again.networks, strict=True):
        jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


@pytest.mark.parametrize("recipe", [localize, classify])
def test_epochs_pass_over_all_fields_whatever_the_steps_say(split, recipe):
    nothing = split.validation.part([])
    config = dataclasses.replace(
        recipe.Config(), oversampling=0.0, optimizer=Optimizer(batch_size=8, steps=7, epochs=2.5)
    )
    batches = math.ceil(len(split.training) / 8)
    run = recipe.build(config, split.training, nothing)
    assert isinstance(run, train.Run)
    assert run.steps == math.ceil(2.5 * batches)
    by_steps = dataclasses.replace(config, optimizer=Optimizer(batch_size=8, steps=7))
    assert recipe.build(by_steps, split.training, nothing).steps == 7
    with pytest.raises(ValueError, match="epochs at least 0"):
        Optimizer(epochs=-1.0)


@pytest.mark.parametrize("recipe", [localize, classify])
def test_without_a_label_nothing_is_learnt(split, recipe):
    with pytest.raises(ValueError, match="no training field has a label; the table"):
        recipe.build(recipe.Config(), split.training.part([]), split.validation)


@pytest.fixture(scope="module")
def scene():
    """A scene of 2048 pixels at 0.08 µm: a simulated one at 0.32 whose pixels are four of these along each side."""
    protein = simulate.proteome(proteins=19, seed=7)[3]
    coarse = simulate.field(protein, sorted(simulate.CELL_LINES)[0], 0, seed=7, size=512).image
    return images.resize(coarse, (2048, 2048))


@pytest.fixture(scope="module")
def classifier(trained):
    """An image-level model at 0.64 µm, whose maps have a place for 8 or more pixels."""
    network = dataclasses.replace(trained[0].fields[0].network, um_per_pixel=0.64)
    return models.FieldClassifier(network, tta=1)


def at(image, um_per_pixel):
    return Field(id="scene", image=image, um_per_pixel=um_per_pixel)


def test_a_scene_has_one_answer_whatever_the_size_of_a_pixel(scene, classifier):
    fine = classifier.predict(at(scene, 0.08))
    means = scene.reshape(1024, 2, 1024, 2, 4).mean((1, 3))
    coarse = classifier.predict(at(np.rint(means).astype(np.uint8), 0.16))
    np.testing.assert_allclose(coarse.probabilities, fine.probabilities, atol=0.02)
    np.testing.assert_allclose(coarse.maps, fine.maps, atol=0.02 * np.abs(fine.maps).max())
    wrong = classifier.predict(at(scene, 0.16))
    assert (
        np.abs(wrong.probabilities - fine.probabilities).max() > np.abs(coarse.probabilities - fine.probabilities).max()
    )


def test_1728_pixels_of_a_scene_of_2048_have_its_maps(scene, classifier):
    """At 0.64 µm 1728 pixels are 216, and the 160 that are cut off above and on the left 20."""
    whole = classifier.predict(at(scene, 0.08)).maps
    stride = 256 // len(whole)
    part = classifier.predict(at(scene[160:1888, 160:1888], 0.08)).maps
    assert part.shape[:2] == (round(216 / stride + 0.01),) * 2
    pixels = (np.arange(len(part)) + 0.5) * 216 / len(part) + 20
    places = pixels / stride - 0.5  # of the whole
    low = np.floor(places).astype(int)
    share = (places - low)[:, None, None]
    rows = whole[low] * (1 - share) + whole[low + 1] * share
    share = (places - low)[:, None]
    both = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    inside = slice(3, -3)  # beyond the reach of the edge
    apart = np.abs(part - both)[inside, inside]
    assert apart.max() < 0.25 * np.ptp(whole)
    assert np.corrcoef(part[inside, inside].ravel(), both[inside, inside].ravel())[0, 1] > 0.9


def test_a_picture_of_1728_pixels_and_one_of_2048_of_one_scene_have_one_answer(scene, classifier):
    """As HPA's microscopes do: the same scene through another camera, its pixels larger by 2048 / 1728."""
    fine = classifier.predict(at(scene, 0.08))
    other = classifier.predict(at(images.resize(scene, (1728, 1728)), 0.08 * 2048 / 1728))
    np.testing.assert_allclose(other.probabilities, fine.probabilities, atol=0.02)
    np.testing.assert_allclose(other.maps, fine.maps, atol=0.05 * np.abs(fine.maps).max())


def test_the_name_of_data_is_in_the_folder_of_a_network(split, trained):
    config = TINY.cell
    name = files.digest(repr(files.as_json(config)), split.training.name, split.validation.part([]).name, "")
    assert only(trained[1], classify.FILE).parent.name == f"cell-{name}"


def test_no_field_is_asked_of_networks_that_learnt_from_its_fold(split, monkeypatch, tmp_path):
    source, asked = split.test, []

    class Fake:
        def __init__(self, training):
            self.training = training

        def predict(self, field):
            asked.append(field.id)
            assert field.id not in self.training.ids
            cells = np.full((len(field.found), 19), len(self.training), np.float32)
            return models.LabelPrediction(cells, cells, cells[0], np.zeros((2, 2, 19), np.float32))

    monkeypatch.setattr(weak_labels, "train_ensemble", lambda config, training, validation, shelf: Fake(training))
    fold = np.arange(len(source)) % 3
    shelf = weak_labels.Shelf(tmp_path, split.kind)
    found = weak_labels.cross_validate(TINY, source, fold, shelf)
    assert sorted(asked) == sorted(source.ids)
    for place, (prediction, field) in enumerate(zip(found, source, strict=True)):
        assert prediction.cells.shape == (len(field.found), 19)
        assert (prediction.cells == (fold != fold[place]).sum()).all()
        assert prediction.maps is None  # of 21,806 fields they would fill the memory


def test_networks_are_shelved_by_the_weights_that_they_begin_with(split, tmp_path):
    shelf = weak_labels.Shelf(tmp_path, split.kind)
    start = tmp_path / "start.safetensors"
    names = []
    for content in (b"one", b"other", b"one"):
        start.write_bytes(content)
        config = dataclasses.replace(TINY.cell, init_from=start)
        names.append(shelf.folder("cell", config, split.training))
    assert names[0] == names[2] != names[1]


def test_the_shipped_preset_begins_with_networks_of_its_own_shape():
    config = launch.replaced(weak_labels.Config(), SHIPPED)
    for part, kind in ((config.field, models.FieldClassifier), (config.cell, models.CellClassifier)):
        donor = models.load(part.init_from)
        assert isinstance(donor, kind)
        assert donor.network.um_per_pixel == pytest.approx(
            part.um_per_pixel if kind is models.FieldClassifier else part.crop_um / part.resolution, rel=0.01
        )
        assert donor.network.options["backbone"] == part.backbone.name
