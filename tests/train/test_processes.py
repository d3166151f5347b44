"""Two local processes train as one."""

import pathlib
import socket
import subprocess
import sys
import textwrap
import time

import fakes
import jax
import numpy as np
import optax
import pytest

from hpax import train

SCRIPT = textwrap.dedent(
    """
    import pathlib, sys
    sys.path[:0] = {path!r}
    import jax
    address, part, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    jax.config.update("jax_num_cpu_devices", 4)
    jax.distributed.initialize(address, 2, part)
    import fakes, numpy, test_processes
    from hpax import train
    state = train.fit(test_processes.run(part=part, parts=2), folder, log_every=2, evaluate_every=4, save_every=4)
    numpy.save(folder.parent / f"w{{part}}.npy", state.params["w"])
    """
)


def run(**part) -> train.Run:
    return train.Run(
        fakes.Regression(),
        fakes.Numbers(padding=5, **part),
        optax.sgd(0.05),
        steps=6,
        validation=lambda: [fakes.Numbers(padding=3, seed=1, **part)[0]],
    )


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def two_processes(folder: pathlib.Path) -> list[np.ndarray]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(path=[path for path in sys.path if path]))
    address = free_address()
    environment = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PATH": ""}
    processes = [
        subprocess.Popen([sys.executable, str(script), address, str(part), str(folder / "run")], env=environment)
        for part in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [np.load(folder / f"w{part}.npy") for part in range(2)]


DYING = textwrap.dedent(
    """
    import os, pathlib, sys
    sys.path[:0] = {path!r}
    import fakes, optax
    from hpax import train
    address, part, folder, how = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]

    class Dying(fakes.Numbers):
        def __getitem__(self, step):
            if part == 1 and step == 4:
                print("dies", flush=True)
                os.kill(os.getpid(), 9) if how == "killed" else open("/there/is/no/such/file")
            return super().__getitem__(step)

    train.initialize(address, 2, part)
    run = train.Run(fakes.Regression(), Dying(part=part, parts=2), optax.sgd(0.05), steps=10**6)
    train.fit(run, folder, save_every=2)
    """
)


@pytest.mark.parametrize("how", ["killed", pytest.param("failed", marks=pytest.mark.slow)])
def test_when_a_process_dies_the_others_end_at_once_and_say_so(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(DYING.format(path=[path for path in sys.path if path]))
    address, environment = free_address(), {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PATH": ""}
    processes = []
    for part in range(2):
        command = [sys.executable, str(script), address, str(part), str(tmp_path / "run"), how]
        with (tmp_path / f"said{part}").open("w") as said:
            processes.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
    said = [tmp_path / f"said{part}" for part in range(2)]
    while "dies" not in said[1].read_text():
        assert [process.poll() for process in processes] == [None, None], said[1].read_text()
        time.sleep(0.1)
    start = time.monotonic()
    assert all(process.wait(timeout=60) != 0 for process in processes)
    assert time.monotonic() - start < 30
    told = said[0].read_text()  # by us where it ends a sum, by JAX where the other was waited for, as at a save
    assert "process 0 of 2 lost another one during training" in told or "another task died" in told


def test_two_processes_agree_with_one(tmp_path):
    one = train.fit(run(), tmp_path / "one", log_every=2, evaluate_every=4, save_every=4)
    first, second = two_processes(tmp_path)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, one.params["w"], atol=1e-5)
    alone, shared = (train.history(tmp_path / name)[-1] for name in ("one", "run"))
    np.testing.assert_allclose(shared["validation/loss"], alone["validation/loss"], rtol=1e-5)
    assert shared["validation/examples"] == alone["validation/examples"] == 13
    assert jax.process_count() == 1
    assert int(train.load(tmp_path / "run" / "checkpoints", one, which="latest").step) == 6
