import dataclasses
import itertools

import numpy as np
import pytest
from fakes import Fields
from properties import assert_same, join

from hpax import images
from hpax.data import BagBatches, ProcessShard, augment
from hpax.fields import Masks
from hpax.segment.cells import cell_images

FIELDS = Fields(14)
N = len(FIELDS)
SMALL = {"cells": 4, "size": 12, "crop_um": 8.0}
NONE = {**SMALL, "augmentation": augment.NONE}
TARGETS = {f.id: np.random.default_rng(i).random((len(np.unique(f.found.cells)) - 1, 3)) for i, f in enumerate(FIELDS)}


@pytest.mark.parametrize("masked", [True, False])
def test_a_plain_bag_holds_different_cells_of_its_field_and_their_targets(masked):
    bags = BagBatches(FIELDS, N, **NONE, masked=masked, targets=TARGETS, antibody=np.arange(N) + 100, seed=3)
    batch = bags[1]
    assert sorted(batch["index"]) == list(range(N))
    np.testing.assert_array_equal(batch["antibody"], batch["index"] + 100)
    for row, number in enumerate(batch["index"]):
        field = FIELDS[number]
        cells, crops = cell_images(field.image, field.found, 0.5, crop_um=8.0, size=12, masked=masked)
        present = batch["present"][row] == 1
        assert present.sum() == min(4, len(cells))
        drawn = [cells.tolist().index(cell) for cell in batch["cell"][row][present]]
        assert len(set(drawn)) == len(drawn)
        np.testing.assert_array_equal(batch["image"][row][present], images.as_float(crops[drawn]))
        np.testing.assert_allclose(batch["targets"][row][present], TARGETS[field.id][drawn], rtol=1e-6)
        np.testing.assert_array_equal(batch["labels"][row], field.labels)
        for name, nothing in (("image", 0), ("targets", 0), ("cell", -1)):
            assert (batch[name][row][~present] == nothing).all()


def test_a_field_without_cells_is_an_empty_bag():
    batch = BagBatches(FIELDS, N, **SMALL, shuffle=False)[0]
    assert [row for row in range(N) if not batch["present"][row].any()] == [0, 7]
    assert batch["mask"].all()


def test_every_cell_of_a_large_field_gets_its_turn():
    bags = BagBatches(FIELDS, N, **{**SMALL, "cells": 1}, shuffle=False)
    seen = {cell for epoch in range(60) for cell in bags[epoch]["cell"][6]}
    assert seen == set(np.unique(FIELDS[6].found.cells)) - {0}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_resumes_at_any_step(threads):
    options = {**SMALL, "seed": 5, "targets": TARGETS}
    unbroken = list(itertools.islice(BagBatches(FIELDS, 4, **options, threads=threads).iterate(), 9))
    again = BagBatches(FIELDS, 4, **options, cached=1)
    for start in (8, 0, 3, 5):
        assert_same(next(again.iterate(start)), unbroken[start])
        assert_same(again[start], unbroken[start])


@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_processes_make_the_whole_batch(processes):
    make = {**SMALL, "targets": TARGETS}
    whole = BagBatches(FIELDS, 8, **make)
    parts = [BagBatches(FIELDS, 8, **make, share=ProcessShard(p, processes)) for p in range(processes)]
    for step in range(3):
        assert_same(join([part[step] for part in parts]), whole[step])


def test_the_last_batch_is_padded():
    last = BagBatches(FIELDS, 8, **SMALL, antibody=np.arange(N))[1]
    assert last["mask"].tolist() == [1] * 6 + [0] * 2
    for name in ("image", "present", "labels"):
        assert not last[name][6:].any()
    for name in ("cell", "index", "antibody"):
        assert (last[name][6:] == -1).all()


def test_zooming_out_shows_more_and_zooming_in_less_of_the_field_around_a_cell():
    class Full(Fields):
        def __getitem__(self, index):
            field = super().__getitem__(index)
            masks = Masks(np.full_like(field.found.cells, 9), np.zeros_like(field.found.nuclei))
            return dataclasses.replace(field, image=np.full_like(field.image, 50), masks=masks)

    zooming = {**NONE, "augmentation": dataclasses.replace(augment.NONE, zoom=2.0), "crop_um": 3.0, "cells": 1}
    for masked in (True, False):
        seen = join(list(BagBatches(Full(40), 40, **zooming, masked=masked).epoch()))
        np.testing.assert_allclose(seen["image"], 50 / 255, rtol=1e-5)
    fields = Fields(56)
    far = join(list(BagBatches(fields, N, **{**zooming, "crop_um": 12.0}, seed=1).epoch()))
    still = join(list(BagBatches(fields, N, **{**NONE, "crop_um": 12.0, "cells": 1}, seed=1).epoch()))
    np.testing.assert_array_equal(far["cell"], still["cell"])
    covered = [(rows["image"].any(-1)).mean((1, 2, 3)) for rows in (far, still)]
    ratio = covered[0][still["present"][:, 0] == 1] / covered[1][still["present"][:, 0] == 1]
    assert ratio.min() < 0.8
    assert ratio.max() > 1.25
    assert 0.7 < np.median(ratio) < 1.4


def test_gentle_augmentation_leaves_the_background_of_a_masked_cell_black():
    batch = BagBatches(FIELDS, N, **{**SMALL, "crop_um": 16.0})[0]
    there = batch["present"] == 1
    corners = batch["image"][there][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
    assert batch["image"][there].any((1, 2, 3)).all()
    assert batch["image"].max() <= 1


def test_targets_of_other_masks_are_refused():
    wrong = {**TARGETS, "field3": np.zeros((2, 3))}
    bags = BagBatches(FIELDS, N, **SMALL, targets=wrong)
    with pytest.raises(ValueError, match="field field3 has 3 cells and 2 rows of targets"):
        bags[0]
