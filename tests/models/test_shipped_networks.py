"""The networks that ship find cells, whatever the size of a pixel, and know their classes, of real fields too."""

import numpy as np
import pytest
from PIL import Image

from hpax import atlas, models, simulate
from hpax.commands import folder
from hpax.fields import Field, Masks
from hpax.images import nearest
from hpax.metrics import classification, segmentation
from hpax.models import ensemble

UM_PER_PIXEL = 0.32


@pytest.fixture(scope="module")
def segmenter():
    return models.Segmenter()


@pytest.fixture(scope="module")
def field():
    protein = simulate.proteome(proteins=19, seed=991)[3]
    return simulate.field(protein, sorted(simulate.CELL_LINES)[0], 0, seed=991, size=384)


def test_finds_the_cells_of_a_field_that_it_never_saw(segmenter, field):
    found = segmentation.score(segmentation.count(segmenter(field.image, UM_PER_PIXEL).cells, field.cells))
    assert found.f1 > 0.9
    assert found.matched_iou > 0.85


@pytest.mark.parametrize("factor", [2, 4])
def test_the_same_cells_at_any_pixel_size(segmenter, field, factor):
    side = factor * len(field.image)
    planes = [
        Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(field.image, -1, 0)
    ]
    finer = segmenter(np.stack(planes, axis=-1), UM_PER_PIXEL / factor).cells
    coarse = segmenter(field.image, UM_PER_PIXEL).cells
    assert finer.max() == pytest.approx(coarse.max(), rel=0.05)
    assert segmentation.score(segmentation.count(nearest(finer, coarse.shape), coarse)).matched_iou >= 0.8


def test_told_a_wrong_pixel_size_it_finds_other_cells(segmenter, field):
    wrong = segmenter(field.image, UM_PER_PIXEL / 4).cells
    assert segmentation.score(segmentation.count(wrong, field.cells)).f1 < 0.8


@pytest.fixture(scope="module")
def labelled():
    """Simulated fields of a protein of every class, and what is said of them."""
    labeller = models.Ensemble.load(ensemble.SHIPPED, tta=1)
    lines = sorted(simulate.CELL_LINES)
    pairs = []
    for protein in simulate.proteome(proteins=19, seed=992, balanced=True):
        field = simulate.field(protein, lines[protein.index % len(lines)], 0, seed=992, size=256)
        masks = Masks(field.cells, field.nuclei)
        pairs.append((field, labeller.predict(Field(field.id, field.image, UM_PER_PIXEL, masks=masks))))
    return pairs


def test_knows_the_classes_of_simulated_fields(labelled):
    labels = np.stack([field.labels for field, _ in labelled]).astype(np.uint8)
    said = np.stack([prediction.field for _, prediction in labelled])
    assert classification.score(labels, said).mean_ap > 0.6
    assert classification.score(labels, said[::-1]).mean_ap < 0.3


def test_knows_the_classes_of_simulated_cells(labelled):
    labels = np.concatenate([field.cell_labels for field, _ in labelled]).astype(np.uint8)
    for kind in ("cells", "cell_only"):
        said = np.concatenate([getattr(prediction, kind) for _, prediction in labelled])
        assert classification.score(labels, said).mean_ap > 0.6


def test_knows_the_classes_of_real_fields(real_data):
    classifier = models.FieldClassifier(models.load_network(ensemble.SHIPPED[0]), tta=1)
    labels, said = [], []
    for entry in folder.survey(real_data / "hpa_fields")[0]:
        if entry.annotation.labels.any():
            labels.append(entry.annotation.labels)
            said.append(classifier.predict(entry.loader(0)()).probabilities)
    frequent = np.sum(labels, axis=0) >= 4
    assert frequent.sum() == 10
    assert classification.score(np.stack(labels)[:, frequent], np.stack(said)[:, frequent]).mean_ap > 0.4


def test_labels_need_the_four_channels_of_a_field():
    for name in ensemble.SHIPPED:
        assert models.load_network(name).channels == atlas.CHANNELS


def test_features_of_cells_in_three_lines():
    """Cells that are alike are near each other, on an atlas that the encoder never saw."""
    from hpax.data.simulated_cells.simulated_cells import Config, SimulatedCells
    from hpax.metrics import neighbours

    atlas_of = {"proteins": 19, "cell_lines": 1, "fields": 1, "size": 256, "balanced": True, "multilocalised": 0.0}
    config = Config(**atlas_of, seed=993, min_cells=2)
    crops, labels = [], []
    for group in SimulatedCells.pictures(config, None):
        for _, cell in SimulatedCells.examples(config, group):
            crops.append(cell["image"][..., :3])
            labels.append(group.protein)
    encoder = models.load("encode-cells")
    features = encoder.features(np.stack(crops))
    assert set(features) == set(encoder.layers)
    told = neighbours.benchmark(features["conv3"], labels, None, k=1)
    assert told.balanced_accuracy[1] > 4 * told.chance[1]
    assert encoder.channels == ("protein", "nucleus", "microtubules")


def test_the_fine_encoder_tells_a_cell_s_location_by_others_of_other_proteins():
    """On an atlas that it never saw, by its last layer."""
    from hpax.data.simulated_cells.simulated_cells import Config, SimulatedCells
    from hpax.metrics import neighbours

    atlas_of = {"proteins": 38, "cell_lines": 1, "fields": 1, "size": 256, "balanced": True, "multilocalised": 0.0}
    config = Config(**atlas_of, seed=995, min_cells=2, crop_size=128)
    crops, labels, proteins = [], [], []
    for group in SimulatedCells.pictures(config, None):
        for _, cell in SimulatedCells.examples(config, group):
            crops.append(cell["image"])
            labels.append(int(cell["labels"].argmax()))
            proteins.append(group.protein)
    encoder = models.load("encode-cells-fine")
    assert (encoder.channels, encoder.size) == (atlas.CHANNELS, 128)
    features = encoder.features(np.stack(crops), "conv5")
    told = neighbours.benchmark(features, np.array(labels).astype(str), np.array(proteins), k=3)
    assert told.balanced_accuracy[3] > 4 * told.chance[3]


def test_yeast_of_one_location_are_near_each_other():
    from hpax.metrics import neighbours
    from hpax.simulate import yeast

    proteome = yeast.proteome(proteins=len(yeast.LOCATIONS), seed=994, multilocalised=0)
    crops = np.concatenate([yeast.crops(protein, count=12, seed=994) for protein in proteome])
    labels = np.repeat([protein.name for protein in proteome], 12)
    encoder = models.load("encode-yeast")
    assert encoder.channels == ("protein", "marker")
    told = neighbours.benchmark(encoder.features(crops, "conv4"), labels, None, k=1)
    assert told.balanced_accuracy[1] > 4 * told.chance[1]


def test_real_yeast_of_one_protein_are_near_each_other(real_data, tmp_path):
    from hpax.data import build
    from hpax.metrics import neighbours

    folder = real_data / "paired_cell_inpainting_crops" / "yeast"
    crops = build("cell_crops", tmp_path, source=folder, organism="yeast")
    some = range(0, len(crops), 3)
    images = np.stack([example["image"] for example in crops.__getitems__(some)])
    known = crops.table.iloc[list(some)]
    features = models.load("encode-yeast").features(images, "conv4")
    labels, fields = known["protein"].to_numpy(str), known["field"].to_numpy(str)
    assert neighbours.benchmark(features, labels, fields, k=11).balanced_accuracy[11] > 0.85
