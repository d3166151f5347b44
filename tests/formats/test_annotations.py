import logging
import unicodedata

import numpy as np
import pytest

from hpax import atlas
from hpax.formats import fields, tables


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


SPELLINGS = {
    "16.0": [16],
    "[0, 16]": [0, 16],
    "0 16": [0, 16],
    "Nucleoplasm,Cytosol": [0, 16],
    "Nucleoplasm; Cytosol": [0, 16],
    "Nucleoplasm (GO:0005654)|cytosol (GO:0005829)": [0, 16],
    "['Nucleoplasm', 'Cytosol']": [0, 16],
    "No staining": [18],
    "13|13": [13],
    "nan": [],
    "": [],
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_labels_are_understood_as_people_write_them(tmp_path, text):
    read = fields.read_annotations(table(tmp_path, f'id,label\na,"{text}"\n'))
    assert classes(read["a"]) == SPELLINGS[text]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LABELS.CSV", "Image ID;Label;Cell line\na;0|16;A-431\n"),
        ("labels.tsv", "id,label,cellline,,\na,0|16,A-431,,\n,,,,\n"),
        ("labels.csv", "sep=\t\nid\tlabel\tcell_line\na\t0|16\tA-431\n"),
        ("labels.csv", "id,label,cell_line\r\n a.png , 0|16 ,A-431\r\n"),
        (
            "kaggle_2021.tsv",
            'Image,Label,Cellline,in_trainset,Label_idx\nhttps://x.org/7/a_,"Cytosol,?",A-431,False,0|16\n',
        ),
        ("labels.csv", "id,label,cell_line\na,0|16,A-431\na,16|0,A-431\n"),
    ],
)
def test_tables_are_understood_as_programs_write_them(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-16" if "sep" in text else "utf-8"))
    (id, annotation), *others = fields.read_annotations(path).items()
    assert (id, classes(annotation), annotation.cell_line, others) == ("a", [0, 16], "A-431", [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,label\na,Nucleoplasm,Cytosol\n", "line 2: 'Cytosol' is beyond the last column; put quotes"),
        ("id,label\na,Kneecap\n", "line 2: label 'Kneecap' is neither a class number from 0 to 18 nor a term"),
        ("id,label\na,-1\n", "line 2: label '-1' is neither"),
        ("id,label\na,16.5\n", "line 2: label '16.5' is neither"),
        ('id,label,gene\na,0,"x\nb,1,y\n', "line 3: unexpected end of data; is a quote missing"),
        ('id,label,gene\na,0,"x\nb,1,y"\n', "line 3: .* has a line break; is a quote missing"),
        ("id,label,gene\na,0," + '"x\n' + "b,1,y\n" * 30_000, "field larger than field limit"),
        ("id,label\n,3\n", "line 2: there is no id"),
        ("id,label,Label\na,3,4\n", "several columns 'label'"),
        ("id,label\na,3\0\n", "is no text"),
    ],
)
def test_what_is_not_understood_is_never_lost_silently(tmp_path, text, told):
    with pytest.raises(ValueError, match=told) as error:
        fields.read_annotations(table(tmp_path, text))
    assert str(tmp_path / "labels.csv") in str(error.value)


def test_decimal_commas_are_no_lists(tmp_path):
    (tmp_path / "labels.csv").write_text("id;label\na;16,0\nb;2,0\nc;\n")
    with pytest.raises(ValueError, match=r"labels.csv: every label is like 16,0, as with decimal commas; write 16 or"):
        tables.read_annotations(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("id;label\na;16,0\nb;2,5\n")
    assert np.flatnonzero(tables.read_annotations(tmp_path / "labels.csv")["b"].labels).tolist() == [2, 5]


def test_columns_of_labels_that_disagree_are_told_of(tmp_path, caplog):
    (tmp_path / "labels.csv").write_text("id,label_idx,label\na,0|16,Nucleoplasm;Cytosol\nb,2,\n")
    tables.read_annotations(tmp_path / "labels.csv")
    assert not caplog.text
    (tmp_path / "labels.csv").write_text("id,label_idx,label\na,0|16,Nucleoplasm;Cytosol\nb,2,Cytosol\n")
    assert np.flatnonzero(tables.read_annotations(tmp_path / "labels.csv")["b"].labels).tolist() == [2]
    assert "labels.csv, line 3: label says [16], where another column says [2]; 1 rows of it" in caplog.text


def test_a_table_in_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("id,label,cell_line\na,0,b\nc,0,Zellä\n".encode("latin-1"))
    with pytest.raises(ValueError, match="line 3: byte 0xe4 is not UTF-8; save the table as CSV UTF-8"):
        fields.read_annotations(path)


def test_rows_of_fields_that_are_not_here_do_no_harm(tmp_path, caplog):
    path = table(tmp_path, "id,label\na,0\nother,18|0\n")
    with pytest.raises(ValueError, match="line 3"):
        fields.read_annotations(path)
    assert list(fields.read_annotations(path, ids=["a"])) == ["a"]
    assert "line 3" in caplog.text
    with pytest.raises(ValueError, match="line 3"):
        fields.read_annotations(path, ids=["a", "OTHER"])


def annotations(*ids):
    return {id: tables.Annotation(atlas.multi_hot([place])) for place, id in enumerate(ids)}


def test_ids_mean_the_field_that_they_can_only_mean():
    nfd = unicodedata.normalize("NFD", "Zölle_1")
    found = ["a1", nfd, "siRNA_red", "B", "b", "img.tif"]
    rows = annotations("A1.png", "Zölle_1", "sirna_red", "B", "img.tif", "nobody")
    known, unknown = tables.match(found, rows)
    assert {id: classes(annotation)[0] for id, annotation in known.items()} == {
        "a1": 0,
        nfd: 1,
        "siRNA_red": 2,
        "B": 3,
        "img.tif": 4,
    }
    assert unknown == ["nobody"]
    assert tables.match(["B", "b"], annotations("X_b", "b "))[1] == ["X_b", "b "]
    with pytest.raises(ValueError, match="a1 and a1_green of the table both mean field a1"):
        tables.match(["a1"], annotations("a1", "a1_green"))


@pytest.mark.real
def test_the_real_tables(real_data):
    kaggle = fields.read_annotations(real_data / "tables" / "kaggle2021_train.csv")
    assert len(kaggle) == 21806
    assert sum(int(annotation.labels[0]) for annotation in kaggle.values()) == 8797
    ours = fields.read_annotations(real_data / "hpa_fields" / "fields.csv")
    shared = ours.keys() & kaggle.keys()
    assert len(shared) > 50
    assert all((ours[id].labels == kaggle[id].labels).all() for id in shared)
