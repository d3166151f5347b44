"""Labels of single cells: `hpax label` under its first name, and with its results under runs/label_cells."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hpax.commands import label


@dataclasses.dataclass(frozen=True)
class Config(label.Config):
    """What to label by what, and what to leave."""

    workdir: Path = Path("runs/label_cells")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    command = ("python", "-m", "experiments.label_cells")
    return label.COMMAND.main(argv, command=command, config=Config)


if __name__ == "__main__":
    raise SystemExit(main())
