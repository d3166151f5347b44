"""Torch's legacy files: tensors come out as they went in, and a hostile file gets nothing but an error."""

import collections
import contextlib
import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from hpax.models import torch_pth

SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class _Fake:
    """What pickles by calling `function` with `arguments`, or by the persistent id `pid`."""

    def __init__(self, function=None, arguments=(), pid=None):
        self.function, self.arguments, self.pid = function, arguments, pid

    def __reduce__(self):
        return self.function, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return getattr(obj, "pid", None)


def _pickled(*objects):
    file = io.BytesIO()
    for obj in objects:
        _Pickler(file, protocol=2).dump(obj)
    return file.getvalue()


@pytest.fixture
def torch(monkeypatch):
    """Stands in for torch, of which a pickle holds the names alone."""

    def _rebuild_tensor_v2():
        raise AssertionError("nothing in a file may be called")

    fake = types.ModuleType("torch")
    for name in ("FloatStorage", "LongStorage", "HalfStorage", "QUInt8Storage"):
        setattr(fake, name, type(name, (), {"__module__": "torch"}))
    fake._utils = types.ModuleType("torch._utils")
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    fake._utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setitem(sys.modules, "torch._utils", fake._utils)
    return fake


def _tensor(torch, key, kind, count, offset, shape, strides):
    storage = _Fake(pid=("storage", getattr(torch, kind), key, "cpu", count, None))
    arguments = (storage, offset, shape, strides, False, collections.OrderedDict())
    return _Fake(torch._utils._rebuild_tensor_v2, arguments)


def _file(state, storages, *, keys=None, head=(0x1950A86A20F9469CFC6C, 1001, SYSTEM)):
    """A legacy file, made as torch's `_legacy_save` does."""
    content = _pickled(*head, state, sorted(storages) if keys is None else keys)
    for key in sorted(storages):
        content += storages[key].size.to_bytes(8, "little") + storages[key].tobytes()
    return content


NUMBERS = np.arange(24, dtype=np.float32)


def _one(torch, **wrong):
    """A file with one tensor of 24 numbers, of which something may be wrong."""
    what = {"key": "7", "kind": "FloatStorage", "count": 24, "offset": 0, "shape": (2, 12), "strides": (12, 1)} | wrong
    return _file({"a": _tensor(torch, **what)}, {"7": NUMBERS})


@pytest.fixture
def load(tmp_path):
    def loaded(content):
        path = tmp_path / "net.pth"
        path.write_bytes(content)
        return torch_pth.load(path)

    return loaded


