import dataclasses
import itertools
import threading

import numpy as np
import pytest
from fakes import Fields
from properties import assert_same, join
from scipy import ndimage

from hpax import images
from hpax.data import ImageBatches, ProcessShard, augment, image_batches
from hpax.fields import Field

FIELDS = Fields()
N, UM = len(FIELDS), 2 * Fields.UM


def test_a_plain_image_is_a_window_of_its_field_with_its_labels():
    fields = Fields()
    fields.examples = [dataclasses.replace(f, image=f.image[:40, :40], masks=None, truth=None) for f in fields.examples]
    rows = join(list(ImageBatches(fields, 3, um_per_pixel=UM, size=20, augmentation=augment.NONE).epoch()))
    real = rows["mask"] == 1
    assert sorted(rows["index"][real]) == list(range(N))
    for row in np.flatnonzero(real):
        field = fields[rows["index"][row]]
        whole = images.to_um_per_pixel(field.image, Fields.UM, UM)
        np.testing.assert_array_equal(rows["image"][row], images.as_float(whole))
        np.testing.assert_array_equal(rows["labels"][row], field.labels)


@pytest.mark.parametrize("pixels", [1728, 2048])
def test_one_scene_is_seen_alike_at_any_number_of_pixels(pixels):
    scene = Fields(1, seed=3)
    scene.examples = [Field("a", np.full((pixels // 32, pixels // 32, 4), 90, np.uint8), 0.08 * 32, scene.labels[0])]
    (row,) = ImageBatches(scene, 1, um_per_pixel=0.64 * 8, size=20, augmentation=augment.NONE)[0]["image"]
    np.testing.assert_array_equal(row, np.float32(90 / 255))


def test_the_last_batch_is_padded():
    last = ImageBatches(FIELDS, 4, um_per_pixel=UM, size=16)[1]
    assert last["mask"].tolist() == [1, 1, 1, 0]
    assert last["index"][3] == -1
    assert not last["image"][3].any()
    assert not last["labels"][3].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_resumes_at_any_step(threads):
    batches = ImageBatches(FIELDS, 4, um_per_pixel=UM, size=16, seed=5, threads=threads)
    unbroken = list(itertools.islice(batches.iterate(), 5))
    again = ImageBatches(FIELDS, 4, um_per_pixel=UM, size=16, seed=5, cached=1)
    for start in (4, 0, 2, 3):
        assert_same(next(again.iterate(start)), unbroken[start])
        assert_same(again[start], unbroken[start])
    same, later = (ImageBatches(FIELDS, N, um_per_pixel=UM, size=16, seed=5, shuffle=False)[step] for step in (0, 1))
    assert same["index"].tolist() == later["index"].tolist() == list(range(N))
    assert not (same["image"] == later["image"]).all()
    assert not (ImageBatches(FIELDS, 4, um_per_pixel=UM, size=16, seed=6)[0]["image"] == unbroken[0]["image"]).all()


@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_processes_make_the_whole_batch(processes):
    whole = ImageBatches(FIELDS, 8, um_per_pixel=UM, size=16)
    parts = [
        ImageBatches(FIELDS, 8, um_per_pixel=UM, size=16, share=ProcessShard(p, processes, devices=8))
        for p in range(processes)
    ]
    for step in range(3):
        assert_same(join([part[step] for part in parts]), whole[step])


def test_a_share_may_be_empty():
    fields = Fields(2)
    empty = ImageBatches(fields, 8, um_per_pixel=UM, size=16, share=ProcessShard(3, 4))[0]
    assert empty["image"].shape == (2, 16, 16, 4)
    assert not empty["mask"].any()
    assert (empty["index"] == -1).all()


def test_fields_of_greater_weight_come_more_often():
    weights = np.where(np.arange(N) == 2, 4.0, 1)
    batches = ImageBatches(FIELDS, 5, um_per_pixel=UM, size=16, weights=weights)
    assert batches.n == N + 3
    rows = join(list(batches.epoch(1)))
    assert np.bincount(rows["index"][rows["mask"] == 1]).tolist() == [1, 1, 4, 1, 1, 1, 1]
    assert rows["mask"].sum() == N + 3


def test_gentle_augmentation_moves_and_stains_but_stays_in_range():
    plain, gentle = (
        ImageBatches(FIELDS, N, um_per_pixel=UM, size=32, shuffle=False, augmentation=kind)[0]["image"]
        for kind in (augment.NONE, augment.LIGHT)
    )
    assert gentle.min() >= 0
    assert gentle.max() <= 1
    differs = np.abs(plain - gentle).mean((1, 2))
    assert (differs > 0.005).all()
    np.testing.assert_allclose(gentle.mean((1, 2)), plain.mean((1, 2)), rtol=0.8)


def test_all_turns_of_a_field_come_whatever_its_place():
    fields = Fields(64)
    turning = dataclasses.replace(augment.NONE, turn=True)
    fields.examples = [dataclasses.replace(FIELDS[5], image=FIELDS[5].image[:32, :32], masks=None, truth=None)] * 64
    seen = ImageBatches(fields, 64, um_per_pixel=UM, size=16, augmentation=turning)[0]["image"]
    whole = images.as_float(images.resize(FIELDS[5].image[:32, :32], (16, 16)))
    turned = [np.rot90(side, quarters) for side in (whole, whole[:, ::-1]) for quarters in range(4)]
    came = [[(image == way).all() for way in turned] for image in seen]
    assert np.sum(came, axis=1).tolist() == [1] * 64
    assert np.sum(came, axis=0).min() > 0


@pytest.mark.parametrize("channels", [4, 2])
@pytest.mark.parametrize("angle", [0.0, 0.4, -0.7])
def test_a_turned_square_is_what_scipy_interpolates_of_the_mirrored_image(channels, angle):
    draw = np.random.default_rng(3)
    image = draw.integers(0, 256, (30, 26, channels)).astype(np.uint8)
    middle, side, size = (9.3, 20.1), 18.5, 16
    found = image_batches.square(image, middle, side, angle, size)
    turn = side / size * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # (y, x)
    start = np.array(middle) - 0.5 - turn @ np.full(2, size / 2 - 0.5)
    for channel in range(channels):
        wide = np.pad(image[..., channel].astype(float), 20, "symmetric")
        expected = ndimage.affine_transform(wide, turn, start + 20, (size, size), order=1)
        np.testing.assert_allclose(found[..., channel], expected, atol=1)


def test_a_square_at_its_own_place_and_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 4)).astype(np.uint8)
    np.testing.assert_array_equal(image_batches.square(image, (6.0, 6.0), 12, 0.0, 12), image)
    np.testing.assert_array_equal(image_batches.square(image, (5.0, 8.0), 8, 0.0, 8), image[1:9, 4:])


def test_stained_bytes_are_stained_numbers():
    patch = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    for kind in (augment.LIGHT, augment.STRONG, augment.NONE):
        for seed in range(5):
            bytes, numbers = (
                augment.stain(np.random.default_rng(seed), kind, image) for image in (patch, images.as_float(patch))
            )
            np.testing.assert_allclose(bytes, numbers, atol=1e-6)


def test_rotation_draws_every_angle_and_is_an_option():
    still = dataclasses.replace(augment.LIGHT, rotate=False)
    assert augment.angle(np.random.default_rng(0), still) == 0
    angles = [augment.angle(np.random.default_rng(seed), augment.LIGHT) for seed in range(400)]
    histogram = np.histogram(angles, 4, (-np.pi / 4, np.pi / 4))[0]
    assert histogram.sum() == 400
    assert histogram.min() > 60


def test_every_epoch_has_its_own_order():
    orders = [tuple(ImageBatches(FIELDS, N, um_per_pixel=UM, size=16)[epoch]["index"]) for epoch in range(5)]
    assert len(set(orders)) == 5


def test_no_more_fields_than_said_stay_in_memory():
    read, lock = [], threading.Lock()

    class Counted(Fields):
        def __getitem__(self, index):
            with lock:
                read.append(int(index))
            return super().__getitem__(index)

    batches = ImageBatches(Counted(), 1, um_per_pixel=UM, size=16, shuffle=False, cached=3)
    for step in (0, 1, 2, 1, 0, 3, 1, 0, 2):
        batches[step]
    assert read == [0, 1, 2, 3, 2]


def test_refusals_say_what_to_change():
    with pytest.raises(ValueError, match=r"a weight for each: 7 and 3"):
        ImageBatches(FIELDS, 4, um_per_pixel=UM, weights=np.ones(3))
    with pytest.raises(ValueError, match=r"there must be a field"):
        ImageBatches(Fields(0), 4, um_per_pixel=UM)
    with pytest.raises(ValueError, match="batch_size 3 must divide by 2 devices"):
        ImageBatches(FIELDS, 3, um_per_pixel=UM, share=ProcessShard(devices=2))
