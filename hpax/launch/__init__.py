"""An experiment's command line, its sweeps, and the folder of every arm.

An experiment module holds a frozen dataclass `Config`, `run(config, workdir) -> Result`, `SWEEPS` and perhaps
`PRESETS`, and ends with `launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)`. A config may hold
configs: their fields are flags such as `--field.pooling`. An arm is a difference from the config, `{"field.pooling":
"gem"}`; each arm and seed has its own folder `workdir/<arm>/seed<k>` with a config.json, written first, and a
result.json, written last and at once. Both hold the config that ran, presets and arms included. What a run reads it
opens `with launch.opening():`, so that what is wrong there is told without a traceback.
"""

from hpax.launch.config import (
    REAL_DATA,
    Difference,
    LaunchError,
    arm_name,
    changes,
    digest,
    grid,
    opening,
    paths,
    plain,
    replaced,
    settings,
)
from hpax.launch.main import Arm, Launcher, arms, called, main
from hpax.launch.record import PACKAGES, Result, origin, record

__all__ = [
    "PACKAGES",
    "REAL_DATA",
    "Arm",
    "Difference",
    "LaunchError",
    "Launcher",
    "Result",
    "arm_name",
    "arms",
    "called",
    "changes",
    "digest",
    "grid",
    "main",
    "opening",
    "origin",
    "paths",
    "plain",
    "record",
    "replaced",
    "settings",
]
