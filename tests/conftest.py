"""Eight virtual devices, warnings as errors (setup.cfg), and the path of the real data."""

import os
import pathlib
from collections.abc import Iterator

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxtyping
import pytest


@pytest.fixture
def untyped() -> Iterator[None]:
    """Calls are not held to their annotations: for tests of what a function refuses by itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data that HPAX_REAL_DATA names."""
    folder = os.environ.get("HPAX_REAL_DATA", "")
    if not folder:
        pytest.skip(
            "HPAX_REAL_DATA is not set: it names the folder with the real images, which the project does not hold"
        )
    return pathlib.Path(folder)
