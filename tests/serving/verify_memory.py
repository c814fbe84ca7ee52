"""A server's memory does not grow with the number of requests: 100,000 of them, good, bad and cancelled, over HTTP and
gRPC. In `make test-serving`."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import numpy as np
from PIL import Image
from tritonclient.grpc import service_pb2 as pb

REQUESTS = int(os.environ.get("NAVIT_EDGE_MEMORY_REQUESTS", "100000"))
#: Of all requests, before the first look at the memory: caches fill, the allocator finds its size.
WARM_UP = 0.3
#: Looks at the memory afterwards; their first half against their second.
LOOKS = 14
#: What a median of one half may lie above that of the other: an allocator's arenas come and go by as much.
MOST_GROWTH_BYTES = 4 << 20
FOR_EVER_S = 120.0
INFER = "/v2/models/tiny/infer"


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(file, "PNG")
    return file.getvalue()


@contextmanager
def served(bundle: Path) -> Iterator[tuple[int, str, str]]:
    """The command: its process, and the addresses of HTTP and gRPC."""
    command = [
        sys.executable,
        "-m",
        "navit_edge",
        "serve",
        str(bundle),
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
    ]
    with subprocess.Popen([*command, "--threads", "1"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            found: dict[str, str] = {}
            for line in server.stderr:
                found |= dict(re.findall(r"^(http|grpc)://(\S+)", line))
                if "Ctrl-C answers" in line:
                    break
            yield server.pid, found["http"], found["grpc"]
        finally:
            server.terminate()
            server.wait(FOR_EVER_S)
    assert server.returncode == 0


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Client:
    """Sends one round of requests of every kind."""

    def __init__(self, over_http: str, over_grpc: str) -> None:
        self._http = http.client.HTTPConnection(over_http, timeout=FOR_EVER_S)
        self._channel = grpc.insecure_channel(over_grpc)
        self._infer = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}
        self._bodies = [
            (INFER, json.dumps({"inputs": [pixels]}).encode(), {}, 200),
            (INFER, png(), {"Inference-Header-Content-Length": "0"}, 200),
            (INFER, b"no image", {"Inference-Header-Content-Length": "0"}, 400),
            ("/v2/models/none/infer", b"{}", {}, 404),
        ]
        good = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[bytes(144)])
        good.inputs.add(name="pixels", datatype="UINT8", shape=[2, 6, 4, 3])
        file = pb.ModelInferRequest(model_name="tiny")
        file.inputs.add(name="images", datatype="BYTES", shape=[1]).contents.bytes_contents.append(png())
        bad = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[b"123"])
        bad.inputs.add(name="pixels", datatype="UINT8", shape=[2, 6, 4, 3])
        self._messages = [(good.SerializeToString(), "OK"), (file.SerializeToString(), "OK")]
        self._messages.append((bad.SerializeToString(), "INVALID_ARGUMENT"))

    def round(self) -> int:
        """How many requests it was."""
        cancelled = self._infer.future(self._messages[0][0])
        calls = [(self._infer.future(message, timeout=FOR_EVER_S), code) for message, code in self._messages]
        cancelled.cancel()
        for path, body, headers, status in self._bodies:
            self._http.request("POST", path, body, headers)
            answer = self._http.getresponse()
            answer.read()
            assert answer.status == status
        for call, code in calls:
            assert call.code().name == code
        return len(self._bodies) + len(calls) + 1

    def close(self) -> None:
        self._http.close()
        self._channel.close()


def test_memory_is_flat_over_a_hundred_thousand_requests(job_bundle: Path) -> None:
    with served(job_bundle) as (pid, over_http, over_grpc):
        sent, looks = 0, []
        every = REQUESTS * (1 - WARM_UP) / LOOKS
        with closing(Client(over_http, over_grpc)) as client:
            while len(looks) < LOOKS:
                sent += client.round()
                if sent >= REQUESTS * WARM_UP + every * (len(looks) + 1):
                    looks.append(resident_bytes(pid))
    print(f"{sent} requests; resident MiB: {[round(one / (1 << 20), 1) for one in looks]}")
    grown = statistics.median(looks[LOOKS // 2 :]) - statistics.median(looks[: LOOKS // 2])
    assert grown < MOST_GROWTH_BYTES, looks
