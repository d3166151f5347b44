"""Draw a truth and a submission of the HPA single-cell competition at the size of its test set, for benchmarks.

Writes `truth.csv` and `submission.csv`: disjoint cells with wobbly outlines, drawn as runs; a predicted cell is its
true cell moved and deformed, every twenty-fifth too much to match; the submission scores all 19 classes of every cell.
"""

from collections.abc import Sequence
from pathlib import Path

from hpax import launch
from hpax.metrics import drawn_submission
from hpax.metrics.drawn_submission import Size as Config


def run(config: Config, workdir: Path) -> launch.Result:
    """Write both files."""
    megabytes = drawn_submission.write(config, workdir)
    counts = drawn_submission.counts(config)
    return launch.Result(metrics=megabytes, counts=counts, data="simulated", headline=list(megabytes))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
