"""Workers do not outlive whom they work for; SIGTERM is as Ctrl-C."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from hpax import processes

ROOT = pathlib.Path(__file__).parent.parent

WORKING = textwrap.dedent(
    """
    import os, sys, time
    from hpax import processes

    def work(folder):
        open(f"{folder}/{os.getpid()}", "w").close()
        time.sleep(300)

    if __name__ == "__main__":
        with processes.interruptible(), processes.pool(2) as pool:
            try:
                list(pool.map(work, [sys.argv[1]] * 9))
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                raise
    """
)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked for does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, how):
    (tmp_path / "script.py").write_text(WORKING)
    (tmp_path / "pids").mkdir()
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "pids")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as parent:
        until(lambda: len(list((tmp_path / "pids").iterdir())) == 2)
        workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
        parent.send_signal(how)
        if how == signal.SIGTERM:
            assert parent.stdout.readline() == b"interrupted\n"
        parent.wait(timeout=30)
        until(lambda: not any(map(alive, workers)), 20)


def test_sigterm_is_an_interruption_within_and_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)

    def told_to_end():
        with processes.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        told_to_end()
    assert signal.getsignal(signal.SIGTERM) == before
