"""One process at a time in a folder."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


class Taken(ValueError):
    """Another process works in the folder."""


@contextlib.contextmanager
def exclusive(folder: pathlib.Path) -> Iterator[None]:
    """Nobody else gets into the folder as long as this lasts; ends with the process, however that ends.

    Raises:
        Taken: somebody else is in.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.exists(folder) or not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise BlockingIOError("it was removed by the one who had it")
        yield
    except BlockingIOError as error:
        raise Taken(f"another process works in {folder}; wait for it, or give another folder") from error
    finally:
        os.close(handle)
