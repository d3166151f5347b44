"""`python -m experiments` lists the studies and benchmarks."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hpax.commands import listing


def main(argv: Sequence[str] | None = None) -> int:
    """Every experiment with its claim; where one is named instead of run, how to run it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    claims = listing.claims(Path(__file__).parent)
    if arguments and arguments[0] not in ("-h", "--help"):
        name = arguments[0]
        if name in claims:
            print(f"error: an experiment is run by `python -m experiments.{name}`", file=sys.stderr)
        else:
            print(f"error: there is no experiment {name!r}; {listing.nearest(name, claims)}", file=sys.stderr)
        return 2
    print("usage: python -m experiments.NAME [OPTIONS]\n")
    print(listing.table(claims))
    print("\n`python -m experiments.NAME --help` tells the options; `python -m hpax` lists the commands.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
