import dataclasses
import itertools

import numpy as np
import pytest
from fakes import Fields
from properties import assert_same, join

from hpax.data import CopyPasteBatches, ImageBatches, ProcessShard, augment, copy_paste
from hpax.images import nearest, resize, shape_at, to_um_per_pixel

FIELDS = Fields(13)
N = len(FIELDS)
UM = Fields.UM
NONE = {"um_per_pixel": UM, "size": 48, "augmentation": augment.NONE}


def rng(seed=0):
    return np.random.default_rng(seed)


def disc(side):
    """A field of one cell, a disc."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return copy_paste.Layout.of((np.hypot(y, x) <= side / 2).astype(np.uint16))


@pytest.mark.parametrize("seed", range(10))
def test_pasted_cells_do_not_overlap(seed):
    draw, patch, occupied = rng(seed), np.zeros((64, 64, 1), np.uint8), np.zeros((64, 64), bool)
    for value in range(1, 30):
        layout = disc(int(draw.integers(5, 20)))
        piece, before = copy_paste.lone(draw, augment.LIGHT, value, layout, occupied), patch.copy()
        if piece is None:
            continue
        piece.lay(patch, np.full((*layout.shape, 1), value, np.uint8))
        assert (patch == value).sum() == layout.cells[0].own.sum()  # all of it
        np.testing.assert_array_equal(patch[occupied], before[occupied])
        occupied[piece.there] |= piece.occupied
        np.testing.assert_array_equal(occupied, patch[..., 0] > 0)
    assert len(np.unique(patch)) > 8


def test_a_cell_without_a_place_is_not_laid():
    full, none = disc(12).cells[0].own, augment.NONE
    assert copy_paste.lone(rng(), none, 0, disc(12), np.zeros((12, 12), bool)) is not None
    assert copy_paste.lone(rng(), none, 0, disc(11), full) is None
    assert copy_paste.lone(rng(), none, 0, disc(9), np.zeros((8, 8), bool)) is None
    assert copy_paste.lone(rng(), none, 0, disc(9)._replace(cells=[]), np.zeros((64, 64), bool)) is None


def test_a_lone_cell_is_that_of_the_field_in_the_dark():
    image, mask, layout = fields_of(20, 5)
    seen = set()
    for seed in range(40):
        piece = copy_paste.lone(rng(seed), augment.LIGHT, 5, layout, np.zeros((20, 20), bool))
        if piece is None:
            continue
        patch = np.zeros((20, 20, 4), np.uint8)
        piece.lay(patch, image)
        shown = image[piece.box] * (mask[piece.box] == piece.cell)[..., None]
        ways = [np.rot90(side, quarters) for side in (shown, shown[:, ::-1]) for quarters in range(4)]
        assert any(way.shape == patch[piece.there].shape and (way == patch[piece.there]).all() for way in ways)
        assert patch.any(-1).sum() == piece.occupied.sum()
        seen.add(piece.cell)
    assert seen == set(np.unique(mask[mask > 0]).tolist())


def test_a_layout_is_its_mask_in_bits():
    _, mask, layout = fields_of(20, 5)
    for box in ((slice(0, 40), slice(0, 40)), (slice(3, 17), slice(5, 31))):
        np.testing.assert_array_equal(layout.occupied(box), mask[box] > 0)
    for cell in layout.cells:
        np.testing.assert_array_equal(cell.own, mask[cell.box] == cell.number)
    assert layout.shape == mask.shape


def test_the_first_free_place_is_that_of_a_search_pixel_by_pixel():
    draw = rng(7)
    for _ in range(200):
        occupied, own = draw.random((16, 16)) < 0.1, draw.random((6, 5)) < 0.3
        own[0, 0] = True
        places = draw.integers(0, (11, 12), (9, 2))
        free = [p for p in places.tolist() if not (occupied[p[0] : p[0] + 6, p[1] : p[1] + 5] & own).any()]
        assert copy_paste.first_free(occupied, own, places) == (tuple(free[0]) if free else None)


def fields_of(size, number):
    return CopyPasteBatches(FIELDS, 1, um_per_pixel=UM, size=size).field(number)


@pytest.mark.parametrize("um_per_pixel", [Fields.UM, Fields.UM / 2])
def test_a_patch_without_pasting_is_a_window_of_the_field_in_the_dark(um_per_pixel):
    options = {**NONE, "um_per_pixel": um_per_pixel}
    batch = CopyPasteBatches(FIELDS, N, **options, alone=0, pasted=0)[0]
    for image, labels, number in zip(batch["image"], batch["labels"], batch["index"], strict=True):
        whole = to_um_per_pixel(FIELDS[number].image, Fields.UM, um_per_pixel)
        whole = np.pad(whole, [(0, max(0, 48 - side)) for side in whole.shape[:2]] + [(0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(whole, (48, 48), axis=(0, 1))
        same = (windows == np.rint(image * 255).astype(np.uint8).transpose(2, 0, 1)).all((-3, -2, -1))
        assert same.any()
        np.testing.assert_array_equal(labels, FIELDS[number].labels)


def square(field):
    """The field at the size of a patch."""
    masks = field.found.resized((48, 48))
    return dataclasses.replace(field, image=resize(field.image, (48, 48)), masks=masks, truth=None)


def test_patches_have_the_scale_of_whole_fields():
    fields = Fields(N)
    fields.examples = [square(field) for field in fields.examples]
    alike = {**NONE, "um_per_pixel": Fields.UM, "shuffle": False}
    assert_same(CopyPasteBatches(fields, N, **alike, alone=0, pasted=0)[0], ImageBatches(fields, N, **alike)[0])


def seen(number):
    """The cells of a field at the pixel size of the patches."""
    cells = FIELDS[number].found.cells
    return nearest(cells, shape_at(cells.shape, Fields.UM, UM))


def test_a_lone_patch_shows_one_cell_of_its_field_if_there_is_any():
    batch = CopyPasteBatches(FIELDS, N, **NONE, alone=1, pasted=0, shuffle=False)[0]
    for number, image in enumerate(batch["image"]):
        areas = np.bincount(seen(number).ravel())[1:]
        assert (image.any(-1).sum() in areas) if areas.any() else image.any()
        np.testing.assert_array_equal(batch["labels"][number], FIELDS[number].labels)


def test_pasting_adds_pixels_and_labels_of_the_fields_that_follow():
    alike, fields = {**NONE, "alone": 1, "shuffle": False}, Fields(N)
    fields.labels = np.eye(N, dtype=np.uint8)
    bare, full = (CopyPasteBatches(fields, N, **alike, pasted=pasted)[0] for pasted in (0, 4))
    pixels = [batch["image"].any(-1).sum((1, 2)) for batch in (bare, full)]
    assert (pixels[1] > pixels[0]).mean() > 0.4
    assert (full["labels"] >= bare["labels"]).all()
    assert (full["labels"] > bare["labels"]).any()
    allowed = sum(np.roll(fields.labels, step, axis=1) for step in range(5))
    assert (full["labels"] <= allowed).all()


def test_a_field_gives_no_second_cell_to_itself():
    fields = Fields(1)
    fields.examples = [FIELDS[6]]
    batches = CopyPasteBatches(fields, 1, **NONE, alone=1, pasted=4)
    areas = np.bincount(seen(6).ravel())[1:]
    assert all(batches[epoch]["image"].any(-1).sum() in areas for epoch in range(20))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_resumes_at_any_step(threads):
    unbroken = list(
        itertools.islice(CopyPasteBatches(FIELDS, 4, um_per_pixel=UM, size=32, seed=5, threads=threads).iterate(), 9)
    )
    again = CopyPasteBatches(FIELDS, 4, um_per_pixel=UM, size=32, seed=5, cached=1)
    for start in (8, 0, 3, 5):
        assert_same(next(again.iterate(start)), unbroken[start])
        assert_same(again[start], unbroken[start])


@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_processes_make_the_whole_batch(processes):
    whole = CopyPasteBatches(FIELDS, 8, um_per_pixel=UM, size=32)
    parts = [
        CopyPasteBatches(FIELDS, 8, um_per_pixel=UM, size=32, share=ProcessShard(p, processes))
        for p in range(processes)
    ]
    for step in range(3):
        assert_same(join([part[step] for part in parts]), whole[step])


def test_an_epoch_takes_every_field_and_its_last_batch_is_padded():
    rows = join(list(CopyPasteBatches(FIELDS, 4, um_per_pixel=UM, size=32).epoch(2)))
    assert rows["mask"].tolist() == [1] * N + [0] * 3
    assert sorted(rows["index"][:N]) == list(range(N))
    assert not rows["image"][N:].any()
    assert rows["index"][N:].tolist() == [-1] * 3
    assert rows["image"].min() >= 0
    assert rows["image"].max() <= 1


def test_refusals_say_what_to_change():
    with pytest.raises(ValueError, match=r"alone must be a share between 0 and 1, got 2"):
        CopyPasteBatches(FIELDS, 4, um_per_pixel=UM, alone=2)
