"""Submissions: the competition's own texts, every defect named with its place, and files that survive a round trip."""

import base64
import binascii
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.formats import kaggle, label_images

BLOCK = np.zeros((4, 5), bool)
BLOCK[1:3, 1:4] = True
CORNER = np.zeros((4, 5), bool)
CORNER[0, 0] = True
FIELD = np.zeros((2048, 2048), bool)
FIELD[100:200, 300:450] = True

GOLDEN = {
    "block": (BLOCK, b"5220003", "eNozNTIyMDAwBgAFgwFd"),
    "corner": (CORNER, b"01c0", "eNozMEw2AAACTQD1"),
    "empty": (np.zeros((4, 5), bool), b"d0", "eNpLMQAAAPoAlQ=="),
    "full": (np.ones((4, 5), bool), b"0d0", "eNozSDEAAAGLAMU="),
    "field": (FIELD, None, "eNoLCc5IMggxzskxNBgFxIGcnOxgYwBe9Tyr"),
}
GOOD = kaggle.encode(BLOCK)
HEADER = ",".join(kaggle.HEADER)


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_masks(case):
    mask, counts, text = GOLDEN[case]
    np.testing.assert_array_equal(kaggle.decode(text, *mask.shape), mask)
    assert kaggle.unpack(kaggle.encode(mask)) == kaggle.unpack(text)
    assert counts in (None, kaggle.unpack(text))


def test_a_golden_mask_that_is_not_square():
    text = "eNqLi8xJM7BOTjS08DT2NfI38DfyM/Q3NMAJgJJ+RkBs7JecF5tnAADw+Q9I"
    mask = kaggle.decode(text, 1600, 1118)
    rows, columns = np.nonzero(mask)
    assert (mask.sum(), rows.min(), rows.max(), columns.min(), columns.max()) == (663, 1063, 1090, 468, 493)
    with pytest.raises(ValueError, match="sum to 1788800 pixels, the image has 1788000"):
        kaggle.decode(text, 1500, 1192)


def written(tmp_path, *rows, header=HEADER, name="s.csv"):
    path = tmp_path / name
    path.write_bytes("\n".join([header, *rows, ""]).encode("utf-8", "surrogateescape"))
    return path


def packed(counts: bytes) -> str:
    return base64.b64encode(zlib.compress(counts, 9)).decode()


@pytest.mark.parametrize("text", ["", '""', "NaN", "nan", kaggle.PLACEHOLDER.decode(), " "])
def test_blank_rows(tmp_path, text):
    (listing,) = kaggle.strict(written(tmp_path, f"a,5,4,{text}"))
    assert (listing.masks, len(listing.label), listing.height, listing.width) == (0, 0, 4, 5)


def test_line_ends_quotes_and_byte_order_marks(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f'{HEADER}\r\n"a","5",4,"3 0.5 {GOOD}"\r\n\r\nb,5,4,'.encode())
    first, second = kaggle.strict(path)
    assert (first.id, first.label.tolist(), first.score.tolist()) == ("a", [3], [0.5])
    assert second.id == "b"


FLAWED = {  # PredictionString: (position, what is said)
    f"0 1 {GOOD} 1": (0, "triples of class, score and mask, it has 4 parts"),
    f"0 1 {GOOD} 19 1 {GOOD}": (2, "0..18, got b'19'"),
    f"-1 1 {GOOD}": (1, "0..18"),
    f"1.0 1 {GOOD}": (1, "0..18"),
    f"0 nan {GOOD}": (1, "within 0 and 1, got b'nan'"),
    f"0 inf {GOOD}": (1, "within 0 and 1"),
    f"0 1.01 {GOOD}": (1, "within 0 and 1"),
    f"0 -0.1 {GOOD}": (1, "within 0 and 1"),
    f"0 half {GOOD}": (1, "within 0 and 1, got b'half'"),
    f"0 1 {GOOD[:-1]}": (1, "not base64"),
    "0 1 %%%%": (1, "not base64"),
    f"0 1 {base64.b64encode(b'plain').decode()}": (1, "not zlib data"),
    f"0 1 {base64.b64encode(zlib.compress(b'5220003')[:-2]).decode()}": (1, "cut short"),
    f"0 1 {base64.b64encode(zlib.compress(b'5220003') + b'more').decode()}": (1, "goes on after the end"),
    f"0 1 {packed(b'5220002')}": (1, "its runs sum to"),
    f"0 1 {packed(b'52200')}": (1, "its runs sum to 13 pixels, the image has 20"),
    f"0 1 {packed(b'522 003')}": (1, "never use"),
    f"0 1 {packed(b'')}": (1, "no run lengths"),
    f"0 1 {packed(b'0' * 2**25)}": (1, "unpacks to over"),
}


