"""Batches made where fields and cells live: the host's rows, and without augmentation its pixels."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from fakes import Fields
from properties import assert_same, join

from hpax.data import (
    BagBatches,
    CopyPasteBatches,
    ImageBatches,
    ProcessShard,
    ResidentBags,
    ResidentFields,
    ResidentPatches,
    augment,
    resident_patches,
)
from hpax.fields import Masks
from hpax.train import parallel, resident

FIELDS = Fields(14)
N = len(FIELDS)
TARGETS = {f.id: np.random.default_rng(i).random((len(f.found), 3)) for i, f in enumerate(FIELDS)}
STEPS = 6  # an epoch of 14 fields in batches of 4, the padded batch, and the beginning of the next epoch


def fields(augmentation=augment.NONE, batch=4, **options):
    return ImageBatches(FIELDS, batch, um_per_pixel=0.8, size=20, augmentation=augmentation, seed=3, **options)


def bags(augmentation=augment.NONE, batch=4, **options):
    own = {"cells": 3, "size": 12, "crop_um": 8.0, "targets": TARGETS, "antibody": np.arange(N) + 100, "seed": 3}
    return BagBatches(FIELDS, batch, **own, augmentation=augmentation, **options)


def patches(augmentation=augment.NONE, batch=4, **options):
    return CopyPasteBatches(FIELDS, batch, um_per_pixel=0.5, size=48, augmentation=augmentation, seed=3, **options)


KINDS = [(fields, ResidentFields), (bags, ResidentBags), (patches, ResidentPatches)]


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_without_augmentation_batches_are_those_of_the_host_to_the_bit(host, kind):
    batches = host()
    made = kind(host())
    for step in range(STEPS):
        assert_same(made[step], batches[step])


@pytest.mark.parametrize("masked", [True, False])
def test_cells_are_those_of_the_host_masked_or_not(masked):
    batches = bags(masked=masked)
    assert_same(ResidentBags(batches)[0], batches[0])


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_devices_that_hold_the_examples_make_these_batches(host, kind, monkeypatch):
    devices = jax.local_devices()[:2]
    whole = kind(host(augment.LIGHT))
    example = sum(value.nbytes for value in whole.examples(0, 1).values())
    for room, split in ((whole.n * example, False), (whole.n * example - 1, True)):
        monkeypatch.setattr(resident, "free", lambda device, room=room: room / resident.SHARE)
        kept = resident.keep(whole, devices)
        assert kept.making.split == split
        make = jax.pmap(kept.making, parallel.AXIS, devices=devices)
        for step, draw in enumerate(itertools.islice(whole.draws(), STEPS)):
            made = make(kept.held, parallel.shard(draw, devices))
            expected = whole[step]
            assert made.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(np.reshape(made[name], value.shape), value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_augmented_batches_show_the_fields_and_cells_of_the_host_with_its_labels(host, kind):
    batches, made = host(augment.LIGHT), kind(host(augment.LIGHT))
    for step in range(STEPS):
        own, expected = made[step], batches[step]
        differs = {name for name in expected if not np.array_equal(own[name], expected[name])}
        assert own.keys() == expected.keys()
        assert differs == {"image"}
        assert not own["image"][own["mask"] == 0].any()
        if kind is ResidentBags:
            assert not own["image"][own["present"] == 0].any()
            seen = own["image"][own["present"] == 1]
            assert seen.any((1, 2, 3)).all()


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_batches_go_on_at_any_step_and_are_the_seed_s(host, kind):
    made = kind(host(augment.LIGHT))
    unbroken = list(itertools.islice(made.iterate(), 5))
    for start in (4, 2):
        assert_same(next(kind(host(augment.LIGHT)).iterate(start)), unbroken[start])
        assert_same(next(made.draws(start)), made.draw(start))
    other = made.draw(0)["random"]
    assert other[:, 0].tolist() == [3] * 4
    assert len(np.unique(np.concatenate([made.draw(step)["random"] for step in range(3)]), axis=0)) == 12


@pytest.mark.parametrize(("host", "kind"), KINDS)
def test_the_shares_of_processes_make_the_whole_batch(host, kind):
    whole = kind(host(augment.LIGHT, 8))
    parts = [kind(host(augment.LIGHT, 8, share=ProcessShard(process, 2, devices=8))) for process in range(2)]
    for step in range(3):
        assert_same(join([part.draw(step) for part in parts]), whole.draw(step))
        found, expected = join([part[step] for part in parts]), whole[step]
        np.testing.assert_allclose(found["image"], expected["image"], atol=1e-6)


def test_examples_are_fields_and_cells_as_they_are():
    batches = fields()
    made = ResidentFields(batches)
    held = made.examples(2, 7)
    assert len({tuple(extent) for extent in held["extent"].tolist()}) > 1
    for number, image, (height, width) in zip(range(2, 7), held["image"], held["extent"], strict=True):
        np.testing.assert_array_equal(image[:height, :width], batches.field(number))
        assert not image[height:].any()
        assert not image[:, width:].any()
    assert held["image"].dtype == np.uint8
    cells = ResidentBags(bags())
    whole = np.concatenate([bags().field(number)[1] for number in range(N)])
    assert cells.n == len(whole) == sum(len(field.found) for field in FIELDS)
    np.testing.assert_array_equal(cells.examples(5, 20)["image"], whole[5:20])


@pytest.mark.parametrize("alone", [0, 1])
@pytest.mark.parametrize("um_per_pixel", [0.25, 0.5])  # windows of fields, and fields within patches
def test_devices_lay_cells_as_the_host_does_turned_each_way(alone, um_per_pixel):
    turning = dataclasses.replace(augment.NONE, turn=True)
    batches = CopyPasteBatches(FIELDS, 7, um_per_pixel=um_per_pixel, size=64, augmentation=turning, alone=alone)
    made, ways = ResidentPatches(batches), set()
    held = made.examples(0, N)
    for step in range(8):
        draw = jax.device_put(made.draw(step))
        for row, place in enumerate(draw["random"][:, 2].tolist()):
            pieces = batches.pieces(*drawn_by(batches, step, place), lambda field: batches.field(field).layout)
            expected, patch = np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 4), np.uint8)
            for number, piece in enumerate(pieces):
                piece.lay(expected, batches.field(piece.field).image)
                told = [draw[name][row, number] for name in ("field", "cell", "box", "turn", "corner")]
                patch = resident_patches.laid(patch, held["image"][piece.field], held["cells"][piece.field], *told)
                ways.add(tuple(piece.turn))
            np.testing.assert_array_equal(patch, expected)
    assert len(ways) == 8


def drawn_by(batches, step, place):
    """The generator of a row, and its epoch's plan and place."""
    epoch = step // batches.steps_per_epoch
    return np.random.default_rng((0, 1, epoch, place)), batches._plan(epoch), place


