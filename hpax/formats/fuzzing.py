"""Whether a reader holds against mutants of a sound file: each is read, or refused by a ValueError that names it.

The trial runs in a process of its own, whose memory is bounded and whose clock ends what takes too long; what escapes
is kept beside a list of what it did.
"""

import dataclasses
import faulthandler
import json
import logging
import pathlib
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import Any

import numpy as np

from hpax import processes
from hpax.formats import mutants

LONGEST = 3000  # characters of an error
READ, REFUSED = "read", "refused"


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sound file, and the function of its path that reads it."""

    name: str
    content: mutants.Content
    data: bytes
    read: Callable[[pathlib.Path], Any]

    def mutant(self, number: int, seed: int) -> bytes:
        """The mutant of a number."""
        return mutants.mutant(self.data, self.content, np.random.default_rng((seed, number)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading one mutant may take."""

    seconds: float = 20.0
    memory: int = 3 * 2**30  # bytes of address space beside what the sound file took


@dataclasses.dataclass
class Trial:
    """What became of the mutants."""

    read: int = 0
    refused: int = 0
    escapes: list[str] = dataclasses.field(default_factory=list)  # "mutant 17: KeyError: 'id'"
    slowest: float = 0.0  # seconds

    @property
    def mutants(self) -> int:
        """How many were tried."""
        return self.read + self.refused + len(self.escapes)

    def __str__(self) -> str:
        told = f"{self.read} read, {self.refused} refused, {len(self.escapes)} escaped, slowest {self.slowest:.2f} s"
        return "; ".join([told, *self.escapes[:3]])


def outcome(sample: Sample, path: pathlib.Path) -> str:
    """What becomes of the file at `path`: READ, REFUSED, or how it escapes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample.read(path)
    except ValueError as error:
        if str(path) not in str(error):
            return f"an error that does not name the file: {str(error)[:300]}"
        return REFUSED if len(str(error)) <= LONGEST else f"an error of {len(str(error))} characters"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    except _TooLong:
        return "it took too long"
    return READ


def trial(sample: Sample, folder: pathlib.Path, *, mutants: int, seed: int = 0, limits: Limits | None = None) -> Trial:
    """Tries mutants 0 … `mutants` - 1 of a file in `folder`; those that escape stay in `folder/escapes`."""
    folder.mkdir(parents=True, exist_ok=True)
    log, path = folder / "outcomes.jsonl", folder / sample.name
    log.write_text("", encoding="utf-8")
    while (first := len(_outcomes(log))) < mutants:
        with processes.pool(1) as pool:
            work = pool.submit(_try, sample, path, range(first, mutants), seed, limits or Limits())
            if isinstance(error := work.exception(), BrokenProcessPool):  # of the one after the last that was noted
                _note(
                    log, path, len(_outcomes(log)), "the process died, of time or memory", (limits or Limits()).seconds
                )
            elif error:
                raise error
    outcomes = _outcomes(log)
    ends = [outcome["end"] for outcome in outcomes]
    escapes = [f"mutant {outcome['mutant']}: {outcome['end']}" for outcome in outcomes]
    escapes = [escape for escape, end in zip(escapes, ends, strict=True) if end not in (READ, REFUSED)]
    slowest = max((outcome["seconds"] for outcome in outcomes), default=0.0)
    return Trial(ends.count(READ), ends.count(REFUSED), escapes, slowest)


def _try(sample: Sample, path: pathlib.Path, numbers: range, seed: int, limits: Limits) -> None:
    """In a process of its own: notes what becomes of mutants, each of which lies at `path` while it is tried."""
    path.write_bytes(sample.data)
    sample.read(path)  # whatever has to be imported and compiled is, before memory is bounded
    logging.disable()  # decoders say much of damaged files
    signal.signal(signal.SIGALRM, _too_long)
    held = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + limits.memory, held + limits.memory))
    for number in numbers:
        path.write_bytes(sample.mutant(number, seed))
        faulthandler.dump_traceback_later(2 * limits.seconds, exit=True)  # where no signal gets through
        signal.setitimer(signal.ITIMER_REAL, limits.seconds)
        start = time.perf_counter()
        end = outcome(sample, path)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _note(path.with_name("outcomes.jsonl"), path, number, end, time.perf_counter() - start)
    faulthandler.cancel_dump_traceback_later()


class _TooLong(BaseException):
    """Reading a mutant takes longer than it may."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise _TooLong


def _note(log: pathlib.Path, path: pathlib.Path, number: int, end: str, seconds: float) -> None:
    """Adds what became of a mutant to the log, and keeps it if it escaped."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"mutant": number, "end": end, "seconds": seconds}) + "\n")
    if end not in (READ, REFUSED):
        (log.parent / "escapes").mkdir(exist_ok=True)
        shutil.copyfile(path, log.parent / "escapes" / f"{number}-{path.name}")


def _outcomes(log: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
