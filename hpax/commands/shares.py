"""One command by several processes that see the same folders, wherever they are: each takes a share of the fields."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from hpax import files

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class FieldShare:
    """Every `count`-th field from the `number`-th (1 is the first) on."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, known: Sequence[Item]) -> list[Item]:
        """Those that are this process's."""
        return list(known[self.number - 1 :: self.count])

    def told(self, own: int, known: int) -> str:
        """What to say at the end of a share of so many fields."""
        return f"share {self}: {own} of {known} fields; once all are done, the same without --share"


def parse(text: str) -> FieldShare | None:
    """The share that a command line names; None where it names none.

    Raises:
        ValueError: it is none, such as 5/4.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"share must be such as 2/4, the second of four processes, got {text!r}; number them from 1")
    return FieldShare(number, count)


@contextlib.contextmanager
def exclusive(workdir: Path, share: FieldShare | None) -> Iterator[None]:
    """The workdir is ours as long as this lasts, or of a share its part of the work.

    Raises:
        files.Taken: another process has it.
    """
    folder = workdir if share is None else workdir / "shares" / f"{share.number}-of-{share.count}"
    folder.mkdir(parents=True, exist_ok=True)
    with files.exclusive(folder):
        yield
