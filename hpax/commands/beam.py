"""One command by the workers of an Apache Beam pipeline, each of which takes shares of the fields."""

import dataclasses
import functools
import shlex
from collections.abc import Callable
from typing import Any

from hpax.commands.command import Call
from hpax.data.shards import map_with_beam


def run_shares(run: Callable[[Any, Call], Any], config: Any, call: Call) -> None:
    """Runs `run` on every share of the fields as a Beam pipeline; `config.beam` are its flags.

    A share is one element, so `config.beam_shares` is how many workers can be busy at most. What a share makes it keeps
    in the workdir, which all workers must see under one path, as they must the fields; a field that cannot be read is
    left to the run that brings the shares together. A share that a lost worker had begun goes on where it was.

    Raises:
        ValueError: Beam is not installed, there is no share, or one is asked for beside.
    """
    count = config.beam_shares
    if config.share:
        raise ValueError(f"beam shares the fields by itself, got share {config.share} beside it; leave one of them out")
    if count < 1:
        raise ValueError(f"beam_shares must be at least 1, got {count}")
    parts = [dataclasses.replace(config, beam="", share=f"{number}/{count}") for number in range(1, count + 1)]
    try:
        map_with_beam(functools.partial(_ran, run=run, call=call), parts, shlex.split(config.beam))
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error


def _ran(config: Any, run: Callable[[Any, Call], Any], call: Call) -> str:
    run(config, call)
    return config.share
