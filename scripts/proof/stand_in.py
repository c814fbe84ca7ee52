"""The stand-in for TensorRT (tests/gpu) from Python: graphs that are captured here and launched by its engines.

On a GPU PyTorch captures the graph. In a rehearsal the simulated CUDA (tests/simulator) is loaded in place of NVIDIA's
libraries, and the graph is one call of the host that computes in PyTorch on the CPU.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proof.cuda_calls import Cuda
from proof.onnx_on_torch import Bound, Graph

Arrays = Mapping[str, npt.NDArray[np.generic]]
FOLDER = "stand_in_on_cuda"
LIBRARY = "libnvinfer.so.10"
#: Of nvinfer1::DataType.
_TYPES = {torch.float32: 0, torch.float16: 1, torch.int32: 3, torch.uint8: 5, torch.bfloat16: 7}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("type", ctypes.c_int32), ("input", ctypes.c_int32), ("rank", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("address", ctypes.c_uint64), ("bytes", ctypes.c_uint64),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Where a captured graph reads or writes one of its tensors. address: on the device."""

    name: str
    like: Tensor
    address: int
    input: bool


class StandIn:
    """The library that an engine opens as TensorRT; ``folder`` goes into option ``tensorrt_dir``."""

    def __init__(self, libraries: Path) -> None:
        self.folder = libraries / FOLDER
        self._library = ctypes.CDLL(str(self.folder / LIBRARY))
        self._library.navit_edge_stand_in_add.restype = ctypes.c_char_p
        self._kept: dict[str, list[Capture]] = {}

    @property
    def version(self) -> str:
        """Of TensorRT's headers that it was compiled with, as "10.14.1"."""
        number = int(self._library.getInferLibVersion())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    @property
    def unknown_calls(self) -> int:
        """How many functions of TensorRT were called that it does not have."""
        return int(self._library.navit_edge_stand_in_unknown_calls())

    def add(self, model: str, budget: int, capture: Capture) -> None:
        """Keeps a graph for the engines of a model. Budgets come in their order, each as often as there are slots."""
        tensors = (_Tensor * len(capture.memory))()
        for tensor, one in zip(tensors, capture.memory, strict=True):
            tensor.name, tensor.type, tensor.input = one.name.encode(), _TYPES[one.like.dtype], int(one.input)
            tensor.rank, tensor.shape = one.like.ndim, (ctypes.c_int64 * one.like.ndim)(*one.like.shape)
            tensor.address, tensor.bytes = one.address, one.like.nbytes
        wrong = self._library.navit_edge_stand_in_add(
            model.encode(), ctypes.c_uint64(budget), ctypes.c_void_p(capture.graph), tensors,
            ctypes.c_uint64(len(tensors)),
        )  # fmt: skip
        if wrong is not None:
            raise RuntimeError(f"the stand-in refuses a graph of {model}: {wrong.decode()}")
        self._kept.setdefault(model, []).append(capture)

    def forget(self, model: str) -> None:
        """Lets a model's graphs go; its engines must be closed."""
        self._library.navit_edge_stand_in_forget(model.encode())
        for capture in self._kept.pop(model, ()):
            capture.close()

    def plan(self, model: str, *, arena_bytes: int = 1 << 20, refuses_captures: bool = False) -> bytes:
        """The content of an engine file."""
        lines = ["navit-edge plan for the stand-in on CUDA", f"model {model}", f"arena {arena_bytes}"]
        return "\n".join([*lines, *(["refuses captures"] if refuses_captures else [])]).encode()


class Capture:
    """A CUDA graph of a bound ONNX graph, and the memory that it works on.

    graph: cudaGraph_t. memory: inputs, then outputs. run: the same pass by PyTorch alone, until it is done.
    """

    graph: int
    memory: list[Memory]
    run: Callable[[], object]

    def close(self) -> None:
        """Lets go of what it has, once nothing launches the graph any more."""


class CaptureByTorch(Capture):
    """On a GPU."""

    def __init__(self, graph: Graph, inputs: Arrays) -> None:
        given = {name: torch.from_numpy(np.array(inputs[name])).cuda() for name in graph.inputs}
        bound = Bound(graph, given)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                bound.again()
        torch.cuda.current_stream().wait_stream(stream)
        self._captured = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.graph(self._captured):
            outputs = {name: value.contiguous() for name, value in bound.again().items()}
        torch.cuda.synchronize()
        self._held: Any = (bound, given, outputs)
        self.graph = int(self._captured.raw_cuda_graph())
        self.memory = [Memory(name=name, like=one, address=one.data_ptr(), input=True) for name, one in given.items()]
        self.memory += [
            Memory(name=name, like=one, address=one.data_ptr(), input=False) for name, one in outputs.items()
        ]

        def run() -> None:
            self._captured.replay()
            torch.cuda.synchronize()

        self.run = run

    def close(self) -> None:
        del self._captured, self._held


class CaptureOfHostCall(Capture):
    """In a rehearsal: its tensors are page-locked memory of the simulated CUDA, its only node is a call of the host."""

    def __init__(self, graph: Graph, inputs: Arrays, cuda: Cuda) -> None:
        self._cuda, self._pinned = cuda, list[int]()
        given = {name: self._tensor(torch.from_numpy(np.array(inputs[name])), name, True) for name in graph.inputs}
        bound = Bound(graph, {name: tensor for name, (tensor, _) in given.items()})
        made = {name: self._tensor(value, name, False) for name, value in bound.outputs.items()}

        def compute(_: int | None = None) -> None:
            for tensor, _memory in made.values():
                tensor.fill_(float("nan"))  # what fails leaves no result of an earlier pass
            for name, value in bound.again().items():
                made[name][0].copy_(value)

        self.run = compute
        self._call = cuda.HOST_FUNCTION(compute)
        stream = cuda.make_stream()
        cuda.call("cudaStreamBeginCapture", stream, 0)
        cuda.call("cudaLaunchHostFunc", stream, self._call, None)
        captured = ctypes.c_void_p()
        cuda.call("cudaStreamEndCapture", stream, ctypes.byref(captured))
        cuda.call("cudaStreamDestroy", stream)
        self.graph = captured.value or 0
        self.memory = [memory for _, memory in itertools.chain(given.values(), made.values())]

    def _tensor(self, like: Tensor, name: str, is_input: bool) -> tuple[Tensor, Memory]:
        host, device = self._cuda.mapped(max(like.nbytes, 1))
        self._pinned.append(host)
        place = (ctypes.c_uint8 * like.nbytes).from_address(host)
        tensor = torch.frombuffer(place, dtype=like.dtype).view(like.shape)
        tensor.copy_(like)
        return tensor, Memory(name=name, like=tensor, address=device, input=is_input)

    def close(self) -> None:
        self._cuda.call("cudaGraphDestroy", ctypes.c_void_p(self.graph))
        for host in self._pinned:
            self._cuda.call("cudaFreeHost", ctypes.c_void_p(host))
        self._pinned.clear()


def captures(graph: Graph, budgets: Sequence[Arrays], *, each: int, cuda: Cuda) -> list[list[Capture]]:
    """[budgets][each]: a graph for the shapes of each budget's inputs, ``each`` times."""
    simulated = cuda.simulated
    return [
        [CaptureOfHostCall(graph, inputs, cuda) if simulated else CaptureByTorch(graph, inputs) for _ in range(each)]
        for inputs in budgets
    ]
