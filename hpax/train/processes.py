"""Several processes train as one, and end as one: when one dies, the others do not wait for it."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax

HEARTBEAT = 10
"""Seconds without a sign of life after which a process is taken for dead."""


def initialize(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, **options: Any
) -> None:
    """`jax.distributed.initialize`, but a process that dies is noticed within `HEARTBEAT` seconds, not 100.

    Without arguments JAX asks the cluster (Slurm, Open MPI, Kubernetes, Cloud TPU); `coordinator` is "host:port" of the
    process of number 0. To be called before anything is computed; data and batches may have been made.
    """
    options = {"heartbeat_timeout_seconds": HEARTBEAT, **options}
    jax.distributed.initialize(coordinator, processes, process, **options)


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Work that all processes do at once: one that fails in here leaves when its program ends, without goodbye.

    JAX would let it wait at the exit for the others, who wait for it; this way they fail, too, and at once.

    Raises:
        RuntimeError: another process is gone.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        atexit.register(_leave)
        if not isinstance(error, jax.errors.JaxRuntimeError):
            raise
        raise RuntimeError(
            f"process {jax.process_index()} of {jax.process_count()} lost another one during {what}; see what that one "
            f"said, and start all of them again: they go on from the last checkpoint ({str(error)[:300]})"
        ) from error


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
