"""The commands and programs of docs/serving.md, against a server that `navit-edge serve` has started."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docs_pages import Block, fenced, shell_lines
from in_process import png
from PIL import Image

PAGE = "docs/serving.md"
BLOCKS = [block for block in fenced(PAGE) if block.what == "tests/serving/test_docs_serving.py"]
#: A limit on a wait only ends what hangs.
FOR_EVER_S = 120.0


@dataclass(frozen=True)
class Served:
    folder: Path
    http: str
    grpc: str
    process: subprocess.Popen[str]

    def here(self, text: str) -> str:
        """What a page says, for the ports that were free."""
        return text.replace("127.0.0.1:8000", self.http).replace("127.0.0.1:8001", self.grpc)


@pytest.fixture(scope="module")
def served(job_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page's own command to start, with free ports."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(job_bundle, folder / "model.navit")
    (folder / "photos").mkdir()
    for place, name in enumerate(("photo.jpg", "photos/a.png")):
        with Image.open(io.BytesIO(png(40 + place, 60, place))) as image:
            image.save(folder / name)
    command = next(line for block in BLOCKS for line in shell_lines(block) if line.startswith("navit-edge serve"))
    words = [sys.executable, "-m", *command.replace("navit-edge", "navit_edge", 1).split()]
    process = subprocess.Popen(
        [*words, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--access-log", "access.log"],
        cwd=folder, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = ""
    assert process.stderr is not None
    while not said.endswith("and ends\n"):
        line = process.stderr.readline()
        assert line, said
        said += line
    http = re.findall(r"http://(\S+)", said)[0]
    grpc = re.findall(r"grpc://(\S+)", said)[0]
    yield Served(folder, http, grpc, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=FOR_EVER_S)
    assert process.returncode == 0


def programs(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_page_get_answers(served: Served) -> None:
    answers: list[dict[str, Any]] = []
    for block in programs("sh"):
        for line in shell_lines(block):
            if line.startswith("navit-edge serve"):
                continue
            command = served.here(line).replace("curl -s ", "curl -sS --fail-with-body --max-time 120 ")
            finished = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command], cwd=served.folder, capture_output=True, check=False
            )
            assert finished.returncode == 0, f"{block.place}: {line}\n{finished.stderr!r}{finished.stdout!r}"
            if line.startswith("curl"):
                answers.append(json.loads(finished.stdout))
    classes, two, one, protocol = answers
    assert len(classes["data"][0]["top_k"]) == 3
    assert [len(entry["embedding"]) for entry in two["data"]] == [64, 64]
    assert one["data"][0]["embedding"] == pytest.approx(two["data"][0]["embedding"], abs=1e-5)
    assert {"embedding", "grid", "tokens_used"} <= {output["name"] for output in protocol["outputs"]}


@pytest.mark.parametrize("block", programs("python"), ids=lambda block: str(block.line))
def test_the_programs_of_the_page_get_answers(
    served: Served, block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(served.folder)
    names: dict[str, Any] = {}
    exec(compile("\n" * (block.line - 1) + served.here(block.text), PAGE, "exec"), names)
    if "client" in names:
        names["client"].close()
    assert capsys.readouterr().out
