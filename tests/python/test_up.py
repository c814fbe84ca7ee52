"""`navit-edge up`: export, build-engine and run in one command, judged by `run` and by what is written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke, words
from PIL import Image

from navit_edge.cli import up as up_command
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.model.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small checkpoint and two images."""
    folder = tmp_path_factory.mktemp("up")
    config = NaViTConfig(width=16, depth=1, heads=2, mlp_width=32, num_classes=3)
    save_checkpoint(NaViT(config, seed=0), folder / "small.v1.safetensors")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a.png": (32, 48), "b.png": (64, 16)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / "images" / name)
    return folder


def up(place: Path, *arguments: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    return invoke("up", place / "small.v1.safetensors", place / "images", *arguments)


def scores(text: str) -> list[Any]:
    return [json.loads(line)["top_k"] for line in text.splitlines()]


def test_up_exports_builds_and_gives_what_run_gives_and_does_only_what_is_missing_the_next_time(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = up(place, "--json", "--top-k", 2, folder=tmp_path, monkeypatch=monkeypatch)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "small.v1.navit" / "manifest.json").is_file()

    alone = invoke("run", tmp_path / "small.v1.navit", place / "images", "--json", "--top-k", 2)
    assert scores(result.stdout) == scores(alone.stdout)
    assert len(scores(result.stdout)) == 2
    assert result.stdout.count("\n") == 2, "the steps before say nothing on standard output"

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "small.v1.navit").rglob("*")}
    again = up(place, "--json", "--top-k", 2, folder=tmp_path, monkeypatch=monkeypatch)
    assert scores(again.stdout) == scores(result.stdout)
    assert "is there and unchanged" in again.stderr
    assert "$ navit-edge export" not in again.stderr
    assert "$ navit-edge build-engine" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "small.v1.navit").rglob("*")} == before

    from_bundle = invoke("up", tmp_path / "small.v1.navit", place / "images", "--json", "--top-k", 2)
    assert scores(from_bundle.stdout) == scores(result.stdout)

    steps: list[tuple[str, ...]] = []
    monkeypatch.setattr(up_command, "_step", lambda *words: steps.append(words))
    up(place, "--max-tokens", 2, folder=tmp_path, monkeypatch=monkeypatch)
    assert [words[0] for words in steps] == ["export", "run"]
    assert {"--overwrite", "--max-tokens"} <= set(steps[0])


def test_a_bundle_that_up_did_not_make_is_left_alone(
    place: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.navit").symlink_to(tiny_bundle)
    result = up(place, "--bundle", "other.navit", folder=tmp_path, monkeypatch=monkeypatch)
    assert result.exit_code == 1
    assert "did not make it" in result.stderr


def test_options_of_a_checkpoint_are_refused_with_a_bundle(tiny_bundle: Path, place: Path) -> None:
    result = invoke("up", tiny_bundle, place / "images", "--max-tokens", 4)
    assert result.exit_code == 2
    assert "are for a checkpoint" in words(result.stderr)


def test_what_is_not_there_is_named(place: Path, tmp_path: Path) -> None:
    result = invoke("up", tmp_path / "nothing.safetensors", place / "images")
    assert result.exit_code == 1
    assert "there is no checkpoint or bundle" in result.stderr


def test_a_bundle_with_an_engine_that_runs_here_is_run_as_it_is(tiny_bundle: Path, tmp_path: Path) -> None:
    """And a failed step ends the command with its exit code."""
    before = (tiny_bundle / "manifest.json").read_bytes()
    (tmp_path / "broken.png").write_bytes(b"no image")
    result = invoke("up", tiny_bundle, tmp_path / "broken.png")
    assert (tiny_bundle / "manifest.json").read_bytes() == before
    assert result.exit_code == 1
    assert "1 of 1 images failed" in result.stderr
