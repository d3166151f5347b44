"""Builds a data set: shards of single cells or fields on disk, once.

    hpax build hpa_cells --source FOLDER --data-dir DIR

`hpax build NAME --help` tells the options of a data set. The shards lie in DIR/NAME, in a folder that is named by the
options; a build that was stopped goes on where it was. Exit status 1: some items could not be read, and are left out;
2: nothing was built.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from hpax import processes
from hpax.commands import listing
from hpax.commands.command import NOTHING_DONE, OK, SOME_FAILED, STOPPED, parts
from hpax.data.data_sets import DATA_SETS
from hpax.launch.manual import wrapped


@processes.interruptible()
def main(argv: Sequence[str] | None = None) -> int:
    """Builds the data set that the arguments name; without one, lists them all."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return OK
    if name not in DATA_SETS:
        print(f"error: there is no data set {name!r}; {listing.nearest(name, DATA_SETS)}", file=sys.stderr)
        return NOTHING_DONE
    from hpax.data.building import __main__ as building

    try:
        failed = building.run(name, rest, prog=f"hpax build {name}")
    except (ValueError, OSError) as error:
        print(f"error: {name} was not built: {error}", file=sys.stderr)
        return NOTHING_DONE
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    return SOME_FAILED if failed else OK


def overview() -> str:
    """Every data set with its claim."""
    folder = Path(__file__).parents[1] / "data"
    claims = {name: listing.claim(folder / name / f"{name}.py") for name in DATA_SETS}
    about, example, outputs = parts(__doc__ or "")
    usage = "usage: hpax build NAME [OPTIONS]"
    return "\n\n".join([f"for example: {example}", usage, about, listing.table(claims), wrapped(outputs)])
