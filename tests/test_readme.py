"""README's Python runs as it stands there, one block after the other, for fewer steps on drawn cells and fields."""

import pathlib
import re
import shutil

import anndata
import pytest

import hpax
from hpax.data.cell_crops import dummy as crops
from hpax.data.hpa_fields import dummy as fields

README = (pathlib.Path(hpax.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHORTER = {
    "steps=1000": "steps=2",
    "width=0.25": "width=0.05",
    'pathlib.Path("FIELDS")': 'pathlib.Path("FIELDS"), um_per_pixel=0.32',
    'read_folder("OTHER"': 'read_folder("OTHER", um_per_pixel=0.32',
    "localize.Config()": "localize.Config(um_per_pixel=1.28, window=32, tta=1, optimizer=TWO_STEPS)",
    "classify.Config()": "classify.Config(resolution=32, tta=1, optimizer=TWO_STEPS)",
}


def shortened(code: str) -> str:
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    return code


def test_the_blocks_hold_what_is_shortened():
    assert len(BLOCKS) == 5
    assert [long for long in SHORTER if long not in "".join(BLOCKS)] == []


def test_the_whole_way_takes_twenty_lines_of_public_names():
    lines = [line for line in BLOCKS[2].splitlines() if line.strip()]
    assert len(lines) <= 20
    assert not re.findall(r"[.\s]_[a-z]", BLOCKS[2])


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch, capsys):
    from hpax.recipes.optimizers import Optimizer

    monkeypatch.chdir(tmp_path)
    crops.write(tmp_path / "CROPS" / "yeast", "yeast", {"AAA1": 33, "BBB2": 35})
    fields.write(tmp_path / "FIELDS", kaggle=12, proteinatlas=0, size=256)
    fields.write(tmp_path / "OTHER", kaggle=1, proteinatlas=1, size=256, seed=1)
    names = {"TWO_STEPS": Optimizer(steps=2, batch_size=8)}
    for block in BLOCKS:
        if "truth.csv" in block:
            shutil.copy("runs/labels/submission.csv", "truth.csv")
        exec(compile(shortened(block), "README.md", "exec"), names)
    told = capsys.readouterr().out
    assert "field mAP" in told
    assert "Nucleoplasm" in told
    table = anndata.read_h5ad("runs/labels/cells.h5ad")
    assert table.n_obs > 0
    assert set(table.obs["field"]) <= {field.id for field in hpax.read_folder("OTHER")}
