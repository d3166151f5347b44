"""Processes that end together: workers with whom they work for, and all of them tidily."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait  # up here: TFDS makes imports lazy for a while, in all threads
from multiprocessing.synchronize import Event


@contextlib.contextmanager
def pool(workers: int) -> Iterator[concurrent.futures.Executor]:
    """Fresh processes that work for this one: forking one that runs JAX can hang.

    They end with this process, however it ends, and at once where an error or an interruption leaves the context.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with concurrent.futures.ProcessPoolExecutor(workers, context, _end_with_parent, (stop,)) as executor:
        try:
            yield executor
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent(stop: Event) -> None:
    """In a worker: ends it once `stop` is set, or its parent is gone."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        while parent is not None and not stop.is_set() and not wait([parent.sentinel], timeout=0.5):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, as of a scheduler or `kill`, is as Ctrl-C in here: a KeyboardInterrupt, after which things are tidied.

    Signals belong to the main thread; in others this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
