"""What Triton's Python backend runs: a session, asked by the server's own rules (``navit_edge.serve``).

The backend calls ``execute`` from one thread and goes on at once; the requests are answered from an event loop in
another. https://github.com/triton-inference-server/python_backend describes what it wants of ``TritonPythonModel``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from navit_edge.machine.cores import usable_cores
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.inference import Answer, infer
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Model, Repository
from navit_edge.serve.request import InferRequest, Parameters
from navit_edge.serve.tensors import InputTensor, OutputTensor, images_of, outputs_of, outputs_wanted, parameters_of
from navit_edge.session import Session
from navit_edge.triton.config import INDEX

T = TypeVar("T")
_log = logging.getLogger("navit_edge.triton")

#: As many requests are worked on at once; others wait in Triton's queue, which has limits of its own.
MOST_REQUESTS = 256
#: Triton limits what a request may hold; an image is limited by its pixels.
LIMITS = Limits(max_images=1 << 20, max_pixels=1 << 28)
#: A client that has gone is found out after so long.
LOOK_S = 0.5
#: Triton's names of what a request may end with.
_CODES = {
    Code.BAD_INPUT: "INVALID_ARG",
    Code.TOO_LARGE: "INVALID_ARG",
    Code.NOT_FOUND: "NOT_FOUND",
    Code.CANCELLED: "CANCELLED",
    Code.INTERNAL: "INTERNAL",
}
_DATATYPES = {np.dtype("u1"): "UINT8", np.dtype("i8"): "INT64", np.dtype("O"): "BYTES"}


class TritonPythonModel:
    """The class that the backend looks for; it calls the methods in this order."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the bundle. What this raises is why Triton could not load the model."""
        self._triton = importlib.import_module("triton_python_backend_utils")
        self._with_parameters = _takes_parameters(self._triton)
        config = json.loads(args["model_config"])
        self._decoupled = bool(config.get("model_transaction_policy", {}).get("decoupled", False))
        self._offered = [output["name"] for output in config["output"]]
        bundle = Path(args["model_repository"], args["model_version"], config["parameters"]["bundle"]["string_value"])
        on_gpu = args["model_instance_kind"] == "GPU"
        device = {"cuda_device": args["model_instance_device_id"]} if on_gpu else None
        threads = 0 if on_gpu else max(1, usable_cores() // config["instance_group"][0]["count"])

        def open_session(path: Path) -> Session:
            return Session(path, device="gpu" if on_gpu else "auto", threads=threads, options=device)

        self._room = threading.BoundedSemaphore(MOST_REQUESTS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="navit-edge triton", daemon=True)
        self._thread.start()
        name = args["model_name"]
        try:
            self.served, self._repository = self.call(self._open({name: bundle}, open_session))
        except BaseException:
            self._stop()
            raise

    def execute(self, requests: Sequence[Any]) -> None:
        """Takes requests; their responses go through the sender of each."""
        for request in requests:
            reply = _Reply(self._triton, request, with_parameters=self._with_parameters)
            self._room.acquire()
            asyncio.run_coroutine_threadsafe(self._answer(request, reply), self._loop)

    def finalize(self) -> None:
        """Answers what was taken, and closes the session."""
        for _ in range(MOST_REQUESTS):
            self._room.acquire()
        try:
            self.call(self._repository.close())
        finally:
            self._stop()

    async def _open(self, bundles: Mapping[str, Path], open_session: Any) -> tuple[Model, Repository]:
        repository = Repository(bundles, limits=LIMITS, open_session=open_session)
        await repository.load()
        (model,) = repository.models.values()
        return model, repository

    async def _answer(self, request: Any, reply: _Reply) -> None:
        """Sends all responses of a request. Keeps the request, whose memory its pixels are in."""
        try:
            try:
                parameters = _parameters(request)
                images = images_of([_input(tensor) for tensor in request.inputs()], LIMITS)
                if not self.served.ready:
                    await self.served.load()  # the engine has failed: a new session
                wanted = self._wanted(request, parameters)
            except Exception as error:
                reply.fail(served(error))
                return
            parts = [[index] for index in range(len(images))] if self._decoupled else [list(range(len(images)))]
            reply.to_come = len(parts)
            pending = {
                asyncio.create_task(
                    self._part(
                        InferRequest(images=[images[i] for i in part], parameters=parameters), part, wanted, reply
                    )
                )
                for part in parts
            }
            while pending:
                _, pending = await asyncio.wait(pending, timeout=LOOK_S)
                if pending and reply.gone():
                    for task in pending:
                        task.cancel()
        except Exception:
            _log.exception("a request could not be answered; this is a bug")
        finally:
            self._room.release()

    async def _part(self, request: InferRequest, part: Sequence[int], wanted: Sequence[str], reply: _Reply) -> None:
        """One response."""
        try:
            answer: Answer = await infer(self.served, request, first=part[0])
            outputs = outputs_of(answer.results, wanted, request.parameters)
        except asyncio.CancelledError:
            reply.fail(ServeError(Code.CANCELLED, "the client has gone; the image was taken back"))
        except Exception as error:
            reply.fail(served(error))
        else:
            index = OutputTensor(name=INDEX, datatype="INT32", shape=(len(part),), array=np.asarray(part, np.int32))
            reply.send([*outputs, index], parameters_of(answer.results))

    def _wanted(self, request: Any, parameters: Parameters) -> tuple[str, ...]:
        """Triton says all outputs of the model if the client names none."""
        asked = set(request.requested_output_names())
        names = [] if asked.issuperset(self._offered) else [name for name in self._offered if name in asked - {INDEX}]
        return outputs_wanted(names, self.served.opened.manifest, parameters)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """In the event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Reply:
    """The way back to the client of one request; for the event loop alone. to_come: responses; the last ends it."""

    def __init__(self, triton: Any, request: Any, *, with_parameters: bool) -> None:
        self.to_come = 1
        self._with_parameters = with_parameters
        self._triton = triton
        self._sender = request.get_response_sender()

    def send(self, outputs: Sequence[OutputTensor], parameters: Mapping[str, int | str]) -> None:
        tensors = [self._triton.Tensor(output.name, _array(output)) for output in outputs]
        more = {"parameters": dict(parameters)} if self._with_parameters else {}
        self._send(self._triton.InferenceResponse(tensors, **more))

    def fail(self, error: ServeError) -> None:
        code = getattr(self._triton.TritonError, _CODES.get(error.code, "UNAVAILABLE"))
        self._send(self._triton.InferenceResponse(error=self._triton.TritonError(error.message, code)))

    def gone(self) -> bool:
        return bool(self._sender.is_cancelled())

    def _send(self, response: Any) -> None:
        self.to_come -= 1
        last = self._triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL if self.to_come == 0 else 0
        try:
            self._sender.send(response, flags=last)
        except Exception:  # of Triton: the others of the request go on
            _log.exception("a response could not be sent")


def _takes_parameters(triton: Any) -> bool:
    """Whether responses may have parameters: not yet in Triton 24.10."""
    try:
        triton.InferenceResponse([], parameters={})
    except TypeError:
        return False
    return True


def _parameters(request: Any) -> Parameters:
    """Raises ServeError. Triton keeps ``priority`` for its own queue, so that the session's has another name."""
    values = json.loads(request.parameters() or "{}")
    return Parameters.of(values | {"timeout": request.timeout(), "priority": values.get("session_priority")})


def _input(tensor: Any) -> InputTensor:
    array = tensor.as_numpy()
    name, datatype, shape = tensor.name(), _DATATYPES.get(array.dtype, str(array.dtype)), tuple(array.shape)
    if datatype == "BYTES":
        return InputTensor(name=name, datatype=datatype, shape=shape, values=array.tolist())
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return InputTensor(name=name, datatype=datatype, shape=shape, raw=raw)


def _array(output: OutputTensor) -> np.ndarray[Any, Any]:
    if isinstance(output.array, list):
        return np.asarray(output.array, object).reshape(output.shape)
    return np.ascontiguousarray(output.array)
