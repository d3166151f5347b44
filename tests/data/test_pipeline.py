import collections
import copy
import itertools
import threading

import jax
import numpy as np
import pytest

from hpax.data import CellBatches, PairBatches, ProcessShard, Source, preprocess

N = 37


def assert_same(batch, other):
    assert batch.keys() == other.keys()
    for name in batch:
        assert batch[name].dtype == other[name].dtype
        np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


def join(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_a_batch_of_pairs_holds_what_its_indices_say(crops):
    batches = PairBatches(crops, 8, seed=3, flip=False)
    batch = batches[1]
    for role, index in (("source", "index"), ("target", "target_index")):
        assert batch[role].dtype == np.float32
        images = np.stack([crops[i]["image"] for i in batch[index]])
        np.testing.assert_array_equal(batch[role], preprocess.human(images))
    assert (crops.groups[batch["index"]] == crops.groups[batch["target_index"]]).all()
    assert batch["mask"].tolist() == [1] * 8


def test_each_cell_is_the_source_once_per_epoch(crops):
    batches = PairBatches(crops, 8, seed=0)
    for epoch in (0, 1, 7):
        passed = list(batches.epoch(epoch))
        assert len(passed) == batches.steps_per_epoch == 5
        rows = join(passed)
        assert sorted(rows["index"][rows["mask"] == 1]) == list(range(N))


def test_the_last_batch_of_an_epoch_is_padded(crops):
    last = PairBatches(crops, 8)[4]
    assert last["mask"].tolist() == [1] * 5 + [0] * 3
    assert not last["source"][5:].any()
    assert not last["target"][5:].any()
    assert last["index"][5:].tolist() == last["target_index"][5:].tolist() == [-1] * 3


@pytest.mark.parametrize("threads", [1, 4])
def test_a_run_resumes_at_any_step(crops, threads):
    batches = PairBatches(crops, 8, seed=5, threads=threads)
    unbroken = list(itertools.islice(batches.iterate(), 12))
    again = PairBatches(crops, 8, seed=5, cache_bytes=0)
    for start in (0, 4, 5, 11):
        assert_same(next(again.iterate(start)), unbroken[start])
        assert_same(again[start], unbroken[start])
    assert not (unbroken[0]["index"] == unbroken[5]["index"]).all()
    assert not (PairBatches(crops, 8, seed=6)[0]["index"] == unbroken[0]["index"]).all()


@pytest.mark.parametrize("make", [PairBatches, CellBatches])
@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_processes_make_the_whole_batch(crops, make, processes):
    whole = make(crops, 16)
    parts = [make(crops, 16, share=ProcessShard(process, processes, devices=8)) for process in range(processes)]
    for step in range(3):  # the last one leaves the last process without a cell
        assert_same(join([part[step] for part in parts]), whole[step])


@pytest.mark.parametrize("make", [PairBatches, CellBatches])
def test_batches_take_the_share_of_their_process_when_first_used(crops, make, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: pytest.fail("asked before it is needed: this starts devices"))
    parts = [make(crops, 16) for _ in range(2)]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process, part in enumerate(parts):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        part[0]
    monkeypatch.undo()
    whole = make(crops, 16)
    for step in range(3):
        assert_same(join([part[step] for part in parts]), whole[step])


def test_a_batch_that_does_not_divide_by_the_processes_of_the_program_is_refused(crops, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(ValueError, match="must divide by 4 processes; use 4 or 8"):
        PairBatches(crops, 6)[0]


def test_the_flips_of_source_and_target_are_independent_and_belong_to_the_cell(crops):
    plain, flipped = PairBatches(crops, N, flip=False, seed=1)[0], PairBatches(crops, N, seed=1)[0]
    turns = [(slice(None), slice(None)), (slice(None, None, -1), slice(None))]
    turns += [(a, slice(None, None, -1)) for a, _ in turns]
    seen = [
        tuple(
            next(k for k, turn in enumerate(turns) if (before[turn] == after).all())
            for before, after in ((plain[role][row], flipped[role][row]) for role in ("source", "target"))
        )
        for row in range(N)
    ]
    assert len(set(seen)) > 8  # of 16
    other = PairBatches(crops, 5, seed=1)[0]
    rows = [flipped["index"].tolist().index(i) for i in other["index"]]
    np.testing.assert_allclose(other["source"], flipped["source"][rows])


def test_a_cell_paired_with_itself_keeps_its_flips(crops):
    batch = PairBatches(crops, 8, pair="self")[0]
    np.testing.assert_array_equal(batch["source"], batch["target"])


def test_random_pairs_cross_images(crops):
    batch = PairBatches(crops, N, pair="random")[0]
    assert (crops.groups[batch["index"]] != crops.groups[batch["target_index"]]).all()


def test_unshuffled_pairs_keep_the_order_of_the_source(crops):
    assert PairBatches(crops, 8, shuffle=False)[0]["index"].tolist() == list(range(8))


def test_cells_come_once_in_order(crops):
    batches = CellBatches(crops, 8, prepare=preprocess.yeast)
    rows = join(list(batches))
    real = rows["mask"] == 1
    assert rows["index"][real].tolist() == list(range(N))
    images = np.stack([example["image"] for example in crops.__getitems__(range(N))])
    np.testing.assert_array_equal(rows["image"][real], preprocess.yeast(images))
    assert len(batches) == 5
    assert [batch["index"][0] for batch in batches.iterate(3)] == [24, 32]
    for step in (-1, 5):
        with pytest.raises(IndexError, match=r"0\.\.4"):
            batches[step]


@pytest.mark.parametrize(
    ("batch_size", "share", "told"),
    [
        (100, ProcessShard(devices=8), "batch_size 100 must divide by 8 devices; use 96 or 104"),
        (5, ProcessShard(devices=8), "must divide by 8 devices; use 8"),
        (6, ProcessShard(0, 4), "must divide by 4 processes; use 4 or 8"),
        (0, ProcessShard(), "must be at least 1, got 0"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(crops, batch_size, share, told):
    for make in (PairBatches, CellBatches):
        with pytest.raises(ValueError, match=told):
            make(crops, batch_size, share=share)


def test_a_process_is_one_of_all():
    with pytest.raises(ValueError, match=r"process must be in 0\.\.1, got 2"):
        ProcessShard(2, 2)


def test_the_cache_stays_within_its_bound_and_saves_reading(crops):
    read = collections.Counter()

    class Counted(Source):
        def __init__(self):
            vars(self).update(vars(crops))

        def __getitems__(self, indices):
            read.update(indices)
            return crops.__getitems__(indices)

    crop = 16 * 16 * 3 * 2  # bytes
    for cells, most in ((N, 1), (N - 10, 20), (0, 20)):
        read.clear()
        batches = PairBatches(Counted(), 8, cache_bytes=cells * crop)
        for step in range(20):
            batches[step]
            assert len(batches.crops._cache) <= cells
        assert max(read.values()) <= most
        assert (max(read.values()) == 1) == (cells == N)


def test_threads_may_share_a_pipeline(crops):
    batches, expected = PairBatches(crops, 8, cache_bytes=5000), [PairBatches(crops, 8)[step] for step in range(8)]
    failures = []

    def work():
        for step in range(8):
            try:
                assert_same(batches[step], expected[step])
            except AssertionError as error:
                failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_a_source_without_siblings_is_refused_at_once(crops):
    lonely = copy.copy(crops)
    lonely.groups = np.arange(N)
    with pytest.raises(ValueError, match="37 of 37 images have 1"):
        PairBatches(lonely, 8)
