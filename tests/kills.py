"""Work that is killed at its n-th file operation and begun again, until it has been killed often enough.

Run as `python -c "import kills; kills.main(WORK, FOLDER, SEED, KILLS)"`: what is slow to import is imported once, and
each try is a fork of that process. What is written is where the harm is done, so moments are counted in files that are
opened, made, renamed or removed, and not in seconds, which a busy machine stretches.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import signal
import sys
import traceback

import fakes
import numpy as np
import optax

from hpax import data, launch, train

OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}
"""Events of Python's audit; `os.replace` is an `os.rename`."""


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 8
    seed: int = 0


def run_of(steps: int) -> train.Run:
    return train.Run(
        fakes.Regression(noise=0.1),
        fakes.Numbers(),
        optax.adam(0.05),
        steps=steps,
        seed=3,
        validation=lambda: [fakes.Numbers(seed=1)[0]],
    )


def experiment(config: Config, workdir: pathlib.Path) -> launch.Result:
    train.fit(run_of(config.steps), workdir, log_every=1, evaluate_every=2, save_every=2)
    losses = [row["train/loss"] for row in train.history(workdir) if "train/loss" in row]
    return launch.Result({"loss": losses[-1]}, {"updates": len(losses)}, "simulated", ["loss"])


def training(folder: pathlib.Path) -> int:
    """The smallest training, with its result."""
    return launch.main(Config, experiment, argv=["--workdir", str(folder)])


def building(folder: pathlib.Path) -> int:
    """The smallest build, of crops that lie beside its folder."""
    data.build("cell_crops", folder, source=folder.parent / "source", size=8)
    return 0


WORK = {"training": training, "building": building}


def main(work: str, folder: str, seed: int, kills: int) -> None:
    """Leaves FOLDER/whole, which nothing disturbed, and FOLDER/killed0, 1, …; prints what was done as JSON."""
    top, rng, moments, runs = pathlib.Path(folder), np.random.default_rng(seed), [], 0
    assert not attempt(work, top / "whole", 0, top / "count")
    count = int((top / "count").read_text())
    while len(moments) < kills:
        moment = int(rng.integers(1, count + 1))
        if attempt(work, top / f"killed{runs}", moment, top / "count"):
            moments.append(moment)
        else:  # it came to its end before
            runs += 1
    if (top / f"killed{runs}").exists():
        assert not attempt(work, top / f"killed{runs}", 0, top / "count")
        runs += 1
    print(json.dumps({"operations": count, "moments": moments, "runs": runs}))


def attempt(work: str, folder: pathlib.Path, moment: int, told: pathlib.Path) -> bool:
    """Works in a fork that dies at file operation `moment`, never at 0; says whether it died."""
    sys.stdout.flush()
    if process := os.fork():
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"{work} in {folder} ended with {os.waitstatus_to_exitcode(status)}")
        return killed
    status = 1
    try:
        os.dup2(2, 1)
        counter = itertools.count(1)
        last = [0]

        def audit(event: str, arguments: tuple) -> None:
            if event in OPERATIONS and any(str(folder) in str(argument) for argument in arguments[:2]):
                last[0] = next(counter)
                if last[0] == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        status = WORK[work](folder)
        told.write_text(str(last[0]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
