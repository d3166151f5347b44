"""Files that are whole or not there, folders that one process owns, and names for what files hold."""

import contextlib
import dataclasses
import enum
import fcntl
import hashlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

DRAFT = ".draft-"
"""How the name of an unfinished file begins; what a killed process left under such a name is nobody's."""


class Taken(ValueError):
    """Another process works in the folder."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A draft beside `path` to write to: it becomes `path` at the end, or nothing is left if an error ends it.

    The draft has the suffix of `path`; what was there is replaced at once, so that a reader sees the old or the new.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{DRAFT}{os.getpid()}-{path.name}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """UTF-8 text, all of it or nothing."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Bytes, all of them or nothing."""
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """A JSON object, all of it or nothing; a ValueError where a number is not finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


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
        path.unlink(missing_ok=True)


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
