"""Requests and answers of the Open Inference Protocol as they lie in a body: JSON, and binary tensors behind it.

https://github.com/kserve/open-inference-protocol and Triton's extension_binary_data.md: with the header
``Inference-Header-Content-Length: n`` the body is n bytes of JSON and then the tensors that have a parameter
``binary_data_size``, in their order. If n is 0 the body is one encoded image, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from navit_edge.serve.errors import bad_input
from navit_edge.serve.tensors import IMAGES, InputTensor, OutputTensor

HEADER_LENGTH = "inference-header-content-length"


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """outputs: names that were asked for. binary: which of them come as binary data; None: all."""

    id: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[str]
    parameters: Mapping[str, Any]
    binary: frozenset[str] | None


_decoder = msgspec.json.Decoder(_Request)


def json_length(body: bytearray, header: str | None) -> int:
    """How many bytes of a body are JSON. header: that of the extension. Raises ServeError."""
    if header is None:
        return len(body)
    if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise bad_input(
            f"Inference-Header-Content-Length is {header[:40]!r}; expected how many of the {len(body):,} bytes of the "
            "body are JSON"
        )
    return int(header)


def parse(body: bytearray, header: str | None, query: Mapping[str, str]) -> Parsed:
    """query: parameters for a body that is an image alone. Raises ServeError."""
    length = json_length(body, header)
    view = memoryview(body)
    if header is not None and length == 0:
        image = InputTensor(name=IMAGES, datatype="BYTES", shape=(1,), values=[view])
        return Parsed(id="", inputs=[image], outputs=(), parameters=query, binary=frozenset())
    try:
        request = _decoder.decode(view[:length])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = str(error) if isinstance(error, msgspec.MsgspecError) else "it is too deep, or no UTF-8"
        raise bad_input(f"the request is not JSON of the Open Inference Protocol: {text[:200]}") from None
    at = length
    inputs = []
    for one in request.inputs:
        size = (one.parameters or {}).get("binary_data_size")
        inputs.append(_input(one, view, at, size))
        at += size or 0
    if at != len(body):
        raise bad_input(
            f"{len(body) - at:,} bytes of the body belong to no input; expected the sum of all binary_data_size"
        )
    parameters = request.parameters or {}
    return Parsed(
        id=request.id,
        inputs=inputs,
        outputs=[one.name for one in request.outputs or ()],
        parameters=parameters,
        binary=_binary(request.outputs or [], parameters.get("binary_data_output", False)),
    )


def _input(one: _Input, body: memoryview, at: int, size: Any) -> InputTensor:
    name = one.name[:80]
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(body) - at:
            raise bad_input(
                f"binary_data_size of the input {name!r} is {str(size)[:40]}; expected at most {len(body) - at:,}, the "
                "bytes that are left behind the JSON"
            )
        if one.data is not None:
            raise bad_input(f"the input {name!r} has data and binary_data_size; expected one of them")
        raw = body[at : at + size]
        return InputTensor(name=one.name, datatype=one.datatype, shape=tuple(one.shape), raw=raw)
    if one.data is None:
        raise bad_input(f"the input {name!r} has no data; expected data, or binary_data_size and the bytes behind JSON")
    values: list[Any] = one.data
    if one.datatype == "BYTES":
        texts = [text for item in values for text in (item if isinstance(item, list) else [item])]
        values = [file_of(text, index) for index, text in enumerate(texts)]
    return InputTensor(name=one.name, datatype=one.datatype, shape=tuple(one.shape), values=values)


def file_of(text: Any, image: int) -> bytes:
    """The file that a text in JSON holds: base64, or a data URL of it. image: its index, for messages. Raises
    ServeError."""
    expected = "expected a file in base64, or a data URL data:image/png;base64,…"
    if not isinstance(text, str):
        raise bad_input(f"image {image} is no text; {expected}", image=image)
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise bad_input(f"image {image} is a data URL without base64; {expected}", image=image)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_input(f"image {image} is no base64; {expected}", image=image) from None


def _binary(outputs: Sequence[_Output], by_default: Any) -> frozenset[str] | None:
    if not outputs:
        return None if by_default is True else frozenset()
    names = set()
    for one in outputs:
        parameters = one.parameters or {}
        if parameters.get("classification"):
            raise bad_input(
                f"the output {one.name[:80]!r} has the parameter classification, which is not there; expected the "
                'parameter top_k of the request, and the outputs "labels" and "scores"'
            )
        if parameters.get("binary_data", by_default) is True:
            names.add(one.name)
    return frozenset(names)


def compose(head: dict[str, Any], outputs: Sequence[OutputTensor], binary: frozenset[str] | None) -> tuple[bytes, int]:
    """The body of an answer, and how many of its bytes are JSON. head: what stands before the outputs."""
    described: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for output in outputs:
        one: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if binary is None or output.name in binary:
            raw.append(output.raw())
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = output.values()
        described.append(one)
    text = msgspec.json.encode({**head, "outputs": described})
    return b"".join((text, *raw)), len(text)
