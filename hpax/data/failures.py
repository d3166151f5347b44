"""What a build could not read: listed beside the shards, so that whoever opens them later is told, too."""

import csv
import pathlib
from collections.abc import Mapping

from hpax import files

NAME = "failures.csv"  # in the folder of a data set
TOLD = 3  # reasons in a summary


def write(folder: pathlib.Path, failed: Mapping[str, str]) -> None:
    """Leaves the table of failures, if there are any."""
    if not failed:
        return
    with (
        files.replacing(folder / NAME) as draft,
        draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "reason"])
        writer.writerows(sorted(failed.items()))


def read(folder: pathlib.Path) -> dict[str, str]:
    """Id of an item → why it is not among the examples."""
    path = folder / NAME
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def why(error: Exception) -> str:
    """What to tell of an error that ended the work on one item; its kind, too, where nobody foresaw it."""
    return str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"


def summary(failed: Mapping[str, str]) -> str:
    """How many items failed, and the first reasons."""
    return f"{len(failed)} could not be read, as {reasons(failed)}"


def reasons(failed: Mapping[str, str]) -> str:
    """The first reasons, and how many others there are."""
    told = list(dict.fromkeys(reason for _, reason in sorted(failed.items())))
    more = f"; and {len(told) - TOLD} other reasons" if len(told) > TOLD else ""
    return f"{'; '.join(told[:TOLD])}{more}"