@pytest.mark.parametrize("text", FLAWED, ids=[said for _, said in FLAWED.values()])
def test_flaws_are_named_with_row_id_and_position(tmp_path, text):
    position, said = FLAWED[text]
    path = written(tmp_path, "good,5,4,", f"bad,5,4,{text}")
    (defect,) = kaggle.report(path)
    assert defect[:3] == (3, "bad", position)
    assert said in defect.fault
    with pytest.raises(kaggle.SubmissionError, match="row 3, ID 'bad'"):
        kaggle.strict(path)


def test_the_triples_without_a_flaw_are_kept(tmp_path):
    table = kaggle.Table(written(tmp_path, f"a,5,4,0 1 {GOOD} 1 2 {GOOD} 2 .5 {packed(b'5')} 3 .5 {GOOD}"))
    listing, defects = table.read("a")
    assert (listing.label.tolist(), [defect.position for defect in defects]) == ([0, 3], [2, 3])


COLUMNS = {
    "a,5,4": "4 columns, this has 3",
    "a,5,0,": "whole numbers above 0",
    "a,-5,4,": "whole numbers above 0",
    "a,5.0,4,": "whole numbers above 0",
    "a,5,99999999,": "whole numbers above 0",
    ",5,4,": "printable characters",
    "a\x07b,5,4,": "printable characters",
    "\udcff,5,4,": "must be UTF-8",
}


@pytest.mark.parametrize("row", COLUMNS)
def test_flaws_of_the_first_columns(tmp_path, row):
    (defect,) = kaggle.report(written(tmp_path, row))
    assert defect.row == 2
    assert COLUMNS[row] in defect.fault


def test_another_header_is_one_defect(tmp_path):
    truth = written(tmp_path, "a,5,4,", name="t.csv")
    (defect,) = kaggle.report(written(tmp_path, "a,5,4,", header="id,x"), truth)
    assert "header must be ID,ImageWidth,ImageHeight,PredictionString" in str(defect)


def test_ids_and_sizes_against_the_truth(tmp_path):
    truth = written(tmp_path, "a,5,4,", "b,5,4,", "c,5,4,", name="t.csv")
    found = kaggle.report(written(tmp_path, "a,4,5,", "x,5,4,", "b,5,4,", "b,5,4,"), truth)
    assert [defect[:2] for defect in found] == [(2, "a"), (3, "x"), (5, "b"), (0, "c")]
    for defect, said in zip(found, ("5 wide and 4 high", "no image of this ID", "row 4 has", "no row"), strict=True):
        assert said in defect.fault


def test_overlapping_cells_warn_and_pass(tmp_path):
    path = written(tmp_path, f"a,5,4,0 1 {kaggle.encode(CORNER)} 0 1 {GOOD} 1 1 {GOOD} 2 1 {packed(b'0d0')}")
    (defect,) = kaggle.report(path)
    assert (defect.warning, defect.position) == (True, 4)
    assert "shares pixels with that of triple 1" in defect.fault
    assert len(kaggle.strict(path)) == 1


