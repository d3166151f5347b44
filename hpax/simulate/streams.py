"""Randomness as a function of names: the same keys give the same numbers in any order, process or machine."""

import zlib

import numpy as np


def stream(*keys: int | str) -> np.random.Generator:
    """The generator of `keys`; different keys give independent generators.

    Raises:
        ValueError: a negative integer, which no seed sequence takes.
    """
    if bad := [key for key in keys if not isinstance(key, str) and key < 0]:
        raise ValueError(f"a seed or an index must not be negative, got {bad[0]}; use 0 or more")
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
