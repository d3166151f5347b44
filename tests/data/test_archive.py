import io
import stat
import struct
import types
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpax.data import archive, build
from hpax.data.hpa_fields import dummy


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    dummy.write(folder, kaggle=3, proteinatlas=0, size=64)
    return folder


def competition(path, fields, table, **more):
    """An archive in Kaggle's layout: pictures in train, a table, and what should stay packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for picture in sorted((fields / "kaggle").iterdir()):
            file.write(picture, f"train/{picture.name}")
            file.write(picture, f"test/t{picture.name}")
        file.writestr("train.csv", table)
        file.writestr("sample_submission.csv", "ID,ImageWidth,ImageHeight,PredictionString\n")
        file.writestr("train_tfrecords/0.tfrec", "records")
        for name, content in more.items():
            file.writestr(name, content)
    return path


def ids(fields):
    return sorted({path.name.rsplit("_", 1)[0] for path in (fields / "kaggle").iterdir()})


def table_2021(fields):
    return "ID,Label\n" + "".join(f"{id},{number}|{number}|16\n" for number, id in enumerate(ids(fields)))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def packed(path, *members, method=zipfile.ZIP_DEFLATED):
    """An archive of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("given_as", ["archive", "folder"])
def test_an_archive_builds_as_its_folder_does(fields, tmp_path, given_as):
    (tmp_path / "download").mkdir()
    zipped = competition(tmp_path / "download" / "hpa.zip", fields, table_2021(fields))
    source = zipped if given_as == "archive" else zipped.parent
    data = build("hpa_fields", tmp_path / "data", source=source, um_per_pixel=0.1)
    (tmp_path / "plain" / "train").mkdir(parents=True)
    for picture in (fields / "kaggle").iterdir():
        (tmp_path / "plain" / "train" / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "plain" / "train.csv").write_text(table_2021(fields))
    plain = build("hpa_fields", tmp_path / "data", source=tmp_path / "plain", um_per_pixel=0.1)
    assert sorted(data.table.index) == ids(fields)
    for row in range(len(plain)):
        np.testing.assert_equal(data[row], plain[row])
    assert [sorted(np.flatnonzero(plain[row]["labels"])) for row in range(3)] == [
        sorted({ids(fields).index(plain[row]["id"]), 16}) for row in range(3)
    ]


def test_an_archive_is_unpacked_once_for_all_its_data_sets(fields, tmp_path, monkeypatch):
    zipped = competition(tmp_path / "hpa.zip", fields, table_2021(fields))
    build("hpa_fields", tmp_path / "data", source=zipped)
    (unpacked,) = (tmp_path / "data" / "unpacked").iterdir()
    assert len(files(unpacked)) == 13
    assert all(name == "train.csv" or name.startswith("train/") for name in files(unpacked))
    monkeypatch.setattr(archive, "_extract", None)
    build("hpa_fields", tmp_path / "data", source=zipped, bits=16)
    build("hpa_fields", tmp_path / "data", source=zipped.rename(tmp_path / "hpa.ZIP"))


def test_the_archive_of_2018_has_its_own_classes(fields, tmp_path):
    targets = ["16 0", "25 27", "9 10 14"]
    table = "Id,Target\n" + "".join(f"{id},{target}\n" for id, target in zip(ids(fields), targets, strict=True))
    data = build("hpa_fields", tmp_path / "data", source=competition(tmp_path / "hpa.zip", fields, table))
    labels = {data[row]["id"]: np.flatnonzero(data[row]["labels"]).tolist() for row in range(3)}
    assert labels == dict(zip(ids(fields), [[0], [16], [10, 17]], strict=True))


def test_an_unknown_class_of_2018_is_named(fields, tmp_path):
    zipped = competition(tmp_path / "hpa.zip", fields, f"Id,Target\n{ids(fields)[0]},28\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 2: target must be class numbers of 2018.*got '28'"):
        build("hpa_fields", tmp_path / "data", source=zipped)


