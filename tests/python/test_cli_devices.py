"""`--devices` of `navit-edge run`, `bench` and `serve`: what is typed, and what the session gets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.devices import devices_of
from navit_edge.cli.main import app

CORES = sorted(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this process may run on one core only")
BOTH = ",".join(f"cpu:{core}" for core in CORES[:2])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", []),
        ("0,1", ["0", "1"]),
        ("gpu:0, gpu:1", ["gpu:0", "gpu:1"]),
        ("cpu:0-3,cpu:4-7", ["cpu:0-3", "cpu:4-7"]),
        ("cpu:0,2,4-5,cpu:1,3", ["cpu:0,2,4-5", "cpu:1,3"]),
        ("numa:0,numa:1", ["numa:0", "numa:1"]),
        ("cpu:0,nonsense", ["cpu:0", "nonsense"]),  # the session says what is wrong with it
    ],
)
def test_commas_part_devices_and_the_cores_of_one(typed: str, meant: list[str]) -> None:
    assert devices_of(typed) == meant


@pytest.mark.parametrize("typed", ["0,", ",1", "cpu:0,,cpu:1", " "])
def test_a_list_with_a_gap_is_refused(typed: str) -> None:
    with pytest.raises(typer.BadParameter, match="empty place"):
        devices_of(typed)


@two_cores
def test_run_gives_the_numbers_of_one_device(job_bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(6)]
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    command = ["run", str(job_bundle), str(tmp_path), "--json", "--save", "embedding", "--devices", BOTH]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.stderr
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    with ne.Session(job_bundle, threads=1) as session:
        for line, result in zip(lines, session.run(images), strict=True):
            np.testing.assert_allclose(line["embedding"], result.embedding, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("command", [["run"], ["bench", "--duration", "0"], ["serve", "--http", "127.0.0.1:0"]])
def test_every_command_hands_the_list_to_its_session(
    command: list[str], job_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def session(*_: Any, devices: list[str], **__: Any) -> ne.Session:
        asked.append(devices)
        raise ne.BackendError("enough")

    monkeypatch.setattr("navit_edge.session.Session", session)
    monkeypatch.setattr("navit_edge.Session", session)
    (tmp_path / "x.png").touch()
    images = [str(tmp_path / "x.png")] if command == ["run"] else []
    off = ["--grpc", "off"] if command[0] == "serve" else []
    found = CliRunner().invoke(app, [*command, str(job_bundle), *images, *off, "--devices", "cpu:0,2,cpu:1"])
    assert found.exit_code == 1, found.output
    assert asked == [["cpu:0,2", "cpu:1"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "BUNDLE", "x.png", "--ray", "local"], "each actor has a device of its own"),
        (["bench", "BUNDLE", "--calibrate"], "times one engine"),
    ],
)
def test_what_has_one_device_of_its_own_takes_no_list(arguments: list[str], words: str, job_bundle: Path) -> None:
    typed = [str(job_bundle) if word == "BUNDLE" else word for word in arguments]
    found = CliRunner().invoke(app, [*typed, "--devices", "0,1"])
    assert found.exit_code == 2
    assert words in found.output


def test_a_device_that_is_none_is_said_by_the_session(job_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    found = CliRunner().invoke(app, ["run", str(job_bundle), str(tmp_path / "x.png"), "--devices", "tpu:0"])
    assert found.exit_code == 1
    assert 'devices has "tpu:0"' in found.stderr
