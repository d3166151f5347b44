"""Results come in the order of the items, whoever is done first, and nothing is begun further ahead than asked."""

import threading
import time

import pytest

from hpax import ahead


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_whoever_is_done_first(workers):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(ahead.in_order(work, range(20), workers)) == [item * item for item in range(20)]
    assert list(ahead.in_order(work, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_as_many_are_begun_at_once_and_no_more_and_the_first_alone(workers):
    begun, running, most, lock = [], 0, [], threading.Lock()

    def work(item):
        nonlocal running
        with lock:
            running += 1
            begun.append(item)
            most.append(running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return item

    results = ahead.in_order(work, iter(range(100)), workers)
    assert next(results) == 0
    assert begun == [0]
    for _ in range(10):
        next(results)
    assert len(begun) <= 11 + workers
    results.close()
    assert len(begun) <= 11 + workers  # nothing further is begun
    assert max(most) <= workers
    assert workers == 1 or max(most) > 1


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_raised_is_raised_in_its_turn(workers):
    results = ahead.in_order(lambda item: 6 // item, [3, 2, 0, 1], workers)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
