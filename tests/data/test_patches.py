import dataclasses
import itertools

import numpy as np
import pytest
from properties import assert_same, join
from scipy import ndimage

from hpax.data import ProcessShard, augment, build
from hpax.data.patches import PatchBatches, View, window_of
from hpax.data.targets import maps
from hpax.images import percentile_normalise
from hpax.metrics import segmentation
from hpax.segment import watershed

NUCLEI = {"size": 64, "augmentation": augment.NONE}


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    return build("simulated_fields", tmp_path_factory.mktemp("fields"), proteins=5, cell_lines=1, size=160, seed=2)


@pytest.fixture(scope="module")
def nuclei(fields):
    return View(fields, "nuclei", (1,))


def brute_force_border(mask, reach):
    """Within `reach` pixels of two objects, from the exact distance to every object."""
    distances = [ndimage.distance_transform_edt(mask != index) for index in np.unique(mask[mask > 0])]
    return np.sum([distance <= reach + 1e-6 for distance in distances], axis=0) >= 2


@pytest.mark.parametrize("um_per_pixel", [0.16, 0.32, 0.5])
def test_borders_are_where_two_objects_are_near(um_per_pixel):
    rng = np.random.default_rng(1)
    seeds = np.zeros((40, 57), int)
    seeds.flat[rng.choice(seeds.size, 12, replace=False)] = rng.permutation(12) + 1
    nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True, return_distances=False)
    mask = seeds[tuple(nearest)] * (ndimage.gaussian_filter(rng.normal(size=seeds.shape), 3) > -0.02)
    found = maps(mask.astype(np.uint16), um_per_pixel, reach=0.8)
    np.testing.assert_array_equal(found[..., 0] > 0, brute_force_border(mask, 0.8 / um_per_pixel))
    np.testing.assert_array_equal(found[..., 1] > 0, mask > 0)


def test_an_object_alone_has_no_border():
    mask = np.zeros((9, 9), np.uint16)
    mask[2:6, 3:8] = 7
    assert not maps(mask, 0.32)[..., 0].any()
    assert not maps(np.zeros((3, 0), np.uint16), 0.32).size


def test_a_window_at_the_pixels_of_its_field_is_a_cut():
    rng = np.random.default_rng(0)
    image, mask = rng.random((30, 40, 2), np.float32), rng.integers(0, 9, (30, 40))
    patch, objects, valid = window_of(image, mask, (5.0, 7.0), 16.0, 16)
    np.testing.assert_allclose(patch, image[5:21, 7:23], atol=1e-6)
    np.testing.assert_array_equal(objects, mask[5:21, 7:23])
    assert valid.all()


def test_a_window_over_the_edge_is_mirrored_and_not_valid():
    rng = np.random.default_rng(0)
    image, mask = rng.random((10, 12, 1), np.float32), rng.integers(0, 9, (10, 12))
    patch, objects, valid = window_of(image, mask, (-7.0, -5.0), 32.0, 32)
    index = [np.pad(np.arange(n), (before, 32 - before - n), mode="symmetric") for n, before in ((10, 7), (12, 5))]
    np.testing.assert_allclose(patch, image[np.ix_(*index)], atol=1e-6)
    np.testing.assert_array_equal(objects, mask[np.ix_(*index)])
    inside = np.zeros((32, 32))
    inside[7:17, 5:17] = 1
    np.testing.assert_array_equal(valid, inside)


def test_a_window_at_half_the_pixels_averages_and_keeps_its_place():
    image = np.zeros((64, 64, 1), np.float32)
    mask = np.zeros((64, 64), int)
    image[20:40, 12:44], mask[20:40, 12:44] = 1, 5
    patch, objects, _ = window_of(image, mask, (4.5, 2.5), 51.0, 17)
    assert patch.sum() * 9 == pytest.approx(20 * 32, rel=0.05)
    assert (objects > 0).sum() * 9 == pytest.approx(20 * 32, rel=0.1)
    for axis, centre in ((0, (30 - 4.5) / 3 - 0.5), (1, (28 - 2.5) / 3 - 0.5)):
        weights = patch[..., 0].sum(1 - axis)
        assert weights @ np.arange(17) / weights.sum() == pytest.approx(centre, abs=0.1)
        assert np.argwhere(objects)[:, axis].mean() == pytest.approx(centre, abs=0.5)