def test_an_error_names_the_first_twenty(tmp_path):
    path = written(tmp_path, *(f"i{n},5,4,0 2 {GOOD}" for n in range(30)))
    with pytest.raises(kaggle.SubmissionError) as caught:
        kaggle.strict(path)
    assert len(caught.value.defects) == 30
    assert str(caught.value).count("row ") == 20
    assert "and 10 more" in str(caught.value)


def test_bombs_stay_small(tmp_path):
    checkers = packed(b"011" + b"0" * (2**22 - 2))  # runs of one pixel all over 2048 × 2048
    zeros = [packed(b"0" * 2**24 + bytes([n])) for n in range(8)]
    path = written(
        tmp_path,
        f"a,2048,2048,{' '.join(f'0 1 {mask}' for mask in zeros)}",
        f"b,2048,2048,0 1 {checkers}",
        f"c,2048,2048,0 1 {checkers}{'A' * 2**20}",
    )
    limits = kaggle.Limits(row=2**19, expansion=2**20)
    tracemalloc.start()
    found = kaggle.report(path, limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert [defect.id for defect in found] == ["a"] * len(zeros) + ["b", ""]
    assert "a row may have 524288 bytes" in found[-1].fault


def test_masks_share_one_allowance(tmp_path):
    masks = [packed(b"5220003"), packed(b"01c0"), packed(b"0d0")]
    path = written(tmp_path, f"a,5,4,{' '.join(f'0 1 {mask}' for mask in masks)}")
    found = [defect for defect in kaggle.report(path, limits=kaggle.Limits(expansion=11)) if not defect.warning]
    assert [(defect.position, "all that is left" in defect.fault) for defect in found] == [(3, True)]


def test_too_many_pixels_or_masks(tmp_path):
    path = written(tmp_path, f"a,5,4,0 1 {GOOD} 0 1 {kaggle.encode(CORNER)}", f"b,9999999,9999999,0 1 {GOOD}")
    few, many = kaggle.report(path, limits=kaggle.Limits(masks=1))
    assert "1 distinct masks, this has 2" in few.fault
    assert "an image may have 268435456 pixels" in many.fault


scores = st.lists(st.lists(st.floats(0, 1) | st.just(np.nan), min_size=19, max_size=19), min_size=3, max_size=3)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=30, max_size=30), scores)
def test_files_survive_a_round_trip(tmp_path_factory, pixels, values):
    path = tmp_path_factory.mktemp("round") / "s.csv"
    image = np.array(pixels, np.uint16).reshape(5, 6)
    listing = label_images.listing("a", image, np.array(values))
    kaggle.write(path, [listing])
    (back,) = kaggle.strict(path)
    for name in ("id", "height", "width", "label", "score"):
        np.testing.assert_array_equal(getattr(back, name), getattr(listing, name))
    for index in range(len(listing.label)):
        own = [side.runs[1:, side.runs[0] == side.mask[index]] for side in (back, listing)]
        np.testing.assert_array_equal(*own)


def test_writing_leaves_nothing_behind_on_an_error(tmp_path):
    image, values = np.ones((4, 5), np.uint8), np.full((1, 19), 0.5)
    good = label_images.listing("a", image, values)
    for bad in (good, label_images.listing("b,c", image, values), label_images.listing("b", image, values + 1)):
        with pytest.raises(ValueError, match="must be"):
            kaggle.write(tmp_path / "s.csv", [good, bad])
    assert list(tmp_path.iterdir()) == []


def test_base64_damage_is_what_binascii_finds():
    with pytest.raises(ValueError, match="not base64") as caught:
        kaggle.unpack("=abc")
    assert isinstance(caught.value.__cause__, binascii.Error)


@pytest.mark.real
def test_the_sample_submission_reads(real_data):
    path = real_data / "tables" / "kaggle2021_sample_submission.csv"
    assert kaggle.report(path) == []
    table = kaggle.strict(path)
    assert len(table) == 559
    assert sum(listing.runs.size for listing in table) == 0
