import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from hpax import simulate
from hpax.segment import crops, nuclei

DISCS = [(60, 60), (60, 140), (150, 90), (170, 170)]  # y, x in pixels of 0.32 µm


def stain(centres=DISCS, radius=12, scale=1, size=200, hole=None, dtype=np.uint8):
    """Bright discs on a dark ground; `scale` times finer pixels."""
    y, x = np.mgrid[: size * scale, : size * scale] / scale
    image = np.full(y.shape, 0.05)
    for cy, cx in centres:
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 0.7
    if hole:
        image[(y - hole[0]) ** 2 + (x - hole[1]) ** 2 < 4] = 0.05
    noisy = image + np.random.default_rng(0).normal(0, 0.02, y.shape)
    return np.rint(np.clip(noisy, 0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("recipe", nuclei.RECIPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_nucleus_is_found_where_it_is(recipe, dtype):
    found = nuclei.find_nuclei(stain(dtype=dtype), 0.32, nuclei.RECIPES[recipe])
    assert len(found) == len(DISCS)  # the last one too, which the published loop forgets
    np.testing.assert_allclose(found, DISCS, atol=0.6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_pixel_size_changes_nothing_in_micrometres(scale):
    coarse = nuclei.find_nuclei(stain(), 0.32)
    fine = nuclei.find_nuclei(stain(scale=scale), 0.32 / scale)
    np.testing.assert_allclose((fine + 0.5) / scale - 0.5, coarse, atol=0.7)


@pytest.mark.parametrize("um_per_pixel", [0.2, 0.32, 0.64])
@pytest.mark.parametrize("recipe", [nuclei.CODE, nuclei.Otsu(pixel=0.2, blur=0.1, holes=2.0, area=5.0, border=False)])
def test_a_recipe_equals_its_steps_in_scikit_image(um_per_pixel, recipe):
    image = stain([*DISCS, (0, 100), (30, 30)], hole=(60, 60)).astype(np.float32)
    image += np.random.default_rng(1).normal(0, 50, image.shape)  # so that small holes and specks abound
    image = np.rint(np.clip(image, 0, 255))
    pixels = um_per_pixel**2  # µm² of one
    mask = ndimage.gaussian_filter(image, recipe.blur / um_per_pixel) > filters.threshold_otsu(image)
    mask = morphology.remove_small_holes(mask, max_size=int(np.ceil(recipe.holes / pixels)) - 1)
    mask = segmentation.clear_border(measure.label(mask)) > 0
    smallest = int(np.ceil(recipe.area / pixels - 1e-6))
    mask = morphology.remove_small_objects(mask, max_size=smallest - 1, connectivity=2)
    np.testing.assert_array_equal(
        nuclei.label_nuclei(image.astype(np.uint8), um_per_pixel, recipe), measure.label(mask)
    )
    assert mask.any()


def test_a_nucleus_at_the_border_is_left_out_by_the_code_and_kept_by_the_paper():
    image = stain([(60, 60), (0, 150)])
    assert len(nuclei.find_nuclei(image, 0.32, nuclei.CODE)) == 1
    assert len(nuclei.find_nuclei(image, 0.32, nuclei.PAPER)) == 2


def test_a_hole_is_filled_and_a_speck_left_out():
    speck, hole = (150, 150), (62, 58)
    image = stain([(60, 60)], hole=hole) | stain([speck], radius=2)
    mask = nuclei.label_nuclei(image, 0.32, nuclei.CODE)
    assert mask.max() == 1
    assert mask[hole] == 1


def test_a_flat_stain_has_no_nuclei():
    assert nuclei.label_nuclei(np.full((50, 60), 7, np.uint8), 0.32).tolist() == [[0] * 60] * 50
    assert nuclei.find_nuclei(np.zeros((50, 60), np.uint8), 0.32).shape == (0, 2)


def test_sizes_that_do_not_divide_keep_their_shape():
    assert nuclei.label_nuclei(stain(scale=4)[:-3, :-1], 0.08).shape == (797, 799)


@pytest.mark.parametrize("pixel", [0, -0.1, float("nan")])
def test_a_pixel_has_a_size(pixel):
    with pytest.raises(ValueError, match="must be positive"):
        nuclei.label_nuclei(stain(), pixel)


def test_most_nuclei_of_a_simulated_field_are_found():
    (protein,) = simulate.proteome(proteins=1, seed=3)
    field = simulate.field(protein, "U-2 OS", 0, seed=3, size=384)
    truth = np.array(list(crops.centroids(field.nuclei).values()))
    found = nuclei.find_nuclei(field.image[..., 1], field.um_per_pixel)
    distances = np.linalg.norm(found[:, None] - truth[None], axis=-1).min(1)
    assert (distances < 10).mean() > 0.7  # pixels; nuclei that touch become one
    assert len(found) > 0.4 * len(truth)


@pytest.mark.real
def test_real_fields_hold_as_many_nuclei_as_masks_drawn_by_a_tool(real_data):
    from hpax.formats import fields

    masks = {path.stem: path for path in (real_data / "hpa_fields" / "cell_masks").glob("*.png")}
    for files in fields.find_fields(real_data / "hpa_fields"):
        if files.id in masks:
            cells = len(np.unique(fields.read_channel(masks[files.id]))) - 1
            found = len(nuclei.find_nuclei(fields.read_field(files)[..., 1], 0.08))
            assert 0.3 * cells <= found <= 1.2 * cells, files.id  # border nuclei are left out