def test_patches_take_no_whole_fields_beside_those_that_are_held():
    batches = CopyPasteBatches(FIELDS, 8, um_per_pixel=0.25, size=16, augmentation=augment.NONE, pasted=4)
    made = ResidentPatches(batches)
    held = jax.device_put(made.examples(0, N))

    def make(held, draw):
        return made.materialise(lambda numbers: {name: value[numbers] for name, value in held.items()}, draw)

    memory = jax.jit(make).lower(held, made.draw(0)).compile().memory_analysis()
    field = sum(value[0].nbytes for value in held.values())
    assert memory.temp_size_in_bytes < field  # of eight patches of up to five pieces


def test_more_cells_than_devices_tell_apart_are_refused():
    crowded = Fields(1)
    cells = np.zeros((40, 40), np.uint32)
    cells[3:9, 3:9] = 70_000
    masks = Masks(cells, cells)
    crowded.examples = [dataclasses.replace(FIELDS[1], image=FIELDS[1].image[:40, :40], masks=masks, truth=None)]
    made = ResidentPatches(CopyPasteBatches(crowded, 1, um_per_pixel=0.5, size=32))
    with pytest.raises(ValueError, match=r"at most 65,535 cells, field1 has an index of 70,000"):
        made.draw(0)


def test_fields_without_any_cell_are_empty_bags():
    nothing = Fields(8)
    nothing.examples = [FIELDS[0], FIELDS[7]]  # which have none
    nothing.labels = nothing.labels[:2]
    batches = BagBatches(nothing, 2, cells=3, size=12, crop_um=8.0)
    made = ResidentBags(batches)
    assert made.n == 1
    assert not made.examples(0, 1)["image"].any()
    assert_same(made[0], batches[0])


def test_cells_that_are_alike_are_augmented_each_for_itself():
    made = ResidentBags(bags(augment.LIGHT))
    alike = made.examples(3, 4)["image"]
    images = made.materialise(lambda numbers: {"image": alike.repeat(len(numbers), 0)}, made.draw(0))["image"]
    seen = np.asarray(images)[made.draw(0)["present"] == 1]
    assert len(seen) > 4
    assert len(np.unique(seen.reshape(len(seen), -1), axis=0)) == len(seen)


def test_equal_ones_are_compiled_once():
    one, same = (ResidentFields(fields(augment.LIGHT)).materialise for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != ResidentFields(fields(augment.VARIED)).materialise


def test_rare_fields_come_as_often_as_to_the_host():
    weights = np.where(np.arange(N) == 2, 4.0, 1)
    batches = fields(weights=weights)
    rows = join([ResidentFields(batches)[step] for step in range(batches.steps_per_epoch)])
    assert (rows["index"] == 2).sum() == 4


def test_windows_of_what_stays_as_it_is_lie_on_whole_pixels():
    turning = dataclasses.replace(augment.NONE, turn=True)
    batches = fields(turning)
    draw = ResidentFields(batches).draw(0)
    assert draw["corner"].dtype == np.int32
    assert "corner" not in ResidentFields(fields(augment.LIGHT)).draw(0)
    plain, turned = ResidentFields(fields())[0]["image"], ResidentFields(batches)[0]["image"]
    np.testing.assert_array_equal(np.sort(plain, axis=None), np.sort(turned, axis=None))
    for one, other in zip(plain, turned, strict=True):
        ways = [np.rot90(side, quarters) for side in (one, one[:, ::-1]) for quarters in range(4)]
        assert any((way == other).all() for way in ways)
