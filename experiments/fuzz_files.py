"""Whether hpax holds against damaged and hostile files: mutants of tables, pictures, masks, networks and archives.

Every mutant must be read, or refused by a ValueError of at most 3,000 characters that names the file, within bounded
time and memory. What escapes is kept in the run's folder: `--kinds tables --mutants 10000 --seed 1` tries one kind.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hpax import launch

Kind = Literal["tables", "pictures", "masks", "networks", "archives"]
KINDS: tuple[Kind, ...] = ("tables", "pictures", "masks", "networks", "archives")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is tried."""

    kinds: tuple[Kind, ...] = KINDS
    mutants: int = 1000  # of every file
    seconds: float = 20.0  # for one mutant
    memory: int = 3  # GiB that reading one may take
    seed: int = 0


def run(config: Config, workdir: Path) -> launch.Result:
    """Tries every kind, and tells of what escaped; a RuntimeError if anything did."""
    from hpax.formats import fuzzing  # here, so that help is quick
    from hpax.recipes import fuzz_samples

    metrics: dict[str, float] = {}
    counts: dict[str, int] = {}
    limits = fuzzing.Limits(seconds=config.seconds, memory=config.memory * 2**30)
    for kind in config.kinds:
        trials = []
        for sample in fuzz_samples.samples(kind):
            folder = workdir / kind / sample.name
            trials.append(fuzzing.trial(sample, folder, mutants=config.mutants, seed=config.seed, limits=limits))
            print(f"{kind} {sample.name}: {trials[-1]}", flush=True)
        counts |= {f"{kind}, mutants": sum(trial.mutants for trial in trials)}
        metrics[f"{kind}, escaped"] = sum(len(trial.escapes) for trial in trials)
        metrics[f"{kind}, read"] = sum(trial.read for trial in trials)
        metrics[f"{kind}, slowest (s)"] = max(trial.slowest for trial in trials)
    if escaped := sum(value for name, value in metrics.items() if name.endswith("escaped")):
        raise RuntimeError(f"{escaped:.0f} mutants escaped; {workdir}/*/*/escapes holds them, and what they did")
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def main(argv: Sequence[str] | None = None) -> int:
    """Tries what the command line says."""
    return launch.main(Config, run, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