def link(name):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def bomb():
    return "train/a_red.png", bytes(2**22)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("../a_red.png", b"x")], "'../a_red.png' is a path that could lead outside"),
        ([("train/../../a_red.png", b"x")], "could lead outside"),
        ([("/etc/a_red.png", b"x")], "could lead outside"),
        ([("C:/a_red.png", b"x")], "could lead outside"),
        ([("..\\a_red.png", b"x")], "could lead outside"),
        ([("train/a\nb.png", b"x")], "could lead outside"),
        ([("../notes.txt", b"x"), ("train/a_red.png", b"x")], "could lead outside"),
        ([(link("train/a_red.png"), b"/etc/passwd")], "is a link or a device"),
        ([(link("train"), b"/etc"), ("train/a_red.png", b"x")], "is a link or a device"),
        ([bomb()], r"unpacks \d+ bytes to 4194304, more than 200 to 1"),
        ([(f"{number}_red.png", bytes(2**20)) for number in range(30)], r"bad.zip unpacks \d+ bytes to 31457280, more"),
        ([(f"{'x' * 300}_red.png", b"x")], "x' is longer than 240 bytes in a part"),
        ([(f"{'long/' * 300}a_red.png", b"x")], "is longer than 240 bytes in a part or 1024 in all"),
        ([("a_red.png", b"x"), ("A_RED.png", b"y")], "'A_RED.png' twice"),
        ([("a.png", b"x"), ("a.png/b.png", b"y")], "'a.png/b.png' twice|'a.png' twice"),
        ([("a.png/b.png", b"x"), ("a.png", b"y")], "'a.png' twice"),
        ([("notes.txt", b"x"), ("test/a_red.png", b"x")], "holds no pictures and tables"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_means_ill_is_not_touched(tmp_path, members, told):
    zipped = packed(tmp_path / "bad.zip", *members)
    with pytest.raises(ValueError, match=told):
        archive.unpack(zipped, tmp_path / "unpacked")
    assert files(tmp_path) == ["bad.zip"]
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_not_taken(tmp_path):
    zipped = packed(tmp_path / "bad.zip", ("a.png", b"x"), ("a.png", b"y"))
    with pytest.raises(ValueError, match="twice"):
        archive.unpack(zipped, tmp_path / "unpacked")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_the_usual_methods(tmp_path, method):
    zipped = packed(tmp_path / "bad.zip", ("a_red.png", b"x"), method=method)
    with pytest.raises(ValueError, match="packed by method"):
        archive.unpack(zipped, tmp_path / "unpacked")


def test_limits_hold(tmp_path, monkeypatch):
    zipped = packed(tmp_path / "a.zip", ("a.png", bytes(range(200))), ("b.png", bytes(range(200))))
    with pytest.raises(ValueError, match="unpacks to 400 bytes, more than the bound of 399"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(total=399))
    with pytest.raises(ValueError, match=r"'a\.png' has 200 bytes, more than the bound of 199"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(member=199))
    with pytest.raises(ValueError, match=r"a\.zip has 2 members, more than the bound of 1"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(members=1))
    with pytest.raises(ValueError, match=r"a\.zip lists its files in 102 bytes, more than the bound of 101"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(directory=101))
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=399))
    with pytest.raises(ValueError, match=r"needs 400 bytes more in .*but 399 are free"):
        archive.unpack(zipped, tmp_path / "unpacked")
    assert files(tmp_path) == ["a.zip"]
    assert not (tmp_path / "unpacked").exists()


def test_a_member_without_a_name_is_refused(tmp_path):
    content = packed(tmp_path / "bad.zip", ("\1", b"x"), ("a_red.png", b"x")).read_bytes()
    (tmp_path / "bad.zip").write_bytes(content.replace(b"\1PK", b"\0PK").replace(b"\1x", b"\0x"))
    with pytest.raises(ValueError, match=r"bad.zip: '\\x00' has no name"):
        archive.unpack(tmp_path / "bad.zip", tmp_path / "unpacked")


