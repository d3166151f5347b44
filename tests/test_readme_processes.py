"""README's way in from Python, by one process and by two that share every batch."""

import json
import pathlib
import re
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from hpax.data.cell_crops import dummy

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
SHORTER = {"steps=1000": "steps=2", "width=0.25": "width=0.05", "optax.adam(1e-4, b1=0.5)": "optax.sgd(0.1)"}
"""So that the test is fast, and that rounding does not grow as Adam makes it grow."""

SCRIPT = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, {root!r})
    address, part, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import jax
    if parts > 1:
        import hpax.data, hpax.train  # before `initialize`, as at the head of a script
        jax.distributed.initialize(address, parts, part)
    {snippet}
    import anndata, numpy as np
    from hpax import features
    encode = features.on_devices(run.task.encode, state.params, state.model_state)
    batches = data.CellBatches(cells, 16, prepare=data.preprocess.yeast)
    path = features.extract(encode, batches, cells.table, "features.h5ad", layers=["conv1"], progress=False)
    leaves = {{jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(state.params)}}
    leaves["X"] = anndata.read_h5ad(path).X
    leaves["index"] = np.stack([run.batches[step]["index"] for step in (0, 1)])
    leaves["own"] = sum(batch["mask"].sum() for batch in batches)
    np.savez(f"state{{part}}.npz", **leaves)
    """
)


def snippet() -> str:
    """README's first Python block, shortened."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    for long, short in SHORTER.items():
        assert long in code, f"README's snippet no longer holds {long!r}"
        code = code.replace(long, short)
    return code


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def ran(folder: pathlib.Path, parts: int) -> list[dict[str, np.ndarray]]:
    """What each of `parts` processes that run the snippet in `folder` ends with."""
    dummy.write(folder / "CROPS" / "yeast", "yeast", {"AAA1": 33, "BBB2": 35})
    (folder / "script.py").write_text(SCRIPT.format(root=str(ROOT), snippet=snippet().strip()))
    environment = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PATH": ""}
    address = free_address()
    processes = [
        subprocess.Popen([sys.executable, "script.py", address, str(part), str(parts)], cwd=folder, env=environment)
        for part in range(parts)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * parts
    return [dict(np.load(folder / f"state{part}.npz")) for part in range(parts)]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    return [ran(folder, parts) for parts, folder in enumerate(folders, 1)], folders


def test_every_process_reads_its_own_rows_of_each_batch(one_and_two):
    ((one,), (first, second)), _ = one_and_two
    np.testing.assert_array_equal(np.concatenate([first["index"], second["index"]], 1), one["index"])


def test_two_processes_train_as_one(one_and_two):
    ((one,), (first, second)), folders = one_and_two
    trained = [name for name in one if name.startswith("[")]
    assert trained
    for name in trained:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], one[name], atol=1e-5)
    last = [json.loads((folder / "runs/mine/history.jsonl").read_text().splitlines()[-1]) for folder in folders]
    assert last[1]["train/loss"] == pytest.approx(last[0]["train/loss"], rel=1e-5)


def test_two_processes_extract_all_cells_each_encoding_its_own(one_and_two):
    ((one,), (first, second)), _ = one_and_two
    assert first["own"] + second["own"] == one["own"] == len(one["X"]) == 68
    np.testing.assert_allclose(first["X"], one["X"], atol=1e-4)
    np.testing.assert_array_equal(first["X"], second["X"])
