"""The images' files and the example for KServe, as far as they can be judged without docker and Kubernetes: what they
copy, install and start exists."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from navit_edge.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*ockerfile"))
KSERVE = ROOT / "examples" / "kserve" / "inference_service.yaml"


def instructions(path: Path) -> list[tuple[str, str]]:
    """(word, the rest) of each, continued lines joined, without comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for line in lines if line.strip() for word, _, rest in [line.partition(" ")]]


def last(path: Path, word: str) -> str:
    return [rest for one, rest in instructions(path) if one == word][-1]


def judge_serve(words: list[str]) -> dict[str, Any]:
    """The values of a command line of navit-edge."""
    commands: Any = typer.main.get_command(app)
    assert words[:2] == ["navit-edge", "serve"]
    context = commands.commands["serve"].make_context("serve", words[2:])
    parameters: dict[str, Any] = context.params
    return parameters


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_serves_as_a_user_without_rights(path: Path) -> None:
    user, _, group = last(path, "USER").partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    assert f"--uid {user} " in last(path, "RUN")
    command = json.loads(last(path, "ENTRYPOINT"))
    given = judge_serve([*command, "model.navit"])
    assert (given["http"], given["grpc"]) == ("0.0.0.0:8000", "0.0.0.0:8001")
    assert last(path, "EXPOSE") == "8000 8001"
    probe = json.loads(last(path, "HEALTHCHECK").partition("CMD ")[2])
    ast.parse(probe[2])
    assert "127.0.0.1:8000/v2/health/ready" in probe[2]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_and_installs_exists(path: Path) -> None:
    extras = set(importlib.metadata.metadata("navit-edge").get_all("Provides-Extra") or ())
    text = "\n".join(rest for word, rest in instructions(path) if word == "RUN")
    (named,) = re.findall(r'"\$\{wheel\}\[([\w,-]+)\]"', text)
    assert "serve" in named.split(",")
    assert set(named.split(",")) <= extras
    for name in re.findall(r"--constraint (\S+)", text):
        assert (ROOT / name).is_file()
    for name in re.findall(r"-C cmake\.define\.(\w+)=", text):
        assert any(name in file.read_text() for file in (ROOT / "CMakeLists.txt", *ROOT.glob("c*/**/*.txt")))
    stages = [rest.partition(" AS ")[2] for word, rest in instructions(path) if word == "FROM"]
    for word, rest in instructions(path):
        if word == "COPY" and rest.startswith("--from="):
            assert rest.removeprefix("--from=").split(" ")[0] in stages


def test_what_a_wheel_is_made_of_goes_to_docker_and_nothing_that_was_built_here() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in sent)
    assert {"CMakeLists.txt", "LICENSE", "README.md", "cmake", "constraints.txt", "csrc", "pyproject.toml"} <= sent
    assert {"python", "export", "docs"} <= sent
    assert not sent & {"build", ".venv", ".git", "demo"}


def test_the_example_for_kserve_starts_the_server_and_probes_it() -> None:
    service = yaml.safe_load(KSERVE.read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    (container,) = predictor["containers"]
    given = judge_serve([*container["command"], *container["args"]])
    (port,) = (one["containerPort"] for one in container["ports"])
    assert given["http"].endswith(f":{port}")
    assert all(container[f"{kind}Probe"]["httpGet"]["port"] == port for kind in ("startup", "readiness", "liveness"))
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert service["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    (mount,) = container["volumeMounts"]
    assert str(given["api_key_file"]).startswith(mount["mountPath"])
    users = {int(last(path, "USER").partition(":")[0]) for path in DOCKERFILES}
    assert users == {predictor["securityContext"]["runAsUser"]}


def test_the_commands_in_the_files_are_those_of_this_package() -> None:
    for path in DOCKERFILES:
        head = path.read_text().partition("FROM")[0]
        commands = re.sub(r"\\\n#\s*", " ", head)
        for line in re.findall(r"(?m)^#\s+(docker build .*)$", commands):
            words = shlex.split(line)
            assert (ROOT / words[words.index("-f") + 1]) == path
