"""A real ``tritonserver`` over a model repository: the one of NVIDIA's wheel ``nvidia-pytriton``, in ``build/triton``
(``make build/triton/.installed``)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

#: No test waits for so long unless something is wrong.
FOR_EVER_S = 120


@dataclass(frozen=True)
class TritonServer:
    """Addresses, as tritonclient takes them."""

    http: str
    grpc: str


@contextlib.contextmanager
def triton_server(installed: Path, models: Path, folder: Path) -> Iterator[TritonServer]:
    """Serves ``models``. installed: where the wheel is. folder: for the server's own files and its log."""
    home = installed / "pytriton" / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        pytest.skip(f"no Triton for Python {python} in {installed}; `make build/triton/.installed` installs it")
    needs = subprocess.run(["ldd", str(stub)], capture_output=True, text=True, check=False).stdout
    if "not found" in needs:
        pytest.skip(f"Triton's Python backend does not load here: {needs}")
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (*(home / "backends" / "python").iterdir(), stub):
        (backend / file.name).symlink_to(file)  # they find the wheel's libraries from where they lie
    environment = os.environ | {"PATH": f"{python_of_the_stub(installed, folder)}{os.pathsep}{os.environ['PATH']}"}
    command = [
        str(home / "bin" / "tritonserver"), f"--model-repository={models}", "--disable-auto-complete-config",
        f"--backend-directory={backend.parent}", "--allow-metrics=false", "--exit-timeout-secs=5",
        "--http-address=127.0.0.1", "--grpc-address=127.0.0.1",
    ]  # fmt: skip
    for _ in range(10):
        http, grpc = free_ports(2)
        log = folder / f"tritonserver-{http}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"--http-port={http}", f"--grpc-port={grpc}"],
                env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                if ready(process, http):
                    yield TritonServer(http=f"127.0.0.1:{http}", grpc=f"127.0.0.1:{grpc}")
                    return
            finally:
                stop(process)
        said = log.read_text("utf-8", "replace")
        assert "already in use" in said, said  # else another process took the port in between
    raise AssertionError("no port was free ten times")


def python_of_the_stub(installed: Path, folder: Path) -> Path:
    """The backend's process takes the Python that is first in PATH: an environment over this one, with numpy 1.

    The wheel's backend was compiled before numpy 2, and reads the arrays of that wrongly.
    """
    environment = folder / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    here = sysconfig.get_path("purelib")
    (packages / "_first.pth").write_text(f"{installed}\nimport site; site.addsitedir({here!r})\n", "utf-8")
    return environment / "bin"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """False if it has ended."""
    until = time.monotonic() + FOR_EVER_S
    while process.poll() is None and time.monotonic() < until:
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=FOR_EVER_S),
        ):
            return True
        time.sleep(0.05)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
