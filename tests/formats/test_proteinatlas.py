import pytest

from hpax.formats import proteinatlas


def written(path, text):
    path.write_text(text)
    return path


def test_an_address_is_the_one_that_the_atlas_links(tmp_path):
    path = written(tmp_path / "list.csv", "antibody,plate,well,field\nHPA006872,8,G3,1\nCAB000115,2006,A9,4\n")
    wanted = proteinatlas.read_list(path)
    assert wanted[0].url("protein") == "https://images.proteinatlas.org/6872/8_G3_1_green.jpg"
    assert wanted[1].url("er", base="http://here/a/") == "http://here/a/115/2006_A9_4_yellow.jpg"


@pytest.mark.parametrize(
    "image",
    [
        "6289/1843_E1_11_cr5af96f44b4a7b",
        "https://images.proteinatlas.org/6289/1843_E1_11_cr5af96f44b4a7b_red_green.jpg",
        "http://v18.proteinatlas.org/images/6289/1843_E1_11_cr5af96f44b4a7b_blue_red_green.jpg",
        "http://images.proteinatlas.org/6289/1843_E1_11_cr5af96f44b4a7b_selected.jpg",
        "https://images.proteinatlas.org/6289/1843_E1_11_cr5af96f44b4a7b_red.tif.gz",
        "https://images.proteinatlas.org/6289/1843_E1_11_cr5af96f44b4a7b_",
    ],
)
def test_an_address_is_read_back(tmp_path, image):
    (field,) = proteinatlas.read_list(written(tmp_path / "list.csv", f"Image,Label\n{image},0|16\n"))
    assert (field.id, field.antibody) == ("1843_E1_11_cr5af96f44b4a7b", 6289)
    assert proteinatlas.image_of(field.id) == field.image == "1843_E1"
    assert field.notes == {"labels": "0|16", "gene": "", "cell_line": ""}


def test_a_well_without_field_is_guessed_at(tmp_path):
    path = written(tmp_path / "list.tsv", "antibody\tplate\twell\tfield\n7\t8\tG3\t\n7\t9\tG3\t1\n")
    wanted = proteinatlas.read_list(path, fields=3)
    assert [(field.id, field.guessed) for field in wanted] == [
        *((f"8_G3_{field}", True) for field in (1, 2, 3)),
        ("9_G3_1", False),
    ]


@pytest.mark.parametrize("id", ["0000-bb9b-11e8", "8_G3", "8_G3_1_green", "x8_G3_1", "8_G3_1\n"])
def test_other_names_are_no_wells(id):
    assert proteinatlas.image_of(id) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plate,well\n8,G3\n", "needs the columns antibody, plate and well, or image"),
        ("", "needs the columns"),
        ("antibody,plate,well,field\n", "asks for no field"),
        ("antibody,plate,well,field\n7,../8,G3,1\n", r"line 2: plate must match .*got '../8'"),
        ("antibody,plate,well,field\n7,8,G3,1/../../x\n", "line 2: field must match"),
        ("antibody,plate,well,field\n7,8\n", "line 2: well must match"),
        ("antibody,plate,well,field\n٧,8,G3,1x\n", "line 2: field must match"),
        ("image\n6872/../8_G3_1\n", "line 2: image must be like 6872/8_G3_1"),
        ("image\nfile:///6872/8_G3_1\n", "line 2: image must be like"),
        ("antibody,plate,well,field,sha256_red\n7,8,G3,1,abc\n", "line 2: sha256_red must be 64 hex digits"),
        (f"antibody,plate,well,sha256_red\n7,8,G3,{64 * 'a'}\n", "line 2: digests belong to a field"),
        ("antibody,plate,well,field\n7,8,G3,1\n9,8,G3,1\n", "line 3: field 8_G3_1 is asked for twice"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path, text, told):
    with pytest.raises(ValueError, match=told):
        proteinatlas.read_list(written(tmp_path / "list.csv", text))


def test_the_competition_host_s_list_is_read_as_it_is(tmp_path):
    text = (
        "Image,Label,Cellline,in_trainset,Label_idx\n"
        'https://images.proteinatlas.org/1001/11_A1_1,"Nucleoplasm,Cytosol",U-2 OS,False,0|16\n'
        'https://images.proteinatlas.org/1002/12_B2_2,"Mitochondria",A-431,False,\n'
    )
    for name in ("kaggle_2021.tsv", "kaggle_2021.csv"):
        wanted = proteinatlas.read_list(written(tmp_path / name, text))
        assert [(field.id, field.antibody) for field in wanted] == [("11_A1_1", 1001), ("12_B2_2", 1002)]
        assert wanted[0].notes == {"labels": "0|16", "gene": "", "cell_line": "U-2 OS"}
        assert wanted[1].notes["labels"] == "Mitochondria"


def test_a_field_that_joined_lists_name_twice_is_asked_for_once(tmp_path):
    digest = 64 * "a"
    text = f"image,gene,sha256_red\n7/8_G3_1_red.jpg,TP53,\n7/8_G3_1,ACTB,{digest}\n7/8_G3_1,TP53,\n"
    (field,) = proteinatlas.read_list(written(tmp_path / "list.csv", text))
    assert field.notes["gene"] == "TP53;ACTB"
    assert field.sha256 == {"microtubules": digest}
    path = written(tmp_path / "list.csv", f"image,sha256_red\n7/8_G3_1,{digest}\n7/8_G3_1,{64 * 'b'}\n")
    with pytest.raises(ValueError, match="line 3: field 8_G3_1 is asked for twice, and differently"):
        proteinatlas.read_list(path)
