"""Zip archives of fields, such as Kaggle's: checked before a byte of them is written, then unpacked once.

Of `hpa-single-cell-image-classification.zip` and the archive of 2018 alike, `train/{id}_{colour}.png` and `train.csv`
are unpacked; so are the pictures and tables of any other archive. The held-out part of a competition is not.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from typing import IO

from hpax import files
from hpax.progress import track

_KINDS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".csv", ".tsv")
_HELD_OUT = ("test", "test_tfrecords", "train_tfrecords", "sample_submission.csv")
_NAME, _PATH = 240, 1024  # bytes of a part of a path and of a whole one, with room for `.part` and the folder
_END = struct.Struct("<4s4H2LH")  # the record that ends an archive, before a comment of up to 64 KiB
_END64 = struct.Struct("<4sQ2H2L4Q")  # the same of a large archive; a pointer of 20 bytes stands between the two


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may ask for."""

    total: int = 2**40  # bytes once unpacked; the full-size competition of 2021 has 0.16 of it
    member: int = 2**30  # bytes of one file
    ratio: int = 200  # of a file's bytes to what it takes in the archive; pictures are below 20
    small: int = 2**20  # bytes of a file, or of all together, whose ratio does not matter
    members: int = 2**20  # files and folders; the competition of 2021 has 0.1 of it
    directory: int = 2**26  # bytes of the list of members, which is read at once


LIMITS = Limits()


def locate(source: str | os.PathLike) -> pathlib.Path | None:
    """The archive that `source` is, or that it holds and nothing else; None if `source` is a folder of files.

    Raises:
        ValueError: a file that is no archive, or a folder of several archives.
    """
    source = pathlib.Path(source)
    if source.is_file():
        if source.suffix.lower() != ".zip":
            raise ValueError(f"source must be a folder or a .zip archive, got {source}")
        return source
    archives = sorted(source.glob("*.zip"))
    if not archives or any(path.suffix.lower() in _KINDS for path in source.rglob("*")):
        return None
    if len(archives) > 1:
        raise ValueError(f"{source} holds several archives ({', '.join(a.name for a in archives)}); give one as source")
    return archives[0]


def fingerprint(archive: pathlib.Path) -> str:
    """A short name for what an archive holds, from its directory: names, sizes and checksums of what is wanted.

    Raises:
        ValueError: the archive is damaged.
    """
    digest = hashlib.blake2b(digest_size=4)
    with _opened(archive) as file:
        for member in sorted(_wanted(file.infolist()), key=lambda member: member.filename):
            digest.update(f"{member.filename}\0{member.file_size}\0{member.CRC}\0".encode())
    return digest.hexdigest()


def unpack(
    archive: pathlib.Path, folder: pathlib.Path, *, limits: Limits = LIMITS, progress: bool = False
) -> pathlib.Path:
    """The pictures and tables of an archive in a folder of its own below `folder`; unpacked there if they are not.

    The folder appears complete or not at all. An interrupted call is gone on with by the next one.

    Raises:
        ValueError: the archive is damaged or encrypted, holds nothing that is wanted, paths that lead outside, links
            or devices, a name twice, or more than `limits` and the disk allow. Nothing is left behind then.
    """
    final = folder / f"{archive.stem}-{fingerprint(archive)}"
    if final.is_dir():
        return final
    draft = folder / f".unpacking-{final.name}"
    with _opened(archive, limits) as file:
        members = _checked(archive, file.infolist(), limits)
        draft.mkdir(parents=True, exist_ok=True)
        with files.exclusive(draft):
            missing = [member for member in members if not _is_there(draft / member.filename, member)]
            _check_space(archive, draft, missing)
            try:
                with files.reading(archive, "it is damaged, fetch it again"):
                    _extract(file, missing, draft, progress)
            except ValueError:
                _discard(draft)
                raise
            draft.rename(final)
    return final


def _opened(archive: pathlib.Path, limits: Limits = LIMITS) -> zipfile.ZipFile:
    with files.reading(archive, "it is no zip archive, or cut short; fetch it again"):
        if (size := _directory(archive)) > limits.directory:
            raise ValueError(f"{archive} lists its files in {size} bytes, more than the bound of {limits.directory}")
        return zipfile.ZipFile(archive)


