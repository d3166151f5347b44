"""Fetches fields of the Human Protein Atlas into a folder, as a list names them.

    hpax fetch LIST.csv FOLDER

LIST.csv has the columns antibody, plate, well and field, or image; see hpax.formats.proteinatlas. FOLDER becomes what
the other commands take as --fields, with a table of labels on top, fields.csv; failures.csv in it lists what could not
be had. Run it again to fetch what is missing. Exit status 1: some pictures failed; 2: nothing was done.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import tyro

from hpax.commands.command import Call, Command


@dataclasses.dataclass(frozen=True)
class Config:
    """What to fetch, and how to ask for it."""

    list: tyro.conf.Positional[Path]  # CSV with antibody, plate, well and field, or image
    folder: tyro.conf.Positional[Path]
    base: str = "https://images.proteinatlas.org"
    fields: int = 6  # asked for where the list names only the well
    workers: int = 4  # files at a time
    rate: float = 8.0  # requests per second, of all workers together
    attempts: int = 5  # for one file
    pause: float = 1.0  # seconds before the second attempt; doubles with each
    timeout: float = 30.0  # seconds without a byte
    deadline: float = 600.0  # seconds for one attempt
    max_bytes: int = 2**26  # of one file; the largest HPA field has 9.4 megapixels


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Fetches; returns the pictures that failed, and why."""
    from hpax.data import fetch
    from hpax.data.download import RateLimit
    from hpax.formats import proteinatlas

    manners = RateLimit(
        workers=config.workers,
        rate=config.rate,
        attempts=config.attempts,
        pause=config.pause,
        timeout=config.timeout,
        deadline=config.deadline,
        max_bytes=config.max_bytes,
    )
    wanted = proteinatlas.read_list(config.list, fields=config.fields)
    report = fetch.fetch(wanted, config.folder, base=config.base, manners=manners, progress=True)
    print(f"{len(report.fetched)} fields came, {len(report.present)} were there, in {config.folder}")
    return {failure.url: failure.reason for failure in report.failures}


COMMAND = Command("fetch", __doc__, Config, work)
main = COMMAND.main
