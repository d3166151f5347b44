"""Collects results of experiments into results/*.csv, and renders BENCHMARKS.md from these.

    hpax report runs

Without folders it renders the tables that are there; with --check it writes nothing, and fails if BENCHMARKS.md is not
what they render to. Exit status 1: a file is wrong, or BENCHMARKS.md out of date.
"""

import sys
from collections.abc import Sequence

from hpax import report
from hpax.commands.command import framed, parts


def main(argv: Sequence[str] | None = None) -> int:
    """Collects and renders."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _, example, outputs = parts(__doc__ or "")
    with framed(arguments, example, outputs):
        return report.main(arguments, prog="hpax report")
