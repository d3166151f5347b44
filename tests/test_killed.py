"""Whatever is killed at any of 20 moments, and begun again, ends as if nothing had been: training, results, shards."""

import json
import pathlib
import subprocess
import sys

import jax
import kills
import numpy as np
import pytest

from hpax import train
from hpax.data.cell_crops import dummy

SEED = 0


def killed(work: str, folder: pathlib.Path, times: int) -> list[pathlib.Path]:
    """The folders of runs that were killed `times` times in all; FOLDER/whole is that of one that was not."""
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path[:0] = {paths}; import kills; kills.main({work!r}, {str(folder)!r}, {SEED}, {times})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    print(f"{work}: {told}")
    assert len(told["moments"]) == times
    assert len(set(told["moments"])) > times / 2
    return [folder / f"killed{number}" for number in range(told["runs"])]


def names(folder: pathlib.Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_training_killed_at_any_write_ends_bit_identical_with_its_result(tmp_path):
    like = kills.run_of(8).initial()
    whole = tmp_path / "whole" / "default" / "seed0"
    for folder in [folder / "default" / "seed0" for folder in killed("training", tmp_path, 12)]:
        for which in ("latest", "best"):
            one, other = (train.load(each / "checkpoints", like, which=which) for each in (whole, folder))
            jax.tree.map(np.testing.assert_array_equal, one, other)
        one, other = (json.loads((each / "result.json").read_text()) for each in (whole, folder))
        assert (one["metrics"], one["counts"]) == (other["metrics"], other["counts"])
        rows = [[(row["step"], row.get("train/loss")) for row in train.history(each)] for each in (whole, folder)]
        assert rows[0] == rows[1]
        assert not [name for name in names(folder) if ".draft-" in name or "orbax-checkpoint-tmp" in name]


@pytest.mark.slow
def test_a_build_killed_at_any_write_ends_with_the_same_bytes(tmp_path):
    dummy.write(tmp_path / "source", "human")
    whole = tmp_path / "whole"
    for folder in killed("building", tmp_path, 8):
        assert names(folder) == names(whole)
        for name in names(whole):
            if (whole / name).is_file():
                assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