def test_members_that_share_their_bytes_are_no_excuse(tmp_path):
    """As in a zip bomb whose members overlap: each has a modest ratio, all together do not."""
    zipped = packed(tmp_path / "a.zip", ("a0_red.png", bytes(2**19) + np.random.default_rng(0).bytes(2**12)))
    content = zipped.read_bytes()
    place, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[place:end]
    entries = [entry.replace(b"a0", bytes([97 + number // 26, 97 + number % 26])) for number in range(400)]
    size, start = len(entry) * 400, struct.unpack_from("<I", content, end + 16)[0]
    zipped.write_bytes(
        content[:place] + b"".join(entries) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 400, 400, size, start, 0)
    )
    with pytest.raises(ValueError, match="more than 200 to 1"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(small=2**10))


def test_the_list_of_a_large_archive_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)  # as with more than 65,535 members
    zipped = packed(tmp_path / "a.zip", ("a.png", b"x"), ("b.png", b"x"))
    assert b"PK\6\6" in zipped.read_bytes()
    with pytest.raises(ValueError, match="lists its files in 102 bytes"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(directory=101))
    assert len(files(archive.unpack(zipped, tmp_path / "unpacked"))) == 2


def test_an_encrypted_archive_is_refused(tmp_path):
    zipped = packed(tmp_path / "a.zip", ("a.png", b"x"))
    content = bytearray(zipped.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    zipped.write_bytes(content)
    with pytest.raises(ValueError, match=r"'a\.png' is encrypted"):
        archive.unpack(zipped, tmp_path / "unpacked")


@pytest.mark.parametrize(("place", "number"), [(24, 100), (42, 2**31), (42, 7), (16, 1)])  # size, offset, checksum
def test_a_directory_that_lies_does_not_help(tmp_path, place, number):
    zipped = packed(tmp_path / "a.zip", ("a.png", bytes(2**22)), ("b.png", b"x"))
    content = bytearray(zipped.read_bytes())
    directory = content.rindex(b"PK\x01\x02") if place == 42 else content.index(b"PK\x01\x02")
    content[directory + place : directory + place + 4] = struct.pack("<I", number)
    zipped.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        archive.unpack(zipped, tmp_path / "unpacked", limits=archive.Limits(ratio=2000))
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_archive_is_named(fields, tmp_path, share):
    zipped = competition(tmp_path / "hpa.zip", fields, table_2021(fields))
    zipped.write_bytes(zipped.read_bytes()[: int(share * zipped.stat().st_size)])
    with pytest.raises(ValueError, match=r"hpa\.zip cannot be read: .*; it is no zip archive, or cut short"):
        build("hpa_fields", tmp_path / "data", source=zipped)
    assert files(tmp_path) == ["hpa.zip"]


def test_an_interrupted_unpacking_goes_on(fields, tmp_path, monkeypatch):
    zipped = competition(tmp_path / "hpa.zip", fields, table_2021(fields))
    copies, original = [], archive.shutil.copyfileobj

    def interrupted(packed, unpacked, length):
        copies.append(unpacked.name)
        if len(copies) == 5:
            unpacked.write(packed.read(10))
            raise KeyboardInterrupt
        original(packed, unpacked, length)

    monkeypatch.setattr(archive.shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.unpack(zipped, tmp_path / "unpacked")
    assert [path.name[0] for path in (tmp_path / "unpacked").iterdir()] == ["."]
    folder = archive.unpack(zipped, tmp_path / "unpacked")
    assert len(copies) == 5 + 9
    assert len(files(folder)) == 13
    for picture in (fields / "kaggle").iterdir():
        assert (folder / "train" / picture.name).read_bytes() == picture.read_bytes()


def test_sources_that_are_no_single_archive(fields, tmp_path):
    assert archive.locate(fields) is None
    for name in ("a.zip", "b.zip"):
        packed(tmp_path / name, ("a.png", b"x"))
    with pytest.raises(ValueError, match=r"holds several archives \(a.zip, b.zip\)"):
        archive.locate(tmp_path)
    (tmp_path / "c_red.png").write_bytes(b"x")
    assert archive.locate(tmp_path) is None
    with pytest.raises(ValueError, match=r"must be a folder or a \.zip archive"):
        archive.locate(tmp_path / "c_red.png")


GOOD = {"train/a_red.png": bytes(range(256)) * 4, "train/b_red.png": b"", "train.csv": b"id,label\n"}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_gives_what_was_packed_or_an_error_and_nothing(tmp_path_factory, flips):
    file = io.BytesIO()
    packed(file, *GOOD.items())
    content = bytearray(file.getvalue())
    for place, change in flips:
        content[place % len(content)] ^= change
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "a.zip").write_bytes(content)
    unpacked, told = None, ""
    try:
        unpacked = archive.unpack(folder / "a.zip", folder / "unpacked")
    except ValueError as error:
        told = str(error)
    if unpacked is None:
        assert str(folder / "a.zip") in told
        assert files(folder) == ["a.zip"]
    else:
        assert all((unpacked / name).read_bytes() in GOOD.values() for name in files(unpacked))
        assert files(folder) == ["a.zip", *(f"unpacked/{unpacked.name}/{name}" for name in files(unpacked))]
