"""How far a long work is: a bar on a terminal, and where there is none a line every few seconds.

with progress.shown("fields", len(todo)) as bar:
    for field in todo:
        ...
        bar.advance()
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

EVERY = 10.0  # seconds between two lines in a log

T = TypeVar("T")


@runtime_checkable
class Shown(Protocol):
    """Progress that somebody sees."""

    def advance(self, count: int = 1) -> None:
        """So many more are done."""

    def say(self, text: str) -> None:
        """A line of its own."""


class Lines:
    """Progress as lines on stderr, no more often than every `every` seconds; the last one when all is done."""

    def __init__(self, what: str, total: int, *, every: float = EVERY):
        self.what, self.total, self.every, self.done = what, total, every, 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= self.every or (self.done == self.total and self._last > self._start):
            self._last = now
            self.say(self._line(now - self._start))

    def say(self, text: str) -> None:
        """A line of its own."""
        print(text, file=sys.stderr, flush=True)

    def beat(self) -> None:
        """Says how far all is, if nothing was said for long enough: a single thing may take longer."""
        now = time.monotonic()
        if now - self._last >= 2 * self.every:
            self._last = now
            self.say(f"{self.what}: {self.done} of {self.total}, {now - self._start:.0f} s so far")

    def _line(self, seconds: float) -> str:
        rate = self.done / max(seconds, 1e-9)
        left = (self.total - self.done) / rate
        return f"{self.what}: {self.done} of {self.total}, {rate:.3g}/s, {left:.0f} s left"


class Bar:
    """Progress as a bar on a terminal."""

    def __init__(self, what: str, total: int):
        import rich.console
        import rich.progress

        columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
        self.bar = rich.progress.Progress(*columns, console=rich.console.Console(stderr=True))
        self._task = self.bar.add_task(what, total=total)

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.bar.advance(self._task, count)

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def shown(what: str, total: int) -> Iterator[Shown]:
    """Progress of `total` things, as long as this lasts."""
    if not sys.stderr.isatty():
        lines = Lines(what, total)
        with beating(lines.beat):
            yield lines
        return
    bar = Bar(what, total)
    with bar.bar:
        yield bar


@contextlib.contextmanager
def beating(beat: Callable[[], None], every: float = EVERY) -> Iterator[None]:
    """Calls `beat` from a thread of its own every few seconds, as long as this lasts."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            beat()

    thread = threading.Thread(target=watch, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def track(things: Iterable[T], what: str, total: int) -> Iterator[T]:
    """The things, one by one; each counts when the next is asked for."""
    with shown(what, total) as bar:
        for thing in things:
            yield thing
            bar.advance()
