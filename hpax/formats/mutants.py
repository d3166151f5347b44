"""Files as damage and malice change them: for trying that a reader answers, or refuses by name, whatever it is given.

A mutant is a function of the file's bytes and the generator's state. Where a checksum or a length would keep a change
from being looked at (PNG's chunks, the header of safetensors), it is made right again.
"""

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Content = Literal["text", "binary", "png", "safetensors", "zip"]
"""What a file is made of, which decides how it is changed."""

Change = Callable[[bytes, np.random.Generator], bytes]

_TOKENS = (
    *(b"", b"0", b"-1", b"1e999", b"nan", b"null", b"0x1", b"1_0", b"99999999999999999999", b"9" * 5000, b"{}", b"[]"),
    *(b'"', b"'", b"[" * 2000, b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0", b"\r", b"\r\n", b"\n\n", b"sep=;\n"),
    *(b"..", b"/etc/passwd", b"\xcd\x88", b"\xf0\x9f\xa6\xa0", b"x" * 3000, b"=" * 9, b"|", b"\\"),
)
_NUMBERS = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_VALUES: tuple[Any, ...] = (None, True, -1, 0, 3, 2**62, 1e308, "x" * 3000, [], {}, [[]], [8192] * 8, [2**31, 2**31])


def mutant(data: bytes, content: Content, rng: np.random.Generator) -> bytes:
    """`data` after one to three changes of one kind."""
    change = CHANGES[content][int(rng.integers(len(CHANGES[content])))]
    for _ in range(int(rng.integers(1, 4))):
        data = change(data, rng)
    return data


def bytes_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes replaced, cut, doubled or put in."""
    changed, place = bytearray(data), int(rng.integers(0, max(len(data), 1)))
    kind = int(rng.integers(0, 4))
    if kind == 0 and data:
        changed[place] = int(rng.integers(0, 256))
    elif kind == 1:
        del changed[place : place + int(rng.integers(1, 40))]
    elif kind == 2:
        changed[place:place] = data[place : place + int(rng.integers(1, 40))]
    else:
        changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed)


def span_moved(data: bytes, rng: np.random.Generator) -> bytes:
    """A stretch doubled, dropped or cut off."""
    begin, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return (data[:end] + data[begin:], data[:begin] + data[end:], data[:begin])[int(rng.integers(3))]


def number_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Two or four bytes made a number at which programs err, in either order."""
    width, order = (2, 4)[int(rng.integers(2))], ("little", "big")[int(rng.integers(2))]
    place = int(rng.integers(0, max(len(data) - width, 1)))
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))] % 2 ** (8 * width)
    return data[:place] + number.to_bytes(width, "big" if order == "big" else "little") + data[place + width :]


def token_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """What stands between two separators of a text made something nasty."""
    separator = (b",", b"\n", b" ", b":", b'"')[int(rng.integers(5))]
    parts = data.split(separator)
    parts[int(rng.integers(len(parts)))] = _TOKENS[int(rng.integers(len(_TOKENS)))]
    return separator.join(parts)


def chunk_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """A chunk of a PNG changed, its checksum and length right; other data as they are."""
    places, place = [], 8
    while place + 12 <= len(data) and (length := struct.unpack_from(">I", data, place)[0]) < len(data):
        places.append((place, length))
        place += 12 + length
    if not places:
        return data
    start, length = places[int(rng.integers(len(places)))]
    change = (bytes_changed, number_changed)[int(rng.integers(2))]
    body = data[start + 4 : start + 8] + change(data[start + 8 : start + 8 + length], rng)
    checked = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:start] + checked + data[start + 12 + length :]


def header_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Something in the header of a safetensors file changed, its length right; other data as they are."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
        entry = header[list(header)[int(rng.integers(len(header)))]]
        if rng.random() < 0.5:
            entry = header["__metadata__"]
        name = list(entry)[int(rng.integers(len(entry)))]
        text = entry[name] if isinstance(entry[name], str) else json.dumps(entry[name])
        kind = int(rng.integers(4))
        if kind == 0:
            del entry[name]
        elif kind == 1:
            value = _VALUES[int(rng.integers(len(_VALUES)))]
            entry[name] = json.dumps(value) if entry is header["__metadata__"] else value
        else:
            entry[name] = (token_changed if kind == 2 else bytes_changed)(text.encode(), rng).decode("utf-8", "replace")
        told = json.dumps(header).encode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # changed before
        return data
    return len(told).to_bytes(8, "little") + told + rest


def record_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """A field of one of a zip archive's records made a number at which programs err; other data as they are."""
    places = [place for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for place in _all(data, mark)]
    if not places:
        return data
    place = places[int(rng.integers(len(places)))] + int(rng.integers(4, 46))
    width, number = (2, 4)[int(rng.integers(2))], _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    return data[:place] + (number % 2 ** (8 * width)).to_bytes(width, "little") + data[place + width :]


def _all(data: bytes, mark: bytes) -> list[int]:
    places, place = [], data.find(mark)
    while place >= 0:
        places.append(place)
        place = data.find(mark, place + 1)
    return places


CHANGES: dict[Content, tuple[Change, ...]] = {
    "text": (bytes_changed, span_moved, token_changed, token_changed),
    "binary": (bytes_changed, span_moved, number_changed),
    "png": (bytes_changed, span_moved, chunk_changed, chunk_changed),
    "safetensors": (bytes_changed, span_moved, header_changed, header_changed, header_changed),
    "zip": (bytes_changed, span_moved, record_changed, record_changed),
}
"""Content → the ways of changing it."""
