"""Files are whole or not there, and what stops a write is said with the path and the remedy."""

import csv
import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from hpax import files
from hpax.features.extract import extract
from hpax.formats import kaggle, ome


def leftovers(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_appears_whole_with_its_folders(tmp_path):
    files.write_json(tmp_path / "a" / "b.json", {"x": 1})
    files.write_text(tmp_path / "a" / "b.json", "new\n")
    assert (tmp_path / "a" / "b.json").read_bytes() == b"new\n"
    assert leftovers(tmp_path) == ["a", "b.json"]


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path):
    files.write_text(tmp_path / "x.txt", "old")

    def half():
        with files.replacing(tmp_path / "x.txt") as draft:
            draft.write_text("ne")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        half()
    assert (tmp_path / "x.txt").read_text() == "old"
    assert leftovers(tmp_path) == ["x.txt"]


def test_a_folder_is_replaced_as_a_file_is(tmp_path):
    for text in ("old", "new"):
        with files.replacing(tmp_path / "f.zarr") as draft:
            draft.mkdir()
            (draft / text).write_text(text)
    assert leftovers(tmp_path) == ["f.zarr", "new"]


def test_the_draft_of_a_name_as_long_as_can_be_is_no_longer(tmp_path):
    path = tmp_path / f"{'µ' * 125}.json"  # 255 bytes
    files.write_text(path, "x")
    assert leftovers(tmp_path) == [path.name]


def full(path):
    """A write to a disk that is full: Linux's own device of that name."""
    with files.replacing(path) as draft:
        draft.symlink_to("/dev/full")
        draft.write_text("x" * 2**16)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_with_the_path_and_the_remedy(tmp_path):
    (tmp_path / "r.json").write_text("old")
    with pytest.raises(OSError, match=r"disk is full; make room.*r\.json") as caught:
        full(tmp_path / "r.json")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "r.json").read_text() == "old"
    assert leftovers(tmp_path) == ["r.json"]


def test_too_long_a_name_is_said(tmp_path):
    with pytest.raises(OSError, match="path is too long for this file system; give a shorter"):
        files.write_text(tmp_path / f"{'x' * 300}.json", "x")
    with pytest.raises(OSError, match="path is too long"):
        files.write_text(tmp_path / ("y" * 300) / "x.json", "x")


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError, match="a part of the path is a file; give another folder"):
        files.write_text(tmp_path / "f" / "g" / "x.json", "x")


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EROFS, "read-only; give"), (errno.EACCES, "may not write there; change")]
)
def test_a_folder_that_cannot_be_written_to_is_said(tmp_path, monkeypatch, number, told):
    def refuse(source, target):
        raise OSError(number, os.strerror(number), source)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=rf"{told}.*x\.json"):
        files.write_text(tmp_path / "x.json", "x")
    assert leftovers(tmp_path) == []


def test_what_a_library_says_of_a_full_disk_is_understood(tmp_path):
    with pytest.raises(OSError, match=r"disk is full.*x\.h5ad"), files.replacing(tmp_path / "x.h5ad"):
        raise RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')")


def test_an_error_of_another_file_is_left_as_it_is(tmp_path):
    other = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "picture.png"))
    with pytest.raises(PermissionError, match=r"picture\.png") as caught, files.replacing(tmp_path / "x.csv"):
        raise other
    assert caught.value is other


def failing(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writers_of_all_kinds_leave_nothing_half_written(tmp_path, monkeypatch):
    plane, image = np.ones((8, 8), np.uint16), np.ones((8, 8, 4), np.uint8)
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match=r"disk is full.*x\.ome\.tif"):
        ome.write_tiff(tmp_path / "x.ome.tif", {"cells": plane}, 0.1)
    with pytest.raises(OSError, match=r"disk is full.*x\.zarr"):
        ome.write_zarr(tmp_path / "x.zarr", image, {"cells": plane}, 0.1)
    with pytest.raises(OSError, match=r"disk is full.*x\.csv"):
        kaggle.write(tmp_path / "x.csv", [])
    batch = {"image": np.ones((1, 2, 2, 1), np.float32), "index": np.zeros(1, np.int32), "mask": np.ones(1, np.float32)}
    obs = pd.DataFrame(index=["a"])
    with pytest.raises(OSError, match=r"disk is full.*x\.h5ad"):
        extract(lambda x: {"m": x.mean((1, 2))}, [batch], obs, tmp_path / "x.h5ad", progress=False)
    assert leftovers(tmp_path) == []


