"""The C table of backend_abi.h through ctypes: an engine with several slots, without a session."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
#: Values of navit_edge::DType.
DTYPES = {"float32": 1, "uint8": 4, "int32": 5}


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int32), ("message", ctypes.c_char * 1024))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
    )


class _Option(ctypes.Structure):
    _fields_ = (("key", ctypes.c_char_p), ("value", ctypes.c_char_p))


class _Bytes(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("owner", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
    )


class _Description(ctypes.Structure):
    _fields_ = (
        ("content", ctypes.POINTER(_Bytes)),
        ("file", ctypes.c_char_p),
        ("precision", ctypes.c_char_p),
        ("slots", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("options", ctypes.POINTER(_Option)),
        ("option_count", ctypes.c_size_t),
    )


class _Table(ctypes.Structure):
    _fields_ = (
        ("abi_version", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("probe", ctypes.c_void_p),
        (
            "open",
            ctypes.CFUNCTYPE(
                ctypes.c_int32,
                ctypes.POINTER(_Description),
                ctypes.POINTER(ctypes.c_void_p),
                ctypes.POINTER(_Error),
            ),
        ),
        (
            "run",
            ctypes.CFUNCTYPE(
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_int32,
                ctypes.POINTER(_Tensor),
                ctypes.c_size_t,
                ctypes.POINTER(_Tensor),
                ctypes.c_size_t,
                ctypes.POINTER(_Error),
            ),
        ),
        ("close", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        (
            "query",
            ctypes.CFUNCTYPE(
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_char_p,
                ctypes.c_char_p,
                ctypes.c_size_t,
                ctypes.POINTER(ctypes.c_size_t),
                ctypes.POINTER(_Error),
            ),
        ),
        (
            "memory",
            ctypes.CFUNCTYPE(
                ctypes.c_int32,
                ctypes.c_void_p,
                ctypes.c_int32,
                ctypes.c_char_p,
                ctypes.c_size_t,
                ctypes.POINTER(ctypes.c_void_p),
                ctypes.POINTER(_Error),
            ),
        ),
    )


class BackendCallError(Exception):
    """A call of the table that gave an error."""


class OpenEngine:
    """An engine with ``slots`` slots; ``run`` may be called from several threads with different slots."""

    def __init__(self, library: str, plan: str, *, slots: int, options: dict[str, str] | None = None) -> None:
        entry = ctypes.CDLL(library).navit_edge_backend
        entry.restype = ctypes.POINTER(_Table)
        self._table = entry(ctypes.c_uint32(3)).contents
        pairs = [(key.encode(), value.encode()) for key, value in (options or {}).items()]
        chosen = (_Option * len(pairs))(*pairs)
        content = Path(plan).read_bytes()
        self._content = ctypes.create_string_buffer(content, len(content))
        lent = _Bytes(ctypes.addressof(self._content), len(content), None, None)
        description = _Description(ctypes.pointer(lent), plan.encode(), b"fp32", slots, 0, chosen, len(pairs))
        self._handle = ctypes.c_void_p()
        error = _Error()
        self._table.open(ctypes.byref(description), ctypes.byref(self._handle), ctypes.byref(error))
        if error.code != 0:
            raise BackendCallError(error.message.decode())

    def run(self, slot: int, inputs: Arrays, shapes: dict[str, tuple[int, ...]]) -> Arrays:
        """The float32 outputs of ``shapes`` for one pack."""
        outputs: Arrays = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
        error = _Error()
        given, made = _tensors(inputs), _tensors(outputs)
        self._table.run(self._handle, slot, given, len(inputs), made, len(outputs), ctypes.byref(error))
        if error.code != 0:
            raise BackendCallError(error.message.decode())
        return outputs

    def query(self, key: str, capacity: int = 1 << 16) -> str:
        """What the engine says under ``key``, cut off at ``capacity``."""
        text, needed, error = ctypes.create_string_buffer(capacity), ctypes.c_size_t(), _Error()
        self._table.query(self._handle, key.encode(), text, capacity, ctypes.byref(needed), ctypes.byref(error))
        if error.code != 0:
            raise BackendCallError(error.message.decode())
        assert len(text.value) == min(needed.value, capacity) - 1
        return text.value.decode()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.query("report"))
        return found

    def memory(self, slot: int, name: str, size: int) -> int | None:
        """The address of the engine's memory for an input of ``size`` bytes, where it has any."""
        address, error = ctypes.c_void_p(), _Error()
        self._table.memory(self._handle, slot, name.encode(), size, ctypes.byref(address), ctypes.byref(error))
        if error.code != 0:
            raise BackendCallError(error.message.decode())
        return address.value

    def lend(self, slot: int, inputs: Arrays) -> Arrays:
        """The same inputs, written into the engine's own memory."""
        lent: Arrays = {}
        for name, array in inputs.items():
            address = self.memory(slot, name, array.nbytes)
            assert address is not None, name
            place = (ctypes.c_uint8 * array.nbytes).from_address(address)
            lent[name] = np.frombuffer(place, array.dtype).reshape(array.shape)
            lent[name][...] = array
        return lent

    def close(self) -> None:
        self._table.close(self._handle)


def _tensors(arrays: Arrays) -> Any:
    tensors = (_Tensor * len(arrays))()
    for tensor, (name, array) in zip(tensors, arrays.items(), strict=True):
        assert array.flags.c_contiguous
        tensor.name, tensor.dtype, tensor.rank = name.encode(), DTYPES[array.dtype.name], array.ndim
        tensor.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor.data = array.ctypes.data
    return tensors
