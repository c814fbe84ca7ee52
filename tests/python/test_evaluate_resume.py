"""Evaluations that keep their results: what is added, what goes on after a break, what is refused."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate_cases
import msgspec
import pytest
from command_line import COMMAND
from evaluate_cases import CAP, CLASSES, IMAGES, UNTIMED, without_times

import navit_edge as ne
from navit_edge.errors import InvalidInputError
from navit_edge.evaluate import EvaluateRequest, Report, evaluate, runner
from navit_edge.run.sinks.arrays import ArraysSink

bundle, data, train, whole = evaluate_cases.bundle, evaluate_cases.data, evaluate_cases.train, evaluate_cases.whole


def test_other_training_images_run_and_the_data_does_not_run_again(
    bundle: Path, data: Path, train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = EvaluateRequest(timed_images=0, head="knn", recall=())
    few = tmp_path / "few"
    for label in CLASSES:
        (few / label).mkdir(parents=True)
        for file in sorted((train / label).iterdir())[:2]:
            shutil.copyfile(file, few / label / file.name)
    out = tmp_path / "out"
    first = evaluate(bundle, data, request, train=train, folder=out)
    ran = []
    real = runner.run_into

    def run_into(folder: Path, examples: Any, *rest: Any, **options: Any) -> Any:
        before = len(list(folder.glob("*.npy")))
        outcome = real(folder, examples, *rest, **options)
        ran.append((examples.count(), before > 0))
        return outcome

    monkeypatch.setattr(runner, "run_into", run_into)
    other = evaluate(bundle, data, request, train=few, folder=out, resume=True)
    assert ran == [(IMAGES + 1, True), (10, False)]
    assert without_times(other)["rows"] == without_times(evaluate(bundle, data, request, train=few))["rows"]
    again = evaluate(bundle, data, request, train=train, folder=out, resume=True)
    assert without_times(again)["rows"] == without_times(first)["rows"]


def test_rows_are_added_to_what_is_kept(
    whole: Report, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(bundle, data, EvaluateRequest(timed_images=0), folder=out)
    opened = []
    real = runner.Session

    def session(*arguments: Any, **options: Any) -> ne.Session:
        opened.append(options["max_tokens_per_image"])
        return real(*arguments, **options)

    monkeypatch.setattr(runner, "Session", session)
    assert without_times(evaluate(bundle, data, UNTIMED, folder=out, resume=True)) == without_times(whole)
    assert opened == [CAP]


@pytest.mark.parametrize("rows", [0, 17, 41, 60])
def test_an_evaluation_that_broke_off_goes_on_and_gives_the_same_report(
    rows: int, whole: Report, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many results of both rows, 82 in all; a disk that is full stands for what may happen."""
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(ArraysSink, "write", failing_after(rows, ArraysSink.write))
        with pytest.raises(OSError, match="full"):
            evaluate(bundle, data, UNTIMED, folder=out)
    assert not (out / "report.json").exists()
    with pytest.raises(InvalidInputError, match="holds results already; --resume continues it"):
        evaluate(bundle, data, UNTIMED, folder=out)
    report = evaluate(bundle, data, UNTIMED, folder=out, resume=True)
    assert without_times(report) == without_times(whole)
    written = msgspec.json.decode((out / "report.json").read_bytes(), type=Report)
    assert written == report


def failing_after(rows: int, write: Callable[..., None]) -> Callable[..., None]:
    done = 0

    def one(sink: ArraysSink, row: Any) -> None:
        nonlocal done
        if done == rows:
            raise OSError("full")
        write(sink, row)
        done += 1

    return one


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_evaluation_that_was_killed_goes_on_and_gives_the_same_report(
    number: signal.Signals, whole: Report, bundle: Path, data: Path, tmp_path: Path
) -> None:
    """At a random moment: once it has written so many results, however far it is when the signal comes."""
    out = tmp_path / "out"
    options = ["--tokens", f"0,{CAP}", "--timed-images", "0", "--quiet", "-o", str(out)]
    process = subprocess.Popen([*COMMAND, "evaluate", str(bundle), str(data), *options], stdout=subprocess.DEVNULL)
    enough = random.randrange(2 * IMAGES)
    while process.poll() is None and results_in(out) <= enough:
        time.sleep(0.001)
    process.send_signal(number)
    ended = process.wait()
    assert ended in (0, -number, 128 + number)
    assert (out / "report.json").exists() == (ended == 0)
    report = evaluate(bundle, data, UNTIMED, folder=out, resume=True)
    assert without_times(report) == without_times(whole)


def results_in(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("variants/*/index.jsonl"))


def test_other_data_or_another_bundle_does_not_go_into_the_same_folder(
    bundle: Path, data: Path, train: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    one_row = EvaluateRequest(timed_images=0)
    before = evaluate(bundle, data, one_row, folder=out)
    with pytest.raises(InvalidInputError, match="was begun by another job: images was"):
        evaluate(bundle, train, one_row, folder=out, resume=True)
    with pytest.raises(InvalidInputError, match="was begun by another job: overflow was error and is downscale"):
        evaluate(bundle, data, EvaluateRequest(overflow="downscale"), folder=out, resume=True)
    again = evaluate(bundle, train, one_row, folder=out, overwrite=True)
    assert again.data.images == 30
    assert before.data.images == IMAGES + 1
