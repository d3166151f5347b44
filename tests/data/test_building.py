import functools
import logging
import os
import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from hpax import atlas, files, progress
from hpax.data import Source, build, building, hpa_fields, simulated_cells
from hpax.data.building import fingerprint
from hpax.data.building.__main__ import main
from hpax.data.cell_crops import DataSet, dummy


@pytest.fixture
def source(tmp_path) -> pathlib.Path:
    dummy.write(tmp_path / "source", "human", size=8)
    return tmp_path / "source"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_is_built_once(source, tmp_path, monkeypatch):
    first = build("cell_crops", tmp_path / "data", source=source, size=8)
    monkeypatch.setattr(DataSet, "examples", None)
    again = build("cell_crops", tmp_path / "data", source=source, size=8)
    assert again.table.equals(first.table)


def test_two_builds_have_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        build("cell_crops", tmp_path / name, source=source, size=8)
    a, b = (contents(tmp_path / name) for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def test_configs_and_sources_never_share_a_folder(source, tmp_path):
    data = tmp_path / "data"
    folders = {build("cell_crops", data, source=source, size=size).info.data_dir for size in (8, 16)}
    dummy.write(source, "human", {"NEW_9_C3": 5}, size=8)
    folders.add(build("cell_crops", data, source=source, size=8).info.data_dir)
    assert len(folders) == 3


def test_a_name_is_short_and_tells_every_config_apart():
    many = {"proteins": 12345, "cell_lines": 3, "fields": 4, "seed": 99999, "size": 1024, "um_per_pixel": 0.123456}
    many |= {"multilocalised": 0.123456, "varying": 0.123456, "bleed_through": 0.123456}
    configs = [simulated_cells.Config(**many, min_cells=min_cells) for min_cells in (5, 6)]
    assert len({config.name for config in configs}) == 2
    assert max(len(config.name) for config in configs) < 140  # TFDS adds to it, and file systems end at 255
    assert simulated_cells.Config(proteins=7).name.startswith("proteins=7-")
    assert "min_cells=6" in configs[1].description
    assert not set("/\\ *") & set(hpa_fields.Config(annotations="../my labels*.csv").name)


def test_a_fingerprint_follows_files_and_tables_but_not_their_place(source, tmp_path):
    first = fingerprint(source)
    moved = source.rename(tmp_path / "moved")
    assert fingerprint(moved) == first
    (moved / "table.csv").write_text("id,label\na,1\n")
    second = fingerprint(moved)
    (moved / "table.csv").write_text("id,label\na,2\n")
    assert len({first, second, fingerprint(moved)}) == 3


def test_a_fingerprint_follows_pixels_of_equal_size_and_names_that_are_no_text(source, tmp_path):
    first = fingerprint(source)
    path = next(source.rglob("*.tif"))
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(stored)
    os.utime(path, ns=(0, 0))
    second = fingerprint(source)
    pathlib.Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9_red.tif")).write_bytes(b"1")
    (source / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(source / "pipe")
    assert len({first, second, fingerprint(source)}) == 3


def test_a_table_outside_of_the_folder_is_part_of_the_fingerprint(tmp_path):
    folder = tmp_path / "fields"
    folder.mkdir()
    for colour in atlas.COLOURS.values():
        Image.fromarray(np.full((8, 8), 7, np.uint8)).save(folder / f"a_{colour}.png")
    labels = []
    for label in (3, 5):
        (tmp_path / "labels.csv").write_text(f"id,label\na,{label}\n")
        built = build("hpa_fields", tmp_path / "data", source=folder, annotations="../labels.csv")
        labels.append(np.flatnonzero(built.labels[0]).tolist())
    assert labels == [[3], [5]]


def test_digests_of_large_sources_are_kept_beside_what_was_built(source, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WORTH_KEEPING", 0)
    for path in source.rglob("*.tif"):
        os.utime(path, ns=(0, 0))
    monkeypatch.setattr(files, "SETTLED", -1)  # whatever the clock of this file system does
    first = build("cell_crops", tmp_path / "data", source=source, size=8)
    monkeypatch.setattr(files, "_of_file", None)
    assert build("cell_crops", tmp_path / "data", source=source, size=8).info.full_name == first.info.full_name


def test_digests_are_kept_though_the_build_is_stopped(source, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WORTH_KEEPING", 0)
    monkeypatch.setattr(files, "SETTLED", -1)
    with monkeypatch.context() as patch:
        patch.setattr(building, "_prepare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build("cell_crops", tmp_path / "data", source=source, size=8)
    of_file, tape = files._of_file, []
    monkeypatch.setattr(files, "_of_file", lambda path: tape.append(path) or of_file(path))
    build("cell_crops", tmp_path / "data", source=source, size=8)
    assert not [path for path in tape if path.is_relative_to(source)]


def test_a_build_holds_one_example_at_a_time(tmp_path):
    dummy.write(tmp_path / "source", "human", {f"P{image}_1_A1": 10 for image in range(10)}, size=4)
    tracemalloc.start()
    cells = build("cell_crops", tmp_path / "data", source=tmp_path / "source", size=128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * len(cells) * cells[0]["image"].nbytes


def test_an_interrupted_build_leaves_nothing(source, tmp_path, monkeypatch):
    def interrupted(config, picture):
        yield from DataSet.__dict__["original"](config, picture)
        raise KeyboardInterrupt

    monkeypatch.setattr(DataSet, "original", DataSet.examples, raising=False)
    monkeypatch.setattr(DataSet, "examples", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        build("cell_crops", tmp_path / "data", source=source, size=8)
    assert not (tmp_path / "data").exists()


def test_what_was_there_before_stays_when_a_build_fails(source, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("keep")
    for path in source.rglob("*_red.tif"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"11 could not be read, as .*is empty.*; and 8 other reasons"):
        build("cell_crops", tmp_path / "data", source=source)
    assert list(contents(tmp_path / "data")) == ["mine.txt"]


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_crop_is_left_out_and_named_for_whoever_opens_the_data_set(source, tmp_path, caplog, workers):
    (source / "ABC1_12_A1" / "12_A1_1_0_red.tif").write_bytes(b"")
    (source / "ABC1_12_A1" / "12_A1_1_1_red.tif").unlink()
    for _ in range(2):
        caplog.clear()
        cells = build("cell_crops", tmp_path / "data", source=source, size=8, min_cells=1, workers=workers)
        assert len(cells) == 9
        assert list(cells.failures) == ["ABC1_12_A1_1_0", "ABC1_12_A1_1_1"]
        assert "is empty (0 bytes)" in cells.failures["ABC1_12_A1_1_0"]
        assert "lacks its red channel" in cells.failures["ABC1_12_A1_1_1"]
        assert "2 could not be read" in caplog.text


def test_two_crops_of_one_name_are_an_error_of_that_cell(source, tmp_path):
    folder = source / "ABC1_12_A1"
    (folder / "12_A1_1_00_red.tif").write_bytes((folder / "12_A1_1_1_red.tif").read_bytes())
    cells = build("cell_crops", tmp_path / "data", source=source, size=8, min_cells=1)
    assert "ABC1_12_A1_1_0" not in cells.table.index
    assert "are the same channel of one cell; keep one of them" in cells.failures["ABC1_12_A1_1_0"]


def test_the_command_line_names_what_failed_and_its_exit_status_says_so(source, tmp_path, capfd):
    (source / "ABC1_12_A1" / "12_A1_1_0_red.tif").write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        main(["cell_crops", "--data-dir", str(tmp_path / "data"), "--source", str(source), "--size", "8"])
    assert end.value.code == 1
    assert "failed: ABC1_12_A1_1_0: " in capfd.readouterr().err


def test_a_race_that_is_lost_is_a_data_set_won(source, tmp_path, monkeypatch):
    original = DataSet.examples

    def racing(config, picture):
        monkeypatch.setattr(DataSet, "examples", staticmethod(original))
        build("cell_crops", tmp_path / "data", source=source, size=8)
        yield from original(config, picture)

    monkeypatch.setattr(DataSet, "examples", staticmethod(racing))
    assert len(build("cell_crops", tmp_path / "data", source=source, size=8)) == 11
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cell_crops"]


def test_splits_add_up(crops):
    builder = tfds.builder_from_directory(crops.info.data_dir)
    parts = [Source(builder, split) for split in builder.info.splits]
    assert sum(map(len, parts)) == len(Source(builder, "all")) == len(crops)
    together = Source(builder, "+".join(builder.info.splits))
    assert list(together.table.index) == [id for part in parts for id in part.table.index]
    with pytest.raises(ValueError, match="split 'holdout' holds nothing"):
        Source(builder, "holdout")


def test_a_source_without_labels_says_what_it_has(crops):
    with pytest.raises(KeyError, match=r"cell_crops holds no labels, only .*protein"):
        crops.labels  # noqa: B018


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("cells", {}, "no data set 'cells'; there are simulated_fields, "),
        ("cell_crops", {}, "source is None, but cell_crops reads a folder of crops"),
        ("simulated_cells", {"source": "here"}, "source is here, but this data set is simulated"),
        ("simulated_cells", {"protein": 3}, "protein.*see hpax.data.simulated_cells.Config"),
    ],
)
def test_a_wrong_request_is_explained(tmp_path, name, options, told):
    with pytest.raises(ValueError, match=told):
        build(name, tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_building_says_nothing_unasked_and_leaves_absl_alone(source, tmp_path, capfd):
    level = logging.getLogger("absl").level
    build("cell_crops", tmp_path / "data", source=source, size=8)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("absl").level == level


def test_the_command_line_builds_shows_progress_and_tells(source, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(progress, "Lines", functools.partial(progress.Lines, every=0.0))
    main(["cell_crops", "--data-dir", str(tmp_path / "data"), "--source", str(source), "--size", "8"])
    out, err = capfd.readouterr()
    assert "11 examples" in out
    assert "cell_crops: 2 of 2" in err
    with pytest.raises(SystemExit, match="cell_crops was not built: source is None"):
        main(["cell_crops", "--data-dir", str(tmp_path / "data")])
    with pytest.raises(SystemExit, match="usage"):
        main([])


def test_the_module_runs(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "hpax.data.building", "cell_crops", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=True)
    assert "--min-cells" in run.stdout
    assert run.stderr == ""
