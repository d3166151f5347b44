"""Files that are whole or not there, folders that one process owns, and names for what files hold."""

import concurrent.futures
import contextlib
import dataclasses
import enum
import errno
import fcntl
import hashlib
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

DRAFT = ".draft-"
"""How the name of an unfinished file begins; what a killed process left under such a name is nobody's."""

READERS = 4  # files that are read at once, to name what a folder holds
SETTLED = 5  # seconds after which a file's times tell whether it was touched
WORTH_KEEPING = 2**28  # bytes whose digests are kept, not to read them again

_NAME = 200  # bytes of a name that leave room for what a draft has in front


LONGEST_COLUMN = 160
"""Signs of the name of a column of results."""


class Taken(ValueError):
    """Another process works in the folder."""


REMEDIES = {
    errno.ENOSPC: "the disk is full; make room, or give a folder on another disk",
    errno.EDQUOT: "the disk quota is used up; make room, or give a folder on another disk",
    errno.EFBIG: "the file would be larger than this system allows; give a folder on another disk",
    errno.ENAMETOOLONG: "the path is too long for this file system; give a shorter folder or name",
    errno.EROFS: "the file system is read-only; give a folder that can be written to",
    errno.EACCES: "this user may not write there; change the permissions, or give another folder",
    errno.EPERM: "this user may not write there; change the permissions, or give another folder",
    errno.ENOTDIR: "a part of the path is a file; give another folder, or move that file away",
}
"""What stops somebody from writing, and what to do."""


def column(name: str) -> str:
    """`name`, as that of a metric or count, which becomes a column of the results.

    Raises:
        ValueError: it holds other signs than letters, digits and a few more, or is too long.
    """
    if not re.fullmatch(r"\w[\w .,:/@%()+×-]*", name) or len(name) > LONGEST_COLUMN:
        raise ValueError(
            f"{name!r} cannot name a metric: names begin with a letter or digit, have no other signs than these, "
            f"spaces and .,:/@%()+×-, and at most {LONGEST_COLUMN} of all; rename what it is called by, such as a file"
        )
    return name


@contextlib.contextmanager
def writable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever stops a write to `path` in here becomes an OSError that names it and the remedy.

    Libraries wrap what the system says in errors of their own; they are known by its words.
    """
    try:
        yield
    except Exception as error:
        if (number := _reason(error, pathlib.Path(path))) is None:
            raise
        raise OSError(number, REMEDIES[number], os.fspath(path)) from error


def _reason(error: Exception, path: pathlib.Path) -> int | None:
    """The number of what stopped a write to `path`, of those with a remedy; None where the error is of something else.

    Only what cannot come from reading is believed by its words.
    """
    if isinstance(error, OSError) and error.errno in REMEDIES:
        ours = error.filename is None or _concerns(pathlib.Path(os.fsdecode(error.filename)), path)
        return error.errno if ours else None
    text = str(error)
    return next((number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) if os.strerror(number) in text), None)


def _concerns(other: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether `other` is `path`, a draft, or a folder of either."""
    other, path = other.absolute(), path.absolute()
    return other == path or other in path.parents or any(part.startswith(DRAFT) for part in other.parts)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Whatever a stranger's file at `path` raises in here becomes one ValueError that names it, and the remedy.

    Decoders raise nearly anything of damaged files. What the system says (no such file, no permission, a name too
    long) is passed on as it is, as it names the file itself; so is a ValueError that already does.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is not None or error.errno in REMEDIES):
            raise
        raise ValueError(f"{path} cannot be read: {_told(error)}; {remedy}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read: {_told(error)}; {remedy}") from error


