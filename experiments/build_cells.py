"""Fields to single cells: `hpax segment` under its first name, and with its results under runs/build_cells."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hpax.commands import segment


@dataclasses.dataclass(frozen=True)
class Config(segment.Config):
    """What to segment and how, and what to leave."""

    workdir: Path = Path("runs/build_cells")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    command = ("python", "-m", "experiments.build_cells")
    return segment.COMMAND.main(argv, command=command, config=Config)


if __name__ == "__main__":
    raise SystemExit(main())
