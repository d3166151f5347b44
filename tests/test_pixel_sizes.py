"""Where no file states how large pixels are: the guess and the nuclei are both told, and `auto` takes the nuclei."""

import functools
import json
import shutil
import sys

import pandas as pd
import pytest
from PIL import Image

import hpax
from hpax import atlas, data
from hpax.commands import folder as folders
from hpax.commands import plausibility, segment
from hpax.data import pixel_sizes
from hpax.formats import fields
from hpax.recipes import cells as recipe_cells
from hpax.recipes import data_configs, datasets
from tests.segment.test_pixel_size import stain

TRUE = 0.2  # µm; by the width it would be twice as much


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four fields of four cells each."""
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(4):
        nuclei = stain(TRUE, seed, side=80.0)
        for colour in atlas.COLOURS.values():
            Image.fromarray(nuclei).save(folder / f"f{seed}_{colour}.png")
    return folder


def run(folder, workdir, *more):
    command = ["--fields", str(folder), "--workdir", str(workdir), "--segmenter", "classical", "--no-overlays"]
    return segment.COMMAND.main([*command, "--no-shards", *more])


def test_the_guess_and_the_nuclei_are_told_and_auto_takes_the_nuclei(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "guessed") == 0
    told = capsys.readouterr().err
    assert "4 fields of 400 pixels state no pixel size; by their width it is 0.4096 µm (as of HPA fields), by" in told
    assert "these differ; the width is taken, but --um-per-pixel auto or the true size may be right" in told
    assert set(pd.read_csv(tmp_path / "guessed" / "fields.csv")["um_per_pixel"]) == {0.4096}
    assert "these differ; the width is taken" in (tmp_path / "guessed" / "index.html").read_text()

    assert run(folder, tmp_path / "auto", "--um-per-pixel", "auto") == 0
    assert "which is taken" in capsys.readouterr().err
    made = pd.read_csv(tmp_path / "auto" / "fields.csv")
    assert made["um_per_pixel"].to_numpy() == pytest.approx(TRUE, rel=0.12)
    assert set(made["pixel_size"]) == {"by nuclei"}
    counts = json.loads((tmp_path / "auto" / "result.json").read_text())["counts"]
    assert [count for name, count in counts.items() if name.endswith("µm, by nuclei")] == [4]
    page = (tmp_path / "auto" / "index.html").read_text()
    assert page.index("by nuclei") < page.index("<h2>Numbers</h2>")
    assert "nothing was learnt" in page


def test_a_stated_size_is_taken_before_any_estimate(tmp_path):
    files = fields.FieldFiles("a", (), estimates=((400, 0.2),))
    assert fields.pixel_size(files, (300, 400)).source == "nuclei"
    assert fields.pixel_size(files, (300, 400), 0.5).um_per_pixel == 0.5
    assert fields.pixel_size(files, (300, 300)).source == "width"


def test_python_takes_the_nuclei_too(folder, caplog):
    assert {field.um_per_pixel for field in hpax.read_folder(folder)} == {0.4096}
    (size,) = {field.um_per_pixel for field in hpax.read_folder(folder, um_per_pixel="auto")}
    assert size == pytest.approx(TRUE, rel=0.12)
    assert "which is taken" in caplog.text


def test_recipes_take_the_nuclei_too(folder, tmp_path, monkeypatch):
    labelled = tmp_path / "labelled"
    shutil.copytree(folder, labelled)
    (labelled / "labels.csv").write_text("id,label\n" + "".join(f"f{seed},{seed}\n" for seed in range(4)))
    config = data_configs.Data(fields=labelled, um_per_pixel="auto", masks="classical", data_dir=tmp_path / "data")
    (size,) = {field.um_per_pixel for field in datasets.open_folder(config)}
    assert size == pytest.approx(TRUE, rel=0.12) or size == pytest.approx(0.32, rel=0.01)  # stored no finer than that

    monkeypatch.setattr(pixel_sizes, "_guess", lambda *_: pytest.fail("nuclei were looked for again"))
    build = functools.partial(data.build, min_cells=1)
    monkeypatch.setattr(data, "build", build)
    cells = recipe_cells.open_cells(
        data_configs.CellData(fields=labelled, um_per_pixel="auto", data_dir=tmp_path / "data")
    )
    assert cells.everything.table["um_per_pixel"].to_numpy() == pytest.approx(TRUE, rel=0.12)


def test_the_guess_is_told_once_on_the_terminal_shards_or_not(folder, tmp_path, capsys, caplog):
    command = [
        "--fields",
        str(folder),
        "--workdir",
        str(tmp_path / "work"),
        "--segmenter",
        "classical",
        "--no-overlays",
    ]
    assert segment.COMMAND.main([*command, "--crop-size", "16"]) == 0
    assert capsys.readouterr().err.count("state no pixel size") == 1
    assert not [record for record in caplog.records if "pixel size" in record.getMessage()]


def test_a_number_leaves_nothing_to_guess(tmp_path):
    assert folders.sized([], 0.3, tmp_path / pixel_sizes.FILE) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_sizes_far_from_any_cell_s_are_doubted():
    assert plausibility.doubts([165.0] * 9, [1200.0] * 9) == []
    (told,) = plausibility.doubts([4397.0] * 9, [1200.0] * 9)
    assert told.startswith("median nucleus 4,397 µm² (of 9)")
    assert told.endswith("is --um-per-pixel right?")
    assert len(plausibility.doubts([3.0] * 9, [30_000.0] * 9)) == 2
    assert plausibility.doubts([4397.0] * 4, []) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_fails_alone(folder, tmp_path, capsys):
    own = tmp_path / "fields"
    own.mkdir()
    for path in sorted(folder.glob("f0_*")):
        (own / path.name).symlink_to(path)
        with open(bytes(own) + b"/caf\xe9" + path.name[2:].encode(), "wb") as file:
            file.write(path.read_bytes())
    assert run(own, tmp_path / "work", "--um-per-pixel", "0.2") == 1
    assert "is not UTF-8; rename its files" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "work" / "failures.csv")["id"].tolist() == ["caf\\udce9"]