def _told(error: Exception) -> str:
    """What an error says, in a line that is not too long; its kind where it says nothing or but a name."""
    text = " ".join(str(error).split())[:300]
    return text if len(text) > 2 and not isinstance(error, KeyError) else f"{type(error).__name__} {text}".strip()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A draft beside `path` to write to: it becomes `path` at the end, or nothing is left if an error ends it.

    The draft has the suffix of `path`, and may become a file or a folder; what was there is replaced at once, so that
    a reader sees the old or the new (of a folder for a moment neither).

    Raises:
        OSError: it cannot be written (`writable`).
    """
    path = pathlib.Path(path)
    draft = _draft(path)
    with writable(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            if draft.is_dir() and path.exists():
                _remove(path)
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):  # what ended the write, such as a long name, is what to tell of
                _remove(draft)


def _draft(path: pathlib.Path) -> pathlib.Path:
    """A new name for the unfinished `path`; of one too long to have something in front, a digest."""
    name = path.name if len(os.fsencode(path.name)) <= _NAME else f"{digest(path.name)}{path.suffix[-16:]}"
    return path.with_name(f"{DRAFT}{secrets.token_hex(4)}-{name}")


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """UTF-8 text, all of it or nothing; of names that are no UTF-8 the escapes, which JSON reads as the same names."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Bytes, all of them or nothing."""
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """A JSON object, all of it or nothing; a ValueError where a number is not finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object of a cache; empty where there is none, or one that is cut or no object."""
    try:
        return dict(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def as_json(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses as objects, paths and enums as text, NaN and infinities as null."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # an array, or a number of NumPy's or JAX's
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clear_drafts(folder: str | os.PathLike[str]) -> None:
    """Removes the drafts that killed processes left in `folder`; only for one who owns it (`exclusive`)."""
    for path in pathlib.Path(folder).glob(f"{DRAFT}*"):
        _remove(path)


@contextlib.contextmanager
def exclusive(folder: str | os.PathLike[str], *, wait: float = 0.0) -> Iterator[None]:
    """Nobody else gets into the folder as long as this lasts; ends with the process, however that ends.

    Raises:
        Taken: somebody else is in, and still is after `wait` seconds.
    """
    folder = pathlib.Path(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder, time.monotonic() + wait)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: pathlib.Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not folder.exists() or not os.path.samestat(os.fstat(handle), os.stat(folder)):
                raise BlockingIOError("it was removed by the one who had it")
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise Taken(f"another process works in {folder}; wait for it, or give another folder") from error
            time.sleep(0.1)


def digest(*parts: str | bytes | os.PathLike[str], size: int = 8) -> str:
    """A name for what is given: paths stand for the contents of their files, text and bytes for themselves.

    `size` bytes of BLAKE2b in hexadecimal; parts are kept apart, so ("ab", "c") and ("a", "bc") differ.
    """
    whole = hashlib.blake2b(digest_size=size)
    for part in parts:
        if isinstance(part, os.PathLike):
            own = _of_file(pathlib.Path(part))
        else:
            own = hashlib.blake2b(part.encode() if isinstance(part, str) else part).digest()
        whole.update(own)
    return whole.hexdigest()


def _of_file(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).digest()


def content(path: str | os.PathLike[str], known: "KnownDigests | None" = None, *, size: int = 8) -> str:
    """A name for what a file or a folder holds: of a folder the names and contents of everything below it.

    Where it lies does not count, nor do times. `known` spares reading again what has not been touched. Links to
    nothing, sockets and what may not be read count by their names; who needs them says what is wrong with them. Links
    to folders count as what these hold, but by name alone where that has been counted before, as in a loop.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = pathlib.Path(path)
    known = KnownDigests() if known is None else known
    if not path.is_dir():
        path.stat()
        return digest(known(path), size=size)
    paths = list(below(path))
    parts: list[bytes | str] = []
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        for each, own in zip(paths, pool.map(known, paths), strict=True):
            parts += [os.fsencode(each.relative_to(path).as_posix()), own]
    return digest(*parts, size=size)


def below(
    folder: str | os.PathLike[str], *, on_error: Callable[[OSError], object] | None = None
) -> Iterator[pathlib.Path]:
    """Every file below a folder in order, also where links to folders lead; of links to what was there before, each.

    `on_error` is told of folders that may not be looked into.
    """
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=on_error):
        folders.sort()
        for name in list(folders):
            path = pathlib.Path(parent, name)
            real = os.path.realpath(path)
            if path.is_symlink() and real in seen:
                folders.remove(name)
                names.append(name)
            seen.add(real)
        yield from (pathlib.Path(parent, name) for name in sorted(names))


def stamp(paths: Iterable[pathlib.Path]) -> list[list[Any]]:
    """Names, sizes and times of files: while these are the same, so is what the files hold.

    Of a folder, those of everything in it; of what is not there, such as the end of a broken link, the name alone.
    """
    told: list[list[Any]] = []
    for path in sorted(paths):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for each in inside:
            try:
                there = os.stat(each)
            except OSError:  # who reads it says what is wrong with it
                told.append([each.name])
            else:
                told.append([each.name, there.st_size, there.st_mtime_ns, there.st_ctime_ns])
    return told


class KnownDigests:
    """The digests of files, each read once as long as nobody touches it; kept in a JSON file where `path` names one.

    A file that was touched within the last seconds is not believed to be what it was: a clock may stand still while
    somebody writes twice.
    """

    def __init__(self, path: pathlib.Path | None = None):
        self.path, self.read = path, 0  # bytes that had to be read
        self._known: dict[str, list[Any]] = {}
        if path is not None:
            self._known = read_json(path)

    def __call__(self, path: pathlib.Path) -> str:
        """The digest of a file; "" of what cannot be read."""
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                return ""
            name = os.path.abspath(path)
            touched = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
            if (there := self._known.get(name)) and there[:-1] == touched:
                return str(there[-1])
            now = time.time_ns()
            own = _of_file(path).hex()[:32]
            self.read += state.st_size
        except OSError:
            return ""
        if now - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED * 1e9:
            self._known[name] = [*touched, own]
        return own

    def keep(self) -> None:
        """Writes them to the file, where reading all again would take long; a folder without room does without."""
        if self.path is not None and self.read > WORTH_KEEPING:
            text = json.dumps({name: self._known[name] for name in sorted(self._known)})
            with contextlib.suppress(OSError):
                write_text(self.path, text)
