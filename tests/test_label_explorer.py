"""`hpax label` leaves a page to explore its cells, of what pictures, table and networks are now."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import saved
import test_label
from test_label import options, table

from hpax import atlas
from hpax.analysis import embed
from hpax.commands import label
from hpax.commands.label_explorer import FOLDER, PAGE
from hpax.data.hpa_fields import dummy
from hpax.explore import packing
from hpax.formats import masks


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return saved.labeller(tmp_path_factory.mktemp("networks") / "cells.safetensors", "cell-net", 0)


@pytest.fixture
def folder(tmp_path):
    """Two fields of nine cells."""
    dummy.write(tmp_path / "fields", kaggle=2, proteinatlas=0, size=test_label.SIZE, seed=3)
    for path in (tmp_path / "fields").glob("*.csv"):
        path.unlink()
    table(tmp_path / "fields", "16")
    return tmp_path / "fields"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The first three components in place of UMAP, which takes ten seconds to compile."""

    def first(features, settings=embed.LE_CELLS, **_):
        wide = np.pad(features, ((0, 0), (0, settings.components)))
        return np.asarray(wide[:, : settings.components], np.float32)

    monkeypatch.setattr(embed, "umap", first)


def run(source, workdir, network, *more):
    finding = [] if "--masks" in more else ["--segmenter", "classical"]
    return label.COMMAND.main(options(source, workdir, network, *finding, *more))


def packed(workdir):
    """What the page's script is given."""
    return re.search(r"const ATLAS = (\{.*?\});</script>", (workdir / PAGE).read_text(), re.DOTALL).group(1)


def atlas_of(workdir):
    """What the page's script knows."""
    return packing.unpacked(json.loads(packed(workdir)))


def test_every_cell_is_on_the_page_with_its_picture_and_field(folder, network, tmp_path, capsys):
    ids = table(folder, "3")
    assert run(folder, tmp_path, network) == 0
    shown = atlas_of(tmp_path)
    assert len(shown["ids"]) == 18
    assert set(shown["fields"]) == set(ids)
    assert sorted(shown["thumb"]) == list(range(18))
    assert shown["columns"]["known labels"]["names"] == [atlas.LOCATIONS[3]]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"to explore the cells: {tmp_path / PAGE}",
        f"the page: {tmp_path / 'index.html'}",
    ]
    assert f'href="{PAGE}"' in (tmp_path / "index.html").read_text()
    assert "classical" in (tmp_path / PAGE).read_text()


def test_refined_labels_are_those_of_the_table_that_is_left(folder, network, tmp_path):
    table(folder, "3|16")
    assert run(folder, tmp_path, network) == 0
    left = pd.read_csv(tmp_path / "refined.csv", dtype=str)
    shown = atlas_of(tmp_path)
    names = shown["columns"]["refined labels"]
    told = [names["names"][value].replace(", ", ";") for value in names["values"]]
    assert dict(zip(shown["ids"], told, strict=True)) == dict(
        zip(left["field"] + "_" + left["cell"], left["locations"], strict=True)
    )


def test_a_corrected_table_is_shown_and_nothing_is_asked_again_where_nothing_changed(folder, network, tmp_path):
    table(folder, "3")
    assert run(folder, tmp_path, network) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()}
    shown = packed(tmp_path)
    assert run(folder, tmp_path, network) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()} == before
    assert packed(tmp_path) == shown
    table(folder, "5")
    assert run(folder, tmp_path, network) == 0
    assert atlas_of(tmp_path)["columns"]["known labels"]["names"] == [atlas.LOCATIONS[5]]


def test_there_is_none_where_none_is_asked_for_or_cells_are_too_few(folder, network, tmp_path, capsys):
    assert run(folder, tmp_path, network) == 0
    assert run(folder, tmp_path, network, "--no-explorer") == 0
    assert not (tmp_path / PAGE).exists()
    assert f'href="{PAGE}"' not in (tmp_path / "index.html").read_text()
    few = one_cell(table(folder, "3"), tmp_path / "cells" / "masks", tmp_path / "masks")
    capsys.readouterr()
    assert run(folder, tmp_path / "few", network, "--masks", str(few)) == 0
    assert f"no {PAGE}: it needs 5 cells, there are 2" in capsys.readouterr().out
    assert not (tmp_path / "few" / PAGE).exists()


def one_cell(ids, source, target):
    """Masks with one cell to a field."""
    target.mkdir()
    for id in ids:
        cells, nuclei = (np.where(plane == 1, plane, 0) for plane in masks.read(source, id))
        masks.write(target, id, cells, nuclei, image=np.zeros((*cells.shape, 4), np.uint8), um_per_pixel=1.0)
    return target
