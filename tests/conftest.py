"""Eight virtual devices, warnings as errors (setup.cfg), and the path of the real data.

Compiling takes much of the time of these tests, so what one has compiled another takes from `.jax_cache`, today or
tomorrow (`make clean` removes it), and nothing is done to it that takes longer than what it makes faster: LLVM does not
optimise it, and fusions do not go by way of MLIR. `make test-all` compiles as users do.
"""

import os
import pathlib
from collections.abc import Iterator

os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping
import pytest

# of all workers together: what one is still writing is damaged to another, which compiles it for itself (setup.cfg)
CACHE = pathlib.Path(__file__).parents[1] / ".jax_cache"
if os.access(CACHE.parent, os.W_OK):
    jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def untyped() -> Iterator[None]:
    """Calls are not held to their annotations: for tests of what a function refuses by itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where data sets of simulated fields and cells lie; who asks for one first draws it, for the other workers too."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "atlases"


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data that HPAX_REAL_DATA names."""
    folder = os.environ.get("HPAX_REAL_DATA", "")
    if not folder:
        pytest.skip(
            "HPAX_REAL_DATA is not set: it names the folder with the real images, which the project does not hold"
        )
    return pathlib.Path(folder)