def test_plain_patches_are_windows_of_the_stretched_field_with_its_maps(fields, nuclei):
    batch = PatchBatches([nuclei], 4, **NUCLEI)[1]
    for row, field in enumerate(batch["index"]):
        image, truth = percentile_normalise(fields[int(field)]["image"][..., 1]), fields[int(field)]["nuclei"]
        assert batch["valid"][row].all()
        # the window is somewhere in the field: the one that fits best fits both image and objects
        found = np.fft.irfft2(np.fft.rfft2(image) * np.conj(np.fft.rfft2(batch["image"][row, ..., 0], image.shape)))
        energy = ndimage.uniform_filter(np.square(image), 64, origin=-32, mode="wrap") * 64**2
        y, x = np.unravel_index(np.argmin(energy - 2 * found), found.shape)
        window = (slice(y, y + 64), slice(x, x + 64))
        assert np.abs(image[window] - batch["image"][row, ..., 0]).mean() < 0.1
        agree = (truth[window] > 0) == (batch["maps"][row, ..., 1] > 0)
        assert agree.mean() > 0.95


def test_an_epoch_takes_a_patch_of_each_field_and_its_last_batch_is_padded(fields, nuclei):
    batches = PatchBatches([nuclei], 4, seed=1, **NUCLEI)
    rows = join(list(batches.epoch(3)))
    assert batches.steps_per_epoch == 3
    assert sorted(rows["index"][rows["mask"] == 1]) == list(range(len(fields)))
    assert rows["mask"].tolist() == [1] * 10 + [0] * 2
    for name in ("image", "maps", "valid"):
        assert not rows[name][10:].any()
    assert rows["index"][10:].tolist() == [-1, -1]
    first = PatchBatches([nuclei], 4, shuffle=False, **NUCLEI)[0]
    assert first["index"].tolist() == [0, 1, 2, 3]


def test_views_come_by_their_weights(nuclei):
    views = [nuclei, dataclasses.replace(nuclei, weight=3)]
    batches = PatchBatches(views, 5, patches=40, size=16)
    drawn = join(list(batches.epoch()))["index"]
    assert (drawn < 10).sum() == 10
    counts = np.bincount(drawn, minlength=20)
    assert counts[:10].tolist() == [1] * 10
    assert counts[10:].tolist() == [3] * 10


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_resumes_at_any_step(nuclei, threads):
    batches = PatchBatches([nuclei], 4, size=32, seed=5, threads=threads)
    unbroken = list(itertools.islice(batches.iterate(), 7))
    again = PatchBatches([nuclei], 4, size=32, seed=5, cached=1)
    for start in (0, 2, 3, 6):
        assert_same(next(again.iterate(start)), unbroken[start])
        assert_same(again[start], unbroken[start])
    unshuffled = PatchBatches([nuclei], 4, size=32, shuffle=False)
    assert (unshuffled[0]["index"] == unshuffled[3]["index"]).all()
    assert not (unshuffled[0]["image"] == unshuffled[3]["image"]).all()
    assert not (PatchBatches([nuclei], 4, size=32, seed=6)[0]["image"] == unbroken[0]["image"]).all()


@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_processes_make_the_whole_batch(nuclei, processes):
    whole = PatchBatches([nuclei], 8, size=32)
    parts = [PatchBatches([nuclei], 8, size=32, share=ProcessShard(p, processes, devices=8)) for p in range(processes)]
    for step in range(2):  # the last one leaves the last process without a patch
        assert_same(join([part[step] for part in parts]), whole[step])


def test_strong_augmentation_stays_in_range_and_leaves_maps_binary(fields):
    view = View(fields, "cells", (2, 3, 1))
    rows = join(list(PatchBatches([view], 5, size=48, patches=30).epoch()))
    assert rows["image"].min() >= 0
    assert rows["image"].max() <= 1
    assert set(np.unique(rows["maps"])) == {0, 1}


def test_one_marker_may_be_lost_but_never_the_last(fields):
    view, lossy = View(fields, "cells", (2, 3, 1)), dataclasses.replace(augment.NONE, channel_dropout=0.4)
    whole, rows = (
        join(list(PatchBatches([view], 10, size=48, patches=100, augmentation=kind).epoch()))["image"]
        for kind in (augment.NONE, lossy)
    )
    assert whole.any((1, 2)).all()
    channel_dropout = ~rows.any((1, 2))
    assert (channel_dropout.sum(0)[:2] > 10).all()
    assert 25 < channel_dropout.any(1).sum() < 55
    assert (channel_dropout.sum(1) <= 1).all()
    assert not channel_dropout[:, 2].any()