def _directory(archive: pathlib.Path) -> int:
    """Bytes of the list of members, as an archive's end tells; 0 where there is no such end."""
    with archive.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _END.size - 2**16 - 20 - _END64.size)
        file.seek(start)
        tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + _END.size > len(tail):
        return 0
    before = place - 20 - _END64.size
    if before >= 0 and tail[before : before + 4] == b"PK\6\6":
        return max(_END.unpack_from(tail, place)[5] % (2**32 - 1), _END64.unpack_from(tail, before)[8])
    return _END.unpack_from(tail, place)[5]


def _wanted(members: Iterable[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    def is_wanted(path: pathlib.PurePosixPath) -> bool:
        return path.suffix.lower() in _KINDS and not set(path.parts) & set(_HELD_OUT) and "__MACOSX" not in path.parts

    return [m for m in members if m.filename and not m.is_dir() and is_wanted(pathlib.PurePosixPath(m.filename))]


def _checked(archive: pathlib.Path, members: Sequence[zipfile.ZipInfo], limits: Limits) -> list[zipfile.ZipInfo]:
    if len(members) > limits.members:
        raise ValueError(f"{archive} has {len(members)} members, more than the bound of {limits.members}")
    for member in members:
        if fault := _fault(member, limits):
            raise ValueError(f"{archive}: {member.orig_filename[:200]!r} {fault}; hpax unpacks no such archive")
    wanted = _wanted(members)
    if not wanted:
        raise ValueError(f"{archive} holds no pictures and tables; expected files like train/{{id}}_green.png")
    total, packed = sum(member.file_size for member in wanted), archive.stat().st_size
    if total > limits.total:
        raise ValueError(f"{archive} unpacks to {total} bytes, more than the bound of {limits.total}")
    if total > max(limits.small, limits.ratio * packed):
        raise ValueError(f"{archive} unpacks {packed} bytes to {total}, more than {limits.ratio} to 1")
    names = [pathlib.PurePosixPath(_folded(member.filename)) for member in wanted]
    taken = {parent for name in names for parent in name.parents}
    for name, member in zip(names, wanted, strict=True):
        if name in taken:
            raise ValueError(f"{archive} holds {member.filename[:200]!r} twice; hpax unpacks no such archive")
        taken.add(name)
    return wanted


def _fault(member: zipfile.ZipInfo, limits: Limits) -> str:
    """Why nothing with this member is unpacked; "" if nothing is wrong with it."""
    name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
    if not member.filename:
        return "has no name"
    if name.startswith("/") or ".." in name.split("/") or set(name) & set("\\:") or not name.isprintable():
        return "is a path that could lead outside of the folder"
    if len(os.fsencode(name)) > _PATH or any(len(os.fsencode(part)) > _NAME for part in name.split("/")):
        return f"is longer than {_NAME} bytes in a part or {_PATH} in all"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {member.compress_type}, neither stored nor deflated"
    if member.file_size > limits.member:
        return f"has {member.file_size} bytes, more than the bound of {limits.member}"
    if member.file_size > max(limits.small, limits.ratio * member.compress_size):
        return f"unpacks {member.compress_size} bytes to {member.file_size}, more than {limits.ratio} to 1"
    return ""


def _folded(name: str) -> str:
    """What file systems that know no case take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_there(path: pathlib.Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _check_space(archive: pathlib.Path, folder: pathlib.Path, members: Iterable[zipfile.ZipInfo]) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        if not any(folder.iterdir()):
            _discard(folder)
        raise ValueError(f"{archive} needs {needed} bytes more in {folder.parent}, but {free} are free; make room")


def _discard(draft: pathlib.Path) -> None:
    shutil.rmtree(draft)
    with contextlib.suppress(OSError):  # it holds other archives
        draft.parent.rmdir()


def _member(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return file.open(member)
    except (OSError, ValueError) as error:
        raise zipfile.BadZipFile(f"{member.filename[:200]!r} is not where it should be") from error


def _extract(file: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], folder: pathlib.Path, progress: bool) -> None:
    for member in track(members, "unpacking", len(members)) if progress else members:
        path = folder / member.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with _member(file, member) as packed, part.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)  # zipfile checks the length and the checksum
        part.replace(path)
