"""Features of single cells: `hpax embed` under its first name, and with its results under runs/embed_cells."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hpax.commands import embed


@dataclasses.dataclass(frozen=True)
class Config(embed.Config):
    """What to embed by which encoder, and what to leave."""

    workdir: Path = Path("runs/embed_cells")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    command = ("python", "-m", "experiments.embed_cells")
    return embed.COMMAND.main(argv, command=command, config=Config)


if __name__ == "__main__":
    raise SystemExit(main())
