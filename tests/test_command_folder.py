"""A folder is known by what its files hold: touched files are looked at again, and a set has one full scale."""

import os
import shutil

import numpy as np
import pytest
import tifffile

from hpax.commands import folder
from hpax.data.hpa_fields import dummy
from hpax.formats import fields


@pytest.fixture
def source(tmp_path):
    dummy.write(tmp_path / "png", kaggle=3, proteinatlas=0, size=64, seed=1)
    (tmp_path / "fields").mkdir()
    for path in (tmp_path / "png").rglob("*.png"):
        pixels = fields.read_channel(path).astype(np.uint16) * 16  # 12 bits
        tifffile.imwrite(tmp_path / "fields" / f"{path.stem}.tif", pixels)
    return tmp_path / "fields"


def test_the_full_scale_is_that_of_the_set_and_is_kept(source, tmp_path, monkeypatch, capsys):
    known, faults = folder.survey(source)
    assert len(known) == 3
    assert not faults
    cache = tmp_path / "scale.json"
    scaled = folder.scaled(known, 0, cache)
    assert {field.files.full_scale.integers for field in scaled} == {4095}
    assert "taken as 12 bits" in capsys.readouterr().err
    brightest = max(int(field.loader(0.0)().image.max()) for field in scaled)
    assert brightest > 2**15  # and not 2**12
    monkeypatch.setattr(fields, "full_scale", lambda *_, **__: pytest.fail("looked again"))
    assert folder.scaled(known, 0, cache) == scaled


def test_a_stated_depth_and_touched_files_make_another_scale(source, tmp_path):
    known, _ = folder.survey(source)
    cache = tmp_path / "scale.json"
    first = folder.scaled(known, 0, cache)
    stated = folder.scaled(known, 14, cache)
    assert stated[0].files.full_scale.integers == 2**14 - 1
    assert len({first[0].digest(), stated[0].digest()}) == 2
    for path in source.glob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) * 16)
    again = folder.scaled(known, 0, cache)
    assert again[0].files.full_scale.integers == 2**16 - 1


def test_a_file_that_cannot_be_read_is_not_asked(source, tmp_path):
    path = next(source.glob("*_red.tif"))
    path.write_bytes(b"")
    known, _ = folder.survey(source)
    assert folder.scaled(known, 0, tmp_path / "scale.json")[0].files.full_scale.integers == 4095


def test_contents_count_and_not_times(source, tmp_path):
    field = folder.survey(source)[0][0]
    record = {"digest": "known", "stamp": folder.state(field)}
    assert folder.content(field, record) == "known"  # files that nobody touched are not read
    os.utime(field.files.paths[0])
    assert folder.content(field, record) == field.digest()
    shutil.copytree(source, tmp_path / "copy")
    copy = folder.survey(tmp_path / "copy")[0][0]
    assert copy.digest() == field.digest()
    tifffile.imwrite(copy.files.paths[1], tifffile.imread(copy.files.paths[1]) ^ 1)
    assert copy.digest() != field.digest()


def test_a_cache_that_was_cut_is_made_again(source, tmp_path):
    known, _ = folder.survey(source)
    cache = tmp_path / "scale.json"
    first = folder.scaled(known, 0, cache)
    cache.write_text(cache.read_text()[:40])
    assert folder.scaled(known, 0, cache) == first
