"""The command `hpax`: what it can do, and which module does it."""

import collections
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import hpax
from hpax import processes
from hpax.commands import listing
from hpax.commands.command import NOTHING_DONE, OK

COMMANDS = ("segment", "label", "embed", "train", "score", "simulate", "build", "fetch", "convert", "report")
"""In the order in which they are listed; each is a module beside this one, with a `main` and a claim on top."""

ABOUT = "hpax: protein localisation in single cells from fluorescence microscopy."
HINT = (
    "`hpax COMMAND --help` tells the options, --show-config what they come to; `python -m experiments` lists studies "
    "and benchmarks."
)


@processes.pipeable()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name; without one, lists them all."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(overview())
        return OK
    if name in ("-V", "--version"):
        print(versions())
        return OK
    if name not in COMMANDS:
        print(f"error: hpax has no command {name!r}; {listing.nearest(name, COMMANDS)}", file=sys.stderr)
        return NOTHING_DONE
    return importlib.import_module(f"hpax.commands.{name}").main(arguments[1:])


def versions() -> str:
    """Of hpax, Python, and what computes; and the devices that JAX finds."""
    import jax  # is slow to import, so who asks waits

    found = collections.Counter(device.device_kind for device in jax.local_devices())
    devices = ", ".join(f"{count} × {kind}" for kind, count in sorted(found.items()))
    lines = [f"hpax {hpax.__version__}", f"python {platform.python_version()}"]
    lines += [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "flax", "numpy")]
    return "\n".join([*lines, f"devices: {devices}"])


def overview() -> str:
    """Every command with its claim."""
    folder = Path(__file__).parent
    claims = {name: listing.claim(folder / f"{name}.py") for name in COMMANDS}
    return "\n\n".join(["usage: hpax COMMAND [OPTIONS]", ABOUT, listing.table(claims), HINT])


if __name__ == "__main__":
    raise SystemExit(main())