def test_tensors_come_out_as_they_went_in(load, torch):
    """Views with offsets and turned axes, tensors that share a storage, other types; metadata is passed over."""
    state = collections.OrderedDict(
        {
            "whole": _tensor(torch, "1", "FloatStorage", 24, 0, (2, 3, 4), (12, 4, 1)),
            "turned": _tensor(torch, "1", "FloatStorage", 24, 1, (4, 3), (1, 4)),
            "step": _tensor(torch, "2", "LongStorage", 1, 0, (), ()),
            "half": _tensor(torch, "3", "HalfStorage", 2, 0, (2,), (1,)),
        }
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    storages = {"1": NUMBERS, "2": np.array([-5]), "3": np.array([0.5, -2], np.float16)}
    tensors = load(_file(state, storages))
    assert list(tensors) == list(state)
    np.testing.assert_array_equal(tensors["whole"], NUMBERS.reshape(2, 3, 4))
    np.testing.assert_array_equal(tensors["turned"], NUMBERS[1:13].reshape(3, 4).T)
    assert tensors["step"] == -5
    np.testing.assert_array_equal(tensors["half"], storages["3"])
    with pytest.raises(ValueError, match="read-only"):
        tensors["turned"][0, 0] = 1


@pytest.mark.parametrize("call", [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)), (bytearray, (10**12,))])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused(load, tmp_path, call, protocol):
    touched = tmp_path / "touched"
    function, arguments = call
    arguments = tuple(text.format(touched) if isinstance(text, str) else text for text in arguments)
    attack = pickle.dumps(_Fake(function, arguments), protocol)
    for content in (attack, _pickled(0x1950A86A20F9469CFC6C, 1001, SYSTEM) + attack):
        with pytest.raises(ValueError, match="a pickle in it asks for"):
            load(content)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"offset": 1}, "must lie in its storage of 24"),
        ({"shape": (3, 12)}, "must lie in its storage"),
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, "must lie in its storage"),
        ({"shape": (2, 12), "strides": (12, 2)}, "must lie in its storage"),
        ({"shape": (0, 10**30)}, "must lie in its storage"),
        ({"shape": (1, 24), "strides": (10**30, 1)}, "no legacy state dict"),
        ({"offset": -1}, "start within its storage"),
        ({"strides": (-12, 1)}, "not negative"),
        ({"strides": (1,)}, "a step for every side"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "at most 8 axes"),
        ({"shape": (2.0, 12)}, "the operation b'G'"),
        ({"shape": ("2", 12)}, "a str where a int belongs"),
        ({"count": 23}, "must have 23 elements, the file says 24"),
        ({"key": "8"}, "must be those of its tensors"),
        ({"kind": "QUInt8Storage"}, "'torch.QUInt8Storage'"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(load, torch, wrong, told):
    np.testing.assert_array_equal(load(_one(torch))["a"], NUMBERS.reshape(2, 12))
    with pytest.raises(ValueError, match=told):
        load(_one(torch, **wrong))


def test_what_is_no_state_dict_is_refused(load, torch, monkeypatch):
    tensor = _tensor(torch, "7", "FloatStorage", 24, 0, (24,), (1,))
    good = {"state": {"a": tensor}, "storages": {"7": NUMBERS}}
    heads = [(1, 1001, SYSTEM), (0x1950A86A20F9469CFC6C, 1002, SYSTEM), (0x1950A86A20F9469CFC6C, 1001, {})]
    for head, told in zip(heads, ("magic", "protocol must be 1001", "little-endian"), strict=True):
        with pytest.raises(ValueError, match=told):
            load(_file(**good, head=head))
    for state in ([tensor], {"a": 5, "b": tensor}, {"a": {"b": tensor}}, tensor):
        with pytest.raises(ValueError, match="tensors by name, and nothing else"):
            load(_file(state, {"7": NUMBERS}))
    with pytest.raises(ValueError, match="where a str belongs"):
        load(_file({3: tensor}, {"7": NUMBERS}))
    with pytest.raises(ValueError, match="4 bytes follow its end"):
        load(_file(**good) + b"more")
    with pytest.raises(ValueError, match="_use_new_zipfile_serialization=False"):
        load(b"PK\x03\x04")
    monkeypatch.setattr(torch_pth, "MAX_BYTES", 8)
    with pytest.raises(ValueError, match="more than the bound of 8"):
        load(_file(**good))


def test_a_file_cut_short_or_damaged_gives_an_error_that_says_so(load, torch):
    content = _one(torch)
    for end in range(len(content)):
        with pytest.raises(ValueError, match="no legacy state dict"):
            load(content[:end])
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = rng.integers(256)
        with contextlib.suppress(ValueError):  # a byte of a number, or of a name, may well be another
            assert load(bytes(damaged)).popitem()[1].size <= 24


@pytest.mark.parametrize(
    "bomb",
    [
        b")" + b"q\x00h\x00\x86" * 200 + b".",  # a tuple of itself twice, 200 times over
        b"Nr\xff\xff\xff\xff.",  # remembered under a place that a list would be grown to
        b"(" * 2000 + b"t" * 2000 + b".",
        b"\x96" + (2**40).to_bytes(8, "little") + b".",
    ],
    ids=["shared", "memo", "nested", "bytearray"],
)
def test_bombs_do_not_go_off(load, bomb):
    head = _pickled(0x1950A86A20F9469CFC6C, 1001)
    with pytest.raises(ValueError, match="no legacy state dict") as told:
        load(head + b"\x80\x02" + bomb)
    assert len(str(told.value)) < 1000


def test_a_pickle_of_too_many_operations_is_given_up(load, monkeypatch):
    monkeypatch.setattr(torch_pth, "_MAX_OPERATIONS", 5000)
    with pytest.raises(ValueError, match=r"no legacy state dict.*more than 5000 operations"):
        load(_pickled(0x1950A86A20F9469CFC6C, 1001) + b"\x80\x02" + b"N" * 5000 + b".")
