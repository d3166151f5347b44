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


def cell(side, value, label):
    """A disc of one brightness that shows one of three classes."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(y, x) <= side / 2
    return copy_paste.Patch(
        np.where(disc[..., None], value, 0).astype(np.uint8), disc, np.eye(3, dtype=np.float32)[label]
    )


def nothing(size):
    blank = np.zeros((size, size), bool)
    return copy_paste.Patch(blank[..., None].astype(np.uint8), blank, np.zeros(3, np.float32))


@pytest.mark.parametrize("seed", range(10))
def test_pasted_cells_do_not_overlap_and_labels_are_the_maximum(seed):
    draw, patch, labels = rng(seed), nothing(64), np.zeros(3)
    for value in range(1, 30):
        new, before = cell(int(draw.integers(5, 20)), value, int(draw.integers(3))), patch
        patch = copy_paste.paste(draw, patch, new)
        there = (patch.image == value).sum()
        assert there in (0, new.occupied.sum())  # all of it, or none
        labels = np.maximum(labels, new.labels * (there > 0))
        np.testing.assert_array_equal(patch.labels, labels)
        np.testing.assert_array_equal(patch.image[before.occupied], before.image[before.occupied])
        np.testing.assert_array_equal(patch.occupied, patch.image[..., 0] > 0)
    assert len(np.unique(patch.image)) > 8


def test_a_cell_without_a_place_changes_nothing():
    full = copy_paste.paste(rng(), nothing(12), cell(12, 9, 0))
    assert copy_paste.paste(rng(), full, cell(11, 5, 1)) is full
    assert copy_paste.paste(rng(), nothing(8), cell(9, 5, 1)).image.max() == 0


def test_a_lone_cell_is_that_of_the_field_in_the_dark():
    field = fields_of(20, 5)
    seen = set()
    for seed in range(40):
        found = copy_paste.cut_out(rng(seed), field)
        index, box = next(
            b
            for b in field.boxes
            if (field.cells[b[1]] == b[0]).shape == found.occupied.shape
            and (field.image[b[1]][found.occupied] == found.image[found.occupied]).all()
        )
        np.testing.assert_array_equal(found.occupied, field.cells[box] == index)
        assert not found.image[~found.occupied].any()
        seen.add(index)
    assert seen == {index for index, _ in field.boxes}


def fields_of(size, number):
    return CopyPasteBatches(FIELDS, 1, um_per_pixel=UM, size=size)._read(number)


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
