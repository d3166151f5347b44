"""Tensors of files that `torch.save` wrote before torch 1.6, read without torch and without pickle.

Such a file is five pickles and the tensors' bytes. Unpickling runs whatever a file asks for; here a machine of our own
knows only the operations that such files need, builds numbers, text, tuples, lists and dictionaries with them, and
refuses everything else. Format: torch/serialization.py, `_legacy_save`.
"""

import io
import math
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

MAX_BYTES = 2**30  # of a file, and thereby of all that is made of it
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_AXES = 8
_MAX_OPERATIONS = 1_000_000  # of a pickle
_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}


class _Name(NamedTuple):
    """A Python object that a pickle asks for; it is never looked up."""

    module: str
    name: str


class _Storage(NamedTuple):
    """Bytes that follow the pickles, and that tensors are views of."""

    key: str
    type: str  # NumPy's
    size: int  # elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int  # in elements, as are the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ordered(dict):
    """An OrderedDict, whose attributes a pickle may set and nobody reads."""


_DICT = _Name("collections", "OrderedDict")
_REBUILD = _Name("torch._utils", "_rebuild_tensor_v2")
_MARK = object()


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name → tensor of a state dict in torch's legacy `.pth` format; the arrays are read-only.

    Raises:
        ValueError: the file is of another format, or larger than `MAX_BYTES`; it is cut short or damaged; or it asks
            for anything but tensors by name.
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than the bound of {MAX_BYTES}")
    try:
        return _state(path.read_bytes())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} is no legacy state dict of torch: {error}") from error


def _state(content: bytes) -> dict[str, np.ndarray]:
    if content.startswith(b"PK"):
        raise ValueError(
            "it is a zip archive, as torch writes since 1.6; save it by "
            "torch.save(state, path, _use_new_zipfile_serialization=False)"
        )
    file = io.BytesIO(content)
    magic, protocol, system = (_unpickled(file) for _ in range(3))
    if type(magic) is not int or magic != _MAGIC:
        raise ValueError("it does not begin with torch's magic number")
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise ValueError(f"its protocol must be {_PROTOCOL}")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("its numbers must be little-endian")
    named, keys = _unpickled(file), _unpickled(file)
    if not isinstance(named, dict) or not all(type(tensor) is _Tensor for tensor in named.values()):
        raise ValueError("it must hold tensors by name, and nothing else")
    storages = {tensor.storage.key: tensor.storage for tensor in named.values()}
    if type(keys) is not list or not all(type(key) is str for key in keys) or set(keys) != set(storages):
        raise ValueError("the storages that it lists must be those of its tensors")
    filled = {key: _filled(file, storages[key], len(content)) for key in keys}
    if file.tell() != len(content):
        raise ValueError(f"{len(content) - file.tell()} bytes follow its end")
    return {name: _viewed(name, tensor, filled[tensor.storage.key]) for name, tensor in named.items()}


def _filled(file: io.BytesIO, storage: _Storage, end: int) -> np.ndarray:
    """The elements of the storage that is next in the file: their number in eight bytes, then they."""
    head, width = file.read(8), np.dtype(storage.type).itemsize
    count = int.from_bytes(head, "little", signed=True)
    if len(head) < 8 or count != storage.size:
        raise ValueError(f"storage {storage.key[:40]!r} must have {storage.size} elements, the file says {count}")
    if count * width > end - file.tell():
        raise ValueError(f"storage {storage.key[:40]!r} is cut short: it has {count * width} bytes")
    return np.frombuffer(file.read(count * width), storage.type)


