import logging

import numpy as np
import pytest

from hpax.formats import fields


def table(folder, text, name="labels.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def classes(annotation):
    return np.flatnonzero(annotation.labels).tolist()


def test_the_competition_s_table_with_a_repeated_label(tmp_path):
    read = fields.read_annotations(table(tmp_path, "ID,Label\na,8|5|0\nb,13|13\nc,18\n"))
    assert {id: classes(annotation) for id, annotation in read.items()} == {"a": [0, 5, 8], "b": [13], "c": [18]}


def test_terms_become_classes_and_the_rest_is_logged(tmp_path, caplog):
    text = "\ufeffid,locations,gene,cell_line\na,Nucleoplasm;Lipid droplets; rods & rings ,TP53,A-431\n"
    with caplog.at_level(logging.WARNING):
        read = fields.read_annotations(table(tmp_path, text))
    assert classes(read["a"]) == [0, 17]
    assert (read["a"].protein, read["a"].cell_line, read["a"].antibody) == ("TP53", "A-431", "")
    assert "rods & rings" in caplog.text


def test_tabs_separate_a_tsv(tmp_path):
    assert classes(fields.read_annotations(table(tmp_path, "id\tlabel\na\t3\n", "labels.tsv"))["a"]) == [3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs the columns id and label"),
        ("name,label\na,1\n", "needs the columns id and label"),
        ("id,label\na,19\n", r"line 2: classes must be in 0\.\.18"),
        ("id,label\na,3|18\n", r"line 2: Negative"),
        ("id,label\na,1\na,2\n", "line 3: id a comes twice"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path, text, told):
    with pytest.raises(ValueError, match=told):
        fields.read_annotations(table(tmp_path, text))


@pytest.mark.real
def test_the_real_tables(real_data):
    kaggle = fields.read_annotations(real_data / "tables" / "kaggle2021_train.csv")
    assert len(kaggle) == 21806
    assert sum(int(annotation.labels[0]) for annotation in kaggle.values()) == 8797
    ours = fields.read_annotations(real_data / "hpa_fields" / "fields.csv")
    shared = ours.keys() & kaggle.keys()
    assert len(shared) > 50
    assert all((ours[id].labels == kaggle[id].labels).all() for id in shared)
