"""Messages that would take much more memory than they have bytes are refused before they are parsed."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from requests_at_random import damaged
from tritonclient.grpc import service_pb2 as pb

from navit_edge.serve.errors import Code, ServeError
from navit_edge.serve.grpc.wire import MOST_NUMBERS_BYTES, MOST_PARTS, OF_INFER, _fields, check_parts


def request() -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[bytes(300), b""])
    made.inputs.add(name="pixels", datatype="UINT8", shape=[-1, 300]).contents.uint_contents.extend([1, 2, 300])
    made.parameters["top_k"].int64_param = -1
    made.parameters["deadline_ms"].double_param = 2.5
    return made


def nested(*numbers: int, content: bytes) -> bytes:
    """``content`` as a field in a field in a field."""
    for number in reversed(numbers):
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        content = bytes([number << 3 | 2]) + length + bytes([size]) + content
    return content


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("inputs", b"\x2a\x00" * (MOST_PARTS + 1)),
        ("raw contents", b"\x3a\x00" * (MOST_PARTS + 1)),
        ("parameters", b"\x22\x00" * (MOST_PARTS + 1)),
        ("parameters of an input", nested(5, content=b"\x22\x00" * (MOST_PARTS + 1))),
        ("empty images", nested(5, 5, content=b"\x42\x00" * (MOST_PARTS + 1))),
        ("numbers one by one", nested(5, 5, content=b"\x20\x01" * (MOST_PARTS + 1))),
        ("many numbers", nested(5, 5, 3, content=bytes(MOST_NUMBERS_BYTES + 1))),
    ],
)
def test_a_message_of_many_small_parts_is_refused(what: str, message: bytes) -> None:
    pb.ModelInferRequest.FromString(message)  # it is one
    with pytest.raises(ServeError, match="raw_input_contents") as caught:
        check_parts(message, OF_INFER)
    assert caught.value.code is Code.TOO_LARGE, what


def test_what_a_client_sends_passes() -> None:
    made = request()
    check_parts(made.SerializeToString(), OF_INFER)
    made.raw_input_contents.append(bytes(20 << 20))
    made.inputs.add(name="images", datatype="BYTES", shape=[64]).contents.bytes_contents.extend([bytes(100_000)] * 64)
    made.inputs.add(name="pixels").contents.uint_contents.extend(bytes(4 << 20))
    check_parts(made.SerializeToString(), OF_INFER)


@given(damaged(request().SerializeToString()) | st.binary(max_size=60))
def test_parts_are_counted_as_the_parser_finds_them(message: bytes) -> None:
    found = [number for number, _, _ in _fields(message, 0, len(message))]
    try:
        parsed = pb.ServerLiveRequest.FromString(message)  # which has no fields: it knows none of them
    except DecodeError:
        return
    expected = [field.field_number for field in UnknownFieldSet(parsed)]
    if not any(number & 7 in (3, 4) for number in message):  # groups, whose fields are counted one by one
        assert found == expected
    assert len(found) >= len(expected)
