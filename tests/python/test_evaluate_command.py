"""The command `navit-edge evaluate`: its table, its report, its picture, and wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import evaluate_cases
import msgspec
import pytest
from command_line import invoke, words
from evaluate_cases import CAP, without_times
from PIL import Image

from navit_edge.evaluate import Report

bundle, data, whole = evaluate_cases.bundle, evaluate_cases.data, evaluate_cases.whole


def test_the_command_prints_a_table_or_the_report_and_draws_it(
    whole: Report, bundle: Path, data: Path, tmp_path: Path
) -> None:
    out, picture = tmp_path / "out", tmp_path / "front.png"
    arguments = ["evaluate", bundle, data, "--tokens", f"0,{CAP}", "--timed-images", 4, "--duration", 0, "-o", out]
    done = invoke(*arguments, "--recall", "none", "--plot", picture)
    assert done.exit_code == 0, done.output
    assert "recall@" not in done.stdout
    first = whole.rows[0].top1
    assert f"{first.value * 100:.1f} ({first.low * 100:.1f} to {first.high * 100:.1f})" in done.stdout
    assert "40 images do not show whether 1 of 1 rows lose 1 point or more" in words(done.stdout)
    assert "images that failed and do not count: 1" in words(done.stdout)
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
    done = invoke(*arguments, "--resume", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    report = msgspec.convert(json.loads(done.stdout), Report)
    assert without_times(report) == without_times(whole)
    timing = report.rows[0].timing
    assert timing is not None
    assert timing.images == 4
    assert json.loads((out / "report.json").read_text()) == json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "without --output there is nothing to continue"),
        (["--policy", "quick"], 'policy "quick": unknown'),
        (["--tokens", "a,b"], "tokens 'a,b'; expected whole numbers"),
        (["--timed-images", "0", "--plot", "a.png"], "there is no time to draw"),
    ],
)
def test_wrong_usage_ends_before_the_bundle_is_read(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = invoke("evaluate", tmp_path / "none.navit", tmp_path, *arguments)
    assert done.exit_code == 2
    assert message in words(done.stderr)


def test_arguments_the_other_way_round_are_named(bundle: Path, data: Path) -> None:
    done = invoke("evaluate", data, bundle)
    assert done.exit_code == 2
    assert "the bundle comes first: navit-edge evaluate" in words(done.stderr)