def test_one_process_at_a_time(tmp_path):
    with files.exclusive(tmp_path), pytest.raises(files.Taken, match="another process works in"):
        files.exclusive(tmp_path).__enter__()


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path):
    code = f"from hpax import files; files.exclusive({str(tmp_path)!r}).__enter__(); import os; os._exit(1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
    with files.exclusive(tmp_path):
        pass


def test_drafts_of_the_dead_are_cleared(tmp_path):
    for name in ("a.json", "b.zarr"):
        (tmp_path / f"{files.DRAFT}1-{name}").mkdir()
    (tmp_path / f"{files.DRAFT}2-x").write_text("")
    (tmp_path / "kept").write_text("")
    files.clear_drafts(tmp_path)
    assert leftovers(tmp_path) == ["kept"]


def test_a_digest_is_of_contents_and_keeps_parts_apart(tmp_path):
    (tmp_path / "a").write_text("ab")
    assert files.digest("ab", "c") != files.digest("a", "bc")
    assert files.digest(tmp_path / "a") == files.digest(b"ab") == files.digest("ab")
    assert len(files.digest("x")) == 16


def test_what_a_folder_holds_is_names_and_contents_and_neither_place_nor_times(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "x").write_text("1")
        (tmp_path / name / "y").write_text("22")
    os.utime(tmp_path / "b" / "y", ns=(0, 0))
    first = files.content(tmp_path / "a")
    assert files.content(tmp_path / "b") == first
    (tmp_path / "b" / "y").write_text("23")
    (tmp_path / "a" / "y").rename(tmp_path / "a" / "z")
    assert len({first, files.content(tmp_path / "a"), files.content(tmp_path / "b")}) == 3
    with pytest.raises(FileNotFoundError):
        files.content(tmp_path / "c")


def test_a_known_digest_is_believed_until_somebody_touches_the_file(tmp_path, monkeypatch):
    path, kept = tmp_path / "x", tmp_path / "kept.json"
    path.write_text("1")
    known = files.KnownDigests(kept)
    known(path)
    monkeypatch.setattr(files, "WORTH_KEEPING", 0)
    known.keep()
    assert json.loads(kept.read_text()) == {}  # just written, so that a clock may not tell
    monkeypatch.setattr(files, "SETTLED", -1)
    first = known(path)
    known.keep()
    again = files.KnownDigests(kept)
    assert (again(path), again.read) == (first, 0)
    path.write_text("2")
    assert again(path) != first
    kept.write_text("[")
    assert files.KnownDigests(kept)(path) == again(path)


@pytest.mark.parametrize(
    "error", [KeyError(""), csv.Error("line contains NUL"), AttributeError("dtype"), ValueError("x"), OSError("bad")]
)
def test_whatever_a_stranger_s_file_raises_names_it_and_the_remedy(error):
    told = rf"^/a/b\.png cannot be read: .*{re.escape(str(error.args[0]))}.*; fetch it$"
    with pytest.raises(ValueError, match=told), files.reading("/a/b.png", "fetch it"):
        raise error


def test_what_names_its_file_already_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError), files.reading(tmp_path / "none", "x"):
        (tmp_path / "none").read_text()
    with pytest.raises(OSError, match="too long"), files.reading(tmp_path, "x"):
        (tmp_path / ("n" * 300)).read_text()
    with pytest.raises(ValueError, match=r"^/a is blue$"), files.reading("/a", "x"):
        raise ValueError("/a is blue")


def test_links_to_folders_count_as_what_these_hold_and_loops_end(tmp_path):
    for name in ("a", "elsewhere/in"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere" / "in" / "x").write_text("1")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    first = files.content(tmp_path / "a")
    (tmp_path / "elsewhere" / "in" / "x").write_text("2")
    second = files.content(tmp_path / "a")
    (tmp_path / "elsewhere" / "in" / "loop").symlink_to(tmp_path / "a")
    third = files.content(tmp_path / "a")
    (tmp_path / "elsewhere" / "in" / "loop").rename(tmp_path / "elsewhere" / "in" / "other")
    assert len({first, second, third, files.content(tmp_path / "a")}) == 4
    assert [path.name for path in files.below(tmp_path / "a")] == ["other", "x"]


def test_a_real_folder_counts_though_a_link_led_there_before(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("1")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert [path.relative_to(tmp_path).as_posix() for path in files.below(tmp_path)] == ["a/x", "b/x"]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1, 2]", "3", "null"])
def test_a_cache_that_is_cut_or_no_object_is_none(tmp_path, text):
    (tmp_path / "kept.json").write_text(text)
    assert files.read_json(tmp_path / "kept.json") == files.read_json(tmp_path / "nowhere.json") == {}
