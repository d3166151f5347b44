import numpy as np
import pytest
from scipy import ndimage

from hpax import simulate
from hpax.images import nearest
from hpax.metrics import segmentation
from hpax.segment import classical, masks

PIXEL = 0.32


@pytest.fixture(scope="module")
def fields():
    proteins = simulate.proteome(proteins=3, seed=5)
    lines = ("U-2 OS", "A-431", "HeLa")
    return [simulate.field(protein, line, 1, seed=5, size=320) for protein, line in zip(proteins, lines, strict=True)]


def agreement(predicted, true):
    return segmentation.score(segmentation.count(predicted, true))


def drawn(*discs, shape=(120, 160), radius=12, around=10, reference=(2, 3)):
    """Nuclei at (y, x) in pixels of 0.32 µm, with a dimmer rim of cytoplasm; noise everywhere."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full((*shape, 4), 12.0)
    for cy, cx in discs:
        distance = np.hypot(y - cy, x - cx)
        image[distance < radius, 1] = 140
        for channel in reference:
            image[distance < radius + around, channel] = 90
    noisy = image + np.random.default_rng(0).normal(0, 3, image.shape)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def finer(image, factor):
    """The same field with smaller pixels, smoothly."""
    return np.rint(
        np.clip(ndimage.zoom(image.astype(float), (factor, factor, 1), order=1, grid_mode=True, mode="nearest"), 0, 255)
    ).astype(np.uint8)


def test_simulated_cells_are_found(fields):
    found = [classical.segment(field.image, field.um_per_pixel) for field in fields]
    for kind, f1, iou in (("nuclei", 0.95, 0.85), ("cells", 0.9, 0.75)):
        counts = [segmentation.count(getattr(m, kind), getattr(f, kind)) for m, f in zip(found, fields, strict=True)]
        scores = segmentation.score(segmentation.merge(counts))
        assert scores.true > 20, kind
        assert scores.f1 >= f1, kind
        assert scores.matched_iou >= iou, kind


def test_a_cell_and_its_nucleus_share_an_index_and_the_nucleus_lies_inside(fields):
    for field in fields:
        found = classical.segment(field.image[:250], field.um_per_pixel)
        inside = found.nuclei > 0
        np.testing.assert_array_equal(found.nuclei[inside], found.cells[inside])
        assert set(np.unique(found.cells)) == set(np.unique(found.nuclei)) == set(range(found.cells.max() + 1))


@pytest.mark.parametrize("factor", [2, 4])
def test_the_pixel_size_changes_nothing_in_micrometres(fields, factor):
    image = fields[0].image[:300]
    coarse = classical.segment(image, PIXEL)
    fine = classical.segment(
        finer(image, factor)[: -factor + 1], PIXEL / factor
    )  # a last row of pixels that is not full
    reference = coarse.cells.repeat(factor, 0).repeat(factor, 1)[: -factor + 1]
    scores = agreement(fine.cells, reference)
    assert abs(scores.predicted - scores.true) <= 0.05 * scores.true
    assert scores.f1 > 0.95
    assert scores.matched_iou > 0.9
    assert scores.true > 5


def test_pixels_between_the_factors_work_too(fields):
    image = finer(fields[0].image, 2)[1::3, 1::3]  # 0.48 µm
    truth = nearest(masks.enlarge(fields[0].nuclei, 2)[1::3, 1::3], image.shape[:2])
    assert agreement(classical.segment(image, 0.48).nuclei, truth).f1 > 0.9


@pytest.mark.parametrize(
    "turn", [lambda image: image[::-1], lambda image: image[:, ::-1], lambda image: image.swapaxes(0, 1)]
)
def test_flipped_and_turned_fields_give_flipped_and_turned_cells(fields, turn):
    image = fields[1].image[:220]
    scores = agreement(classical.segment(turn(image), PIXEL).cells, turn(classical.segment(image, PIXEL).cells))
    assert scores.f1 == 1
    assert scores.matched_iou > 0.97


def test_the_protein_is_not_looked_at(fields):
    image = fields[2].image.copy()
    found = classical.segment(image, PIXEL)
    image[..., 0] = 0
    np.testing.assert_array_equal(classical.segment(image, PIXEL).cells, found.cells)


def test_an_image_of_16_bits_gives_the_same_cells(fields):
    image = fields[2].image
    wide = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(classical.segment(wide, PIXEL).cells, classical.segment(image, PIXEL).cells)


def test_nuclei_that_touch_are_parted_and_one_that_is_long_is_not():
    found = classical.segment(drawn((60, 50), (60, 71)), PIXEL)
    assert found.cells.max() == 2
    assert found.nuclei[60, 50] != found.nuclei[60, 71] > 0
    assert classical.segment(drawn(*((60, x) for x in range(50, 71))), PIXEL).cells.max() == 1


def test_a_dark_spot_belongs_to_its_nucleus():
    image = drawn((60, 50), radius=16)
    image[55:66, 45:56, 1] = 12
    assert classical.segment(image, PIXEL).nuclei[60, 50] == 1


@pytest.mark.parametrize(("valley", "expected"), [(None, 80), (65, 65), (100, 100)])
def test_cells_meet_where_the_stains_are_dim_or_half_way(valley, expected):
    image = drawn((60, 40), (60, 120))
    image[30:90, 15:145, 2:] = 90 + image[30:90, 15:145, :2] // 4  # one sheet of cytoplasm, with noise
    if valley:
        image[30:90, valley - 1 : valley + 2, 2:] = 55
    cells = classical.segment(image, PIXEL).cells
    edge = (cells[35:85, :160] == 1).sum(1) + 15
    assert cells.max() == 2
    assert abs(np.median(edge) - expected) <= 6
    assert np.abs(edge - expected).max() <= 16


def test_a_nucleus_at_the_border_is_kept():
    assert classical.segment(drawn((0, 50), (60, 60), (70, 159)), PIXEL).cells.max() == 3


def test_dim_nuclei_are_found_beside_a_very_bright_one():
    image = drawn((30, 30), (30, 120), (90, 80))
    bright = drawn((90, 80))[..., 1] > 100
    image[..., 1] = np.where(bright, 255, image[..., 1] // 3)
    assert classical.segment(image, PIXEL).cells.max() == 3


@pytest.mark.parametrize("reference", [(2,), (3,)])
def test_one_reference_stain_is_enough(reference):
    image, both = drawn((60, 50), reference=reference), drawn((60, 50))
    for channel in {2, 3} - set(reference):
        image[..., channel] = 7
    scores = agreement(classical.segment(image, PIXEL).cells, classical.segment(both, PIXEL).cells)
    assert scores.f1 == 1
    assert scores.matched_iou > 0.95


def test_without_a_reference_stain_a_cell_is_its_nucleus():
    image = drawn((60, 50))
    image[..., 2:] = 0
    found = classical.segment(image, PIXEL)
    np.testing.assert_array_equal(found.cells, found.nuclei)
    assert found.cells.max() == 1


@pytest.mark.parametrize("image", [
    np.zeros((50, 70, 4), np.uint8),
    np.full((50, 70, 4), 255, np.uint8),
    drawn(),
    np.random.default_rng(1).poisson(2, (200, 300, 4)).astype(np.uint8),
    np.broadcast_to(np.linspace(0, 255, 300).astype(np.uint8)[:, None], (200, 300, 4)),
], ids=["black", "saturated", "noise", "shot noise", "ramp"])  # fmt: skip
def test_a_field_without_nuclei_has_no_cells(image):
    found = classical.segment(image, PIXEL)
    assert found.cells.shape == image.shape[:2]
    assert found.cells.max() == found.nuclei.max() == 0


def test_more_than_255_cells_do_not_wrap():
    places = [(y, x) for y in range(12, 430, 24) for x in range(12, 430, 24)]
    found = classical.segment(drawn(*places, shape=(436, 438), radius=8, around=2), PIXEL)
    assert found.cells.max() == len(places) == 324
    assert len({int(found.nuclei[place]) for place in places} - {0}) == 324


@pytest.mark.usefixtures("untyped")
def test_what_is_no_field_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        classical.segment(drawn(), float("nan"))
    with pytest.raises(ValueError, match="microtubules"):
        classical.segment(drawn()[..., :3], PIXEL)


@pytest.mark.real
def test_real_cells_agree_with_masks_that_a_tool_drew(real_data):
    from hpax.formats import fields, label_images

    drawn_masks = {path.stem: path for path in (real_data / "hpa_fields" / "cell_masks").glob("*.png")}
    counts = [
        segmentation.count(
            classical.segment(fields.read_field(files), 0.08).cells, label_images.read(drawn_masks[files.id])
        )
        for files in fields.find_fields(real_data / "hpa_fields")
        if files.id in drawn_masks
    ]
    scores = segmentation.score(segmentation.merge(counts))
    assert scores.images == 3
    assert scores.f1 > 0.95
    assert scores.matched_iou > 0.85
