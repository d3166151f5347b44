"""The command `hpax`: what it can do, and which module does it."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import hpax
from hpax.commands import listing
from hpax.commands.command import NOTHING_DONE, OK

COMMANDS = ("segment", "label", "embed", "train", "score", "build", "fetch", "convert", "report")
"""In the order in which they are listed; each is a module beside this one, with a `main` and a claim on top."""

ABOUT = "hpax: protein localisation in single cells from fluorescence microscopy."
HINT = "`hpax COMMAND --help` tells the options; `python -m experiments` lists studies and benchmarks."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name; without one, lists them all."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(overview())
        return OK
    if name in ("-V", "--version"):
        print(f"hpax {hpax.__version__}")
        return OK
    if name not in COMMANDS:
        print(f"error: hpax has no command {name!r}; {listing.nearest(name, COMMANDS)}", file=sys.stderr)
        return NOTHING_DONE
    return importlib.import_module(f"hpax.commands.{name}").main(arguments[1:])


def overview() -> str:
    """Every command with its claim."""
    folder = Path(__file__).parent
    claims = {name: listing.claim(folder / f"{name}.py") for name in COMMANDS}
    return "\n\n".join(["usage: hpax COMMAND [OPTIONS]", ABOUT, listing.table(claims), HINT])


if __name__ == "__main__":
    raise SystemExit(main())