def _viewed(name: str, tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """The tensor, if all of it lies in its storage and it has no more elements than that."""
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if not 0 < math.prod(tensor.shape) <= storage.size or last >= storage.size:
        raise ValueError(f"tensor {name[:200]!r} of shape {tensor.shape} must lie in its storage of {storage.size}")
    strides = [step * storage.itemsize for step in tensor.strides]
    return np.ndarray(tensor.shape, storage.dtype, storage, tensor.offset * storage.itemsize, strides)


def _unpickled(file: io.BytesIO) -> Any:
    """What the next pickle of a file builds."""
    machine = _Machine()
    try:
        for _ in range(_MAX_OPERATIONS):
            name, argument = _operation(file)
            if name == "STOP":
                (result,) = machine.stack
                return result
            machine.step(name, argument)
    except (IndexError, KeyError, StopIteration, TypeError) as error:
        raise ValueError("a pickle in it is damaged") from error
    raise ValueError(f"a pickle in it has more than {_MAX_OPERATIONS} operations")


def _operation(file: io.BytesIO) -> tuple[str, Any]:
    """The next operation of a pickle: its name, and its argument or None."""
    code = _exactly(file, 1)
    if code not in _OPERATIONS:
        raise ValueError(f"a pickle in it asks for the operation {code!r}, which tensors do not need")
    name, width = _OPERATIONS[code]
    argument: Any = int.from_bytes(_exactly(file, width), "little", signed=name == "BININT") if width else None
    if name == "LONG1":
        argument = int.from_bytes(_exactly(file, argument), "little", signed=True)
    elif name == "BINUNICODE":
        argument = _exactly(file, argument).decode()
    elif name == "GLOBAL":
        argument = _Name(*(file.readline().decode("ascii").rstrip("\n") for _ in range(2)))
    return name, argument


def _exactly(file: io.BytesIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise ValueError("it is cut short within a pickle")
    return content


_OPERATIONS = {
    b"\x80": ("PROTO", 1),
    b".": ("STOP", 0),
    b"(": ("MARK", 0),
    b"N": ("NONE", 0),
    b"\x88": ("NEWTRUE", 0),
    b"\x89": ("NEWFALSE", 0),
    b"J": ("BININT", 4),
    b"K": ("BININT1", 1),
    b"M": ("BININT2", 2),
    b"\x8a": ("LONG1", 1),
    b"X": ("BINUNICODE", 4),
    b"c": ("GLOBAL", 0),
    b"q": ("BINPUT", 1),
    b"r": ("LONG_BINPUT", 4),
    b"h": ("BINGET", 1),
    b"j": ("LONG_BINGET", 4),
    b")": ("EMPTY_TUPLE", 0),
    b"]": ("EMPTY_LIST", 0),
    b"}": ("EMPTY_DICT", 0),
    b"t": ("TUPLE", 0),
    b"\x85": ("TUPLE1", 0),
    b"\x86": ("TUPLE2", 0),
    b"\x87": ("TUPLE3", 0),
    b"a": ("APPEND", 0),
    b"e": ("APPENDS", 0),
    b"s": ("SETITEM", 0),
    b"u": ("SETITEMS", 0),
    b"R": ("REDUCE", 0),
    b"b": ("BUILD", 0),
    b"Q": ("BINPERSID", 0),
}
"""What a machine does by its code: the name, as Python's `pickletools` has it, and the bytes of the number after it."""


class _Machine:
    """The part of pickle's stack machine that tensors need. Only text and plain numbers are ever hashed or compared:
    what a stranger nests in itself cannot be walked.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        """Carries out one operation."""
        stack = self.stack
        if code in _CONSTANTS:
            stack.append(argument if _CONSTANTS[code] is ... else _CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code == "GLOBAL":
            stack.append(_allowed(argument))
        elif code in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif code == "MARK":
            stack.append(_MARK)
        elif code in _TUPLES:
            count = _TUPLES[code]
            stack[-count:] = [tuple(stack[-count:])]
        elif code != "PROTO":
            self._combine(code)

    def _combine(self, code: str) -> None:
        stack = self.stack
        if code == "TUPLE":
            stack.append(tuple(self._marked()))
        elif code == "APPEND":
            _of(stack[-2], list).append(stack.pop())
        elif code == "APPENDS":
            items = self._marked()
            _of(stack[-1], list).extend(items)
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _of(stack[-1], dict)[_of(key, str)] = value
        elif code == "SETITEMS":
            items = self._marked()
            _of(stack[-1], dict).update(zip((_of(key, str) for key in items[::2]), items[1::2], strict=True))
        elif code == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_called(_of(function, _Name), _of(arguments, tuple)))
        elif code == "BUILD":
            stack.pop()
            _of(stack[-1], _Ordered)
        elif code == "BINPERSID":
            stack.append(_storage(*_of(stack.pop(), tuple)))

    def _marked(self) -> list[Any]:
        """Takes what lies above the last mark off the stack."""
        place = next(i for i in reversed(range(len(self.stack))) if self.stack[i] is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items


_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), ...),
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
"""Operation → what it puts on the stack; ... for its argument."""
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _allowed(name: _Name) -> _Name:
    if name not in (_DICT, _REBUILD) and not (name.module == "torch" and name.name in _TYPES):
        raise ValueError(f"a pickle in it asks for {'.'.join(name)[:200]!r}; tensors by name need no such thing")
    return name


def _called(function: _Name, arguments: tuple) -> Any:
    """What the two functions that a state dict calls would return."""
    if function == _DICT and not arguments:
        return _Ordered()
    if function != _REBUILD or not 6 <= len(arguments) <= 7:
        raise ValueError(f"a pickle in it calls {'.'.join(function)} in no way that tensors need")
    storage, offset, shape, strides = arguments[:4]
    for sides in (shape, strides):
        if len(_of(sides, tuple)) > _MAX_AXES or any(_of(side, int) < 0 for side in sides):
            raise ValueError(f"a tensor must have at most {_MAX_AXES} axes, of sides and steps that are not negative")
    if len(shape) != len(strides) or _of(offset, int) < 0:
        raise ValueError("a tensor must have a step for every side, and start within its storage")
    return _Tensor(_of(storage, _Storage), offset, shape, strides)


def _storage(kind: Any, name: Any, key: Any, place: Any, count: Any, view: Any = None) -> _Storage:
    """A storage by what a pickle says of it; `place` is a device, of no interest here."""
    if _of(kind, str) != "storage" or view is not None or _of(count, int) < 0:
        raise ValueError("a pickle in it refers to something that is no whole storage")
    return _Storage(_of(key, str), _TYPES[_of(name, _Name).name], count)


def _of(value: Any, kind: type) -> Any:
    """`value`, if it is just of this type, or of a dictionary's."""
    if type(value) is not kind and not (kind is dict and type(value) is _Ordered):
        raise ValueError(f"a pickle in it has a {type(value).__name__} where a {kind.__name__} belongs")
    return value
