"""Processes that end together: workers with whom they work for, and all of them tidily."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait  # up here: TFDS makes imports lazy for a while, in all threads
from multiprocessing.synchronize import Event

UNREAD = 141
"""The exit code of a program whose output nobody reads any more: that of one that SIGPIPE ended."""


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


@contextlib.contextmanager
def pipeable() -> Iterator[None]:
    """A program whose output nobody reads any more, as `head` does not after ten lines, ends quietly in here."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError as error:
        if not unread(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        raise SystemExit(UNREAD) from None


def unread(error: BaseException) -> bool:
    """Whether an error is that nobody reads stdout any more, and not, say, that a worker has died."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no file, or a system without poll
        return False
