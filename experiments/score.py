"""The competition's score of a submission: `hpax score` under its first name."""

from collections.abc import Sequence

from hpax.commands import score


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return score.COMMAND.main(argv, command=("python", "-m", "experiments.score"))


if __name__ == "__main__":
    raise SystemExit(main())
