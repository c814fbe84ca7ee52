"""`make demo` and `make test` take PyTorch without CUDA if its index answers. The index is a server of the test."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def torch_index(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/torch_index.py, in a Python without PyTorch."""
    spec = importlib.util.spec_from_file_location("torch_index", repository / "scripts" / "torch_index.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setenv("no_proxy", "*")
    return module


class Index(BaseHTTPRequestHandler):
    """Has the package torch below /cpu and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/cpu/torch/" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_an_index_that_answers_is_where_pytorch_comes_from(torch_index: ModuleType, server: str) -> None:
    assert torch_index.options(f"{server}/cpu") == f"--extra-index-url={server}/cpu"


def test_without_such_an_index_pip_decides(torch_index: ModuleType, server: str) -> None:
    assert torch_index.options(f"{server}/elsewhere") == ""
    with socket.socket() as taken:  # bound and not listening: refuses every connection
        taken.bind(("127.0.0.1", 0))
        assert torch_index.options(f"http://127.0.0.1:{taken.getsockname()[1]}") == ""


def test_a_pytorch_that_is_here_is_left_alone(
    torch_index: ModuleType, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_index, "find_spec", lambda _: object())
    assert torch_index.options(f"{server}/cpu") == ""


def test_doctor_names_the_same_index(torch_index: ModuleType) -> None:
    from navit_edge.doctor.pytorch import CPU_INDEX

    assert torch_index.CPU_INDEX == CPU_INDEX
