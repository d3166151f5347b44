"""Models cut the cells of a field as they know them, and say what they make of them."""

import jax
import numpy as np
import pytest

from hpax import atlas, images, models, simulate
from hpax.fields import Field
from hpax.predict import tta
from hpax.segment.cells import cell_images
from hpax.tasks.classify import Classification


@pytest.fixture(scope="module")
def field():
    (protein,) = simulate.proteome(proteins=1, seed=3)
    return simulate.field(protein, "U-2 OS", 0, seed=3, size=256)


def test_an_encoder_cuts_cells_as_it_learnt_them(field):
    encoder = models.load("encode-cells")
    crops = encoder.crops(field)
    wanted = images.channels(field.image, encoder.channels)
    side = encoder.size * encoder.network.um_per_pixel
    _, expected = cell_images(
        wanted, field.found, field.um_per_pixel, crop_um=side, size=encoder.size, masked=encoder.network.masked
    )
    np.testing.assert_array_equal(crops, expected)
    assert encoder.channels == atlas.CHANNELS[:3]
    assert encoder.features(crops, layer="conv3").shape[0] == len(field.cell_labels)
    with pytest.raises(ValueError, match="masks"):
        encoder.crops(Field("bare", field.image, field.um_per_pixel))


def test_features_of_a_classifier_are_what_its_last_layer_sees(field):
    classifier = models.load("label-cells")
    crops = classifier.crops(field)
    assert len(crops) > 3
    found = classifier.features(crops)
    network = classifier.network
    task = Classification(network.model)
    expected = jax.jit(task.encode)(network.params, network.model_state, images.as_float(crops))["penultimate"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert classifier.features(crops[:0]).shape == (0, found.shape[1])
    prob, described = classifier.described(crops)
    np.testing.assert_array_equal(described, found)
    np.testing.assert_array_equal(prob, classifier.of_crops(crops))
    turned = [task.predict(network.params, network.model_state, images.as_float(turn(crops))) for turn in tta.ALL]
    np.testing.assert_allclose(prob, np.mean(turned, axis=0), rtol=1e-4, atol=1e-5)
    assert [each.shape for each in classifier.described(crops[:0])] == [(0, 19), (0, found.shape[1])]
