"""Folders of fields with a table, as Kaggle ships them, as people keep them; what is missing is said at once."""

import logging
import re

import numpy as np
import pytest

from hpax import data
from hpax.data import build, folders
from hpax.data.hpa_fields import dummy
from hpax.formats import fields

ROWS = "id,label\n"


@pytest.fixture
def kaggle(tmp_path):
    """train/ and test/ with the tables beside them."""
    for part, seed in (("train", 0), ("test", 1)):
        dummy.write(tmp_path / "draft" / part, kaggle=2, proteinatlas=0, size=64, seed=seed)
        (tmp_path / "kaggle" / part).mkdir(parents=True)
        for path in (tmp_path / "draft" / part / "kaggle").iterdir():
            path.rename(tmp_path / "kaggle" / part / f"{part}-{path.name}")
    (tmp_path / "kaggle" / "train.csv").write_text(
        "ID,Label\ntrain-00000000-bb9b-11e8,0|16\ntrain-00000001-bb9b-11e8,14\nelsewhere,3\n"
    )
    (tmp_path / "kaggle" / "sample_submission.csv").write_text("ID,ImageWidth,ImageHeight,PredictionString\n")
    return tmp_path / "kaggle"


def classes(found):
    return {files.id[:7]: np.flatnonzero(row).tolist() for files, row in zip(found.fields, found.labels, strict=True)}


def test_the_competition_is_read_as_it_is_shipped(kaggle):
    whole, train = data.labelled(kaggle), data.labelled(kaggle / "train")
    assert [files.id for files in train.fields] == ["train-00000000-bb9b-11e8", "train-00000001-bb9b-11e8"]
    assert train.labels.argmax(1).tolist() == [0, 14]
    assert train.unlabelled == []
    assert whole.table == kaggle / "train.csv"
    assert whole.unlabelled == ["test-00000000-bb9b-11e8", "test-00000001-bb9b-11e8"]
    assert whole.labelled.tolist() == [False, False, True, True]
    assert whole.unknown_ids == ["elsewhere"]
    told = "; ".join(whole.remarks())
    assert "2 of 4 fields in" in told
    assert "1 ids in" in told


def test_a_table_beside_the_folder_is_part_of_what_is_built(kaggle, tmp_path):
    first = build("hpa_fields", tmp_path / "data", source=kaggle / "train", um_per_pixel=0.32)
    assert first.labels.sum() == 3
    table = kaggle / "train.csv"
    table.write_text(table.read_text().replace("0|16", "0|12"))
    second = build("hpa_fields", tmp_path / "data", source=kaggle / "train", um_per_pixel=0.32)
    assert second.labels[:, 12].sum() == 1


def test_a_table_one_folder_below_is_found_and_a_named_one_wins(kaggle):
    assert data.labelled(kaggle.parent / "kaggle").table == kaggle / "train.csv"
    wrapped = kaggle.parent / "wrapped"
    wrapped.mkdir()
    kaggle.rename(wrapped / "kaggle")
    assert data.labelled(wrapped).table == wrapped / "kaggle" / "train.csv"
    other = wrapped / "mine.csv"
    other.write_text("id,label\ntest-00000000-bb9b-11e8.png,5\n")
    assert data.labelled(wrapped).table == other
    named = data.labelled(wrapped, "kaggle/train.csv")
    assert named.table == wrapped / "kaggle" / "train.csv"
    assert data.labelled(wrapped / "kaggle" / "test", str(other)).labels[0, 5] == 1
    with pytest.raises(FileNotFoundError, match=r"none.csv is not there; name a table"):
        data.labelled(wrapped, "none.csv")


def test_no_label_at_all_is_an_error_at_once_that_says_where_the_table_belongs(kaggle, monkeypatch):
    monkeypatch.setattr(fields, "read_field", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(ValueError, match=r"none of 2 fields in .*test has a label: there is no table; put one"):
        data.labelled(kaggle / "test")
    (kaggle / "test" / "my.csv").write_text("id,location\ntest-00000000-bb9b-11e8,Cytosol\n")
    told = r"my.csv is passed over, as its columns are id, location"
    with pytest.raises(ValueError, match=rf"{told}; it needs the columns id and label"):
        data.labelled(kaggle / "test")
    assert re.search(told, "".join(folders.annotated(kaggle / "test", []).remarks()))
    (kaggle / "test" / "my.csv").unlink()
    (kaggle / "test.csv").write_text("id,label\nx,3\n")
    with pytest.raises(ValueError, match=r"test.csv has other ids, such as x, where fields are called test-0"):
        data.labelled(kaggle / "test")
    (kaggle / "test.csv").write_text("id,label\ntest-00000000-bb9b-11e8,\n")
    with pytest.raises(ValueError, match=r"test.csv names their ids, but no class"):
        data.labelled(kaggle / "test")


def test_bad_fields_and_companions_of_macos_end_nothing(kaggle):
    next((kaggle / "train").glob("train-00000001*_red.png")).unlink()
    (kaggle / "._train.csv").write_bytes(bytes(64))
    (kaggle / "train" / "._labels.csv").write_bytes(bytes(64))
    found = data.labelled(kaggle)
    assert list(found.faults) == ["train-00000001-bb9b-11e8"]
    assert "1 fields in" in found.remarks()[-1]


def test_several_tables_need_a_word(kaggle):
    (kaggle / "more.csv").write_text("id,labels\n")
    with pytest.raises(ValueError, match=r"several tables \(kaggle/more.csv, kaggle/train.csv\); name the one"):
        data.labelled(kaggle)


def test_a_named_table_elsewhere_is_part_of_the_data_set(kaggle, tmp_path):
    table = tmp_path / "mine.csv"
    names = []
    for label in (3, 4):
        table.write_text(f"id,label\ntest-00000000-bb9b-11e8,{label}\n")
        built = build("hpa_fields", tmp_path / "data", source=kaggle / "test", annotations=str(table), um_per_pixel=0.3)
        assert built.labels.argmax(1).max() == label
        names.append(built.info.full_name)
    assert len(set(names)) == 2


def test_sizes_that_are_guessed_are_told_once(kaggle, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        build("hpa_fields", tmp_path / "data", source=kaggle / "train")
        build("hpa_cells", tmp_path / "data", source=kaggle / "train", min_cells=1)
    assert caplog.text.count("state no pixel size; it is guessed from their width") == 1