def test_zoom_scales_objects_but_not_the_width_of_borders(fields, nuclei):
    def share(zoom):
        fixed = dataclasses.replace(augment.NONE, zoom=zoom)
        rows = join(list(PatchBatches([nuclei], 10, size=64, augmentation=fixed, patches=200).epoch()))
        return np.average(rows["maps"][..., 1], weights=rows["valid"])

    assert share(2.0) == pytest.approx(share(1.0), rel=0.15)
    factors = [augment.zoom(np.random.default_rng(i), augment.STRONG) for i in range(2000)]
    assert 0.5 < min(factors) < 0.6
    assert 1.8 < max(factors) < 2
    assert np.median(factors) == pytest.approx(1, rel=0.03)


def test_all_eight_turns_come_and_turn_everything_alike():
    image = np.arange(16).reshape(4, 4)
    seen = set()
    for seed in range(60):
        turned, other = augment.turn(np.random.default_rng(seed), augment.STRONG, image, 2 * image)
        np.testing.assert_array_equal(2 * turned, other)
        seen.add(turned.tobytes())
    assert len(seen) == 8


def test_a_plain_stain_is_none():
    patch = np.random.default_rng(0).random((8, 8, 3), np.float32)
    np.testing.assert_array_equal(augment.stain(np.random.default_rng(1), augment.NONE, patch), patch)


def test_refusals_say_what_to_change(nuclei):
    with pytest.raises(ValueError, match="one number of channels"):
        PatchBatches([nuclei, dataclasses.replace(nuclei, channels=(1, 2))], 4)
    with pytest.raises(ValueError, match="got \\[\\]"):
        PatchBatches([], 4)
    with pytest.raises(ValueError, match="batch_size 3 must divide"):
        PatchBatches([nuclei], 3, share=ProcessShard(devices=2))
    with pytest.raises(ValueError, match="weight must be positive"):
        View(nuclei.source, "nuclei", (1,), weight=0)
    with pytest.raises(ValueError, match=r"gain is a factor .* got 0\.5"):
        augment.Augmentation(gain=0.5)
    with pytest.raises(ValueError, match="noise must not be negative"):
        augment.Augmentation(noise=-1)


def test_true_maps_give_the_true_masks_back(fields):
    nuclei, cells = [], []
    for field in map(fields.__getitem__, range(len(fields))):
        true = large(field, 16)
        nuclei_maps, cell_maps = (maps(field[name], 0.32) for name in ("nuclei", "cells"))
        nuclei.append(segmentation.count(watershed.nuclei_from_maps(nuclei_maps, 0.32), true["nuclei"]))
        found = watershed.cells_from_maps(nuclei_maps, cell_maps, 0.32)
        cells.append(segmentation.count(found.cells, true["cells"]))
    for scores in (segmentation.score(segmentation.merge(counts)) for counts in (nuclei, cells)):
        assert scores.true >= 15
        assert scores.f1 >= 0.95
        assert scores.matched_iou >= 0.95


def large(field, area):
    """The masks of cells whose nucleus covers `area` µm²; those of which the edge leaves less are no nuclei to find."""
    keep = np.bincount(field["nuclei"].ravel()) * 0.32**2 >= area
    return {name: np.where(keep[field[name]], field[name], 0) for name in ("nuclei", "cells")}


def test_glow_spreads_light_and_takes_none():
    spot = np.zeros((64, 64, 2), np.float32)
    spot[28:36, 28:36] = 0.5
    only_glow = dataclasses.replace(augment.NONE, haze=0.6)
    glowing = np.stack([augment.stain(np.random.default_rng(seed), only_glow, spot) for seed in range(12)])
    assert (glowing >= spot).all()
    far = glowing[:, 16, 16].ravel()  # of each channel
    assert (far > 0).any()
    assert (far == 0).any()
    added = (glowing - spot).sum((1, 2)) / spot.sum((0, 1))
    assert 0 < added.max() <= 0.6 + 1e-3
