"""The options of `navit-edge run` for a Ray cluster, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from navit_edge.cli.main import app
from navit_edge.cli.usage import _with_address


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["b", "x.png", "--ray"], ["b", "x.png", "--ray", "auto"]),
        (["--ray", "b", "x.png"], ["--ray", "auto", "b", "x.png"]),
        (["b", "--ray", "--json", "x.png"], ["b", "--ray", "auto", "--json", "x.png"]),
        (["b", "--ray", "local", "x.png"], ["b", "--ray", "local", "x.png"]),
        (["b", "--ray", "auto", "x.png"], ["b", "--ray", "auto", "x.png"]),
        (["b", "--ray", "10.0.0.5:6379", "x.png"], ["b", "--ray", "10.0.0.5:6379", "x.png"]),
        (["b", "--ray", "head-node.example:6379", "x"], ["b", "--ray", "head-node.example:6379", "x"]),
        (["b", "--ray", "[::1]:6379", "x.png"], ["b", "--ray", "[::1]:6379", "x.png"]),
        (["b", "--ray=local", "x.png"], ["b", "--ray=local", "x.png"]),
        (["b", "--ray", "--", "local"], ["b", "--ray", "auto", "--", "local"]),
        (["b", "--", "--ray"], ["b", "--", "--ray"]),
    ],
)
def test_the_option_may_stand_alone_and_takes_no_image_for_an_address(typed: list[str], meant: list[str]) -> None:
    assert _with_address(typed) == meant


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ray-actors", "2"], "--ray-actors: it goes with --ray"),
        (["--ray-shared-paths"], "--ray-shared-paths: it goes with --ray"),
        (["--ray="], "--ray: it is empty"),
        (["--ray", "local", "--trace", "t.json"], "--trace: actors write no trace"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_cluster_is_asked(
    options: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "x.png").touch()
    found = CliRunner().invoke(app, ["run", str(tmp_path / "none.navit"), str(tmp_path / "x.png"), *options])
    assert found.exit_code == 2
    assert words in found.output
