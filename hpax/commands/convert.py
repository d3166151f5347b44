"""Weights that another program wrote, as a file that hpax loads: paired cell inpainting as Keras saves it.

    hpax convert pci_human.h5 --out pci_human.safetensors

Leaves the network in --out and its card beside it; `hpax embed --encoder pci_human.safetensors` takes it. Strict: all
that is missing, unexpected or of another shape is listed, and nothing is written. Torch's weights need rules for their
names: `hpax.models.convert`, from Python. Exit status 2: nothing was done.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tyro

from hpax.commands.command import Call, Command


@dataclasses.dataclass(frozen=True)
class Config:
    """What to convert."""

    weights: Annotated[Path, tyro.conf.Positional]  # .h5 of Keras
    out: Path = Path("encoder.safetensors")  # replaced if it is there
    half: bool = False  # keep kernels as float16, half the size


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Converts."""
    from hpax import models
    from hpax.nn.inpainter import LAYERS

    encoder = models.convert(config.weights)
    if not isinstance(encoder, models.Encoder):
        raise ValueError(f"{config.weights} must hold an encoder, it holds another network; use hpax.models.convert")
    path = encoder.save(config.out, half=config.half)
    print(f"an encoder of {', '.join(encoder.channels)} with layers {', '.join(LAYERS)}: {path}")
    return {}


COMMAND = Command("convert", __doc__, Config, work)
main = COMMAND.main
