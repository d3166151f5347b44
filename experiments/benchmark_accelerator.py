"""How fast hpax is on an accelerator that is at hand for minutes: rates, share of the peak, share of time it is busy.

`inpainting`: updates of the paired inpainting network by the training loop, with cells in the device's memory and with
batches made by the host, beside the same network of plain Flax layers, and PyTorch's where it is installed.
`efficientnet`: training of EfficientNet-B0 on fields that are on the device. `fields`: the same by the training loop,
with fields in the device's memory that are augmented there, and with batches that the host makes; busy is the time of
an update on a batch that is made already, over that with data and augmentation. `inception`: Inception-v3's features of
cells sent as bytes. `scoring`: the compiled part of mask mAP at the size of the competition's test set. `neighbours`:
the leave-one-out search of 30,889 cells. All data is drawn in memory, and nothing is read.

`python -m experiments.benchmark_accelerator --sweep all` does them all, the most telling first. Every part leaves its
result as it ends; `--minutes` after the start the process ends, whatever it does. The peak is that of a large matrix
product in the same precision; a part is busy for the time that its updates take on a draw that stays the same, over
the time that they take with data. Times are medians of several, without the first.
"""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hpax import launch
from hpax.recipes import configs

START = time.monotonic()
BATCHES = {"inpainting": 512, "efficientnet": 128, "fields": 128, "inception": 1024}
"""Examples of a batch; those of narrow networks are four times as many."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What to time."""

    part: Literal["inpainting", "efficientnet", "fields", "inception", "scoring", "neighbours"] = "inpainting"
    width: float = 1.0  # inpainting: of the network
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # networks: what they compute in
    batch_size: int = 0  # 0: as BATCHES has it
    cells: int = 65_536  # inpainting: in memory
    fields: int = 2_048  # fields: in memory
    augmentation: configs.Strength = "light"  # fields
    copy_paste: bool = False  # fields: patches that mix them and their cells
    seconds: float = 0.4  # of each of the repeats
    minutes: float = 5.0  # after which the process ends, results so far are kept
    beside: bool = True  # time plain Flax and PyTorch too
    fast: bool = False  # sizes for a test on CPUs
    seed: int = 0

    @property
    def batch(self) -> int:
        """Examples of a batch."""
        if self.batch_size:
            return self.batch_size
        return 8 if self.fast else BATCHES[self.part] * (4 if self.part == "inpainting" and self.width < 0.5 else 1)


SWEEPS = {
    "all": (
        {"part": "inpainting", "width": 1.0, "dtype": "bfloat16"},
        {"part": "efficientnet", "dtype": "bfloat16"},
        {"part": "fields", "dtype": "bfloat16"},
        {"part": "fields", "dtype": "bfloat16", "augmentation": "strong"},
        {"part": "fields", "dtype": "bfloat16", "copy_paste": True},
        {"part": "inception", "dtype": "bfloat16"},
        {"part": "scoring"},
        {"part": "neighbours"},
        {"part": "inpainting", "width": 0.25, "dtype": "bfloat16", "beside": False},
        {"part": "inpainting", "width": 1.0, "dtype": "float32", "beside": False},
        {"part": "inpainting", "width": 0.25, "dtype": "float32", "beside": False},
    ),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Times one part, and prints what it found at once; ends the process when its minutes are over."""
    alarm = threading.Timer(60 * max(0.0, config.minutes - minutes()), stop)
    alarm.daemon = True
    alarm.start()
    try:
        metrics, counts = measure(config)
    finally:
        alarm.cancel()
    metrics["minutes since the start"] = minutes()
    print(json.dumps({name: float(f"{value:.4g}") for name, value in metrics.items()}), flush=True)
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=list(metrics))


def measure(config: Config) -> tuple[dict[str, float], dict[str, int]]:
    """Metrics of a part, and the counts that they rest on."""
    from hpax.recipes import device_speed

    parts = {
        "inpainting": device_speed.time_inpainting,
        "efficientnet": device_speed.time_efficientnet,
        "fields": device_speed.time_fields,
        "inception": device_speed.time_inception,
        "scoring": device_speed.time_scoring,
        "neighbours": device_speed.time_neighbours,
    }
    work = device_speed.Workload(
        batch=config.batch,
        width=config.width,
        dtype=config.dtype,
        cells=config.cells,
        fields=config.fields,
        augmentation=config.augmentation,
        copy_paste=config.copy_paste,
        seconds=config.seconds,
        beside=config.beside,
        fast=config.fast,
        seed=config.seed,
    )
    return parts[config.part](work)


def stop() -> None:
    """Ends the process in the middle of what it does; results of parts that have ended are on the disk."""
    print("the minutes are over; finished parts are kept, the same command goes on with the others", flush=True)
    os._exit(3)


def minutes() -> float:
    """Minutes since this module was loaded."""
    return (time.monotonic() - START) / 60


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.6")  # the rest is for PyTorch
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
