"""`navit-edge evaluate` from images to the report, on a bundle of one layer; a session and scikit-learn judge it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import COMMAND, invoke, words
from PIL import Image
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from tiny_bundle import TinyConfig, make_bundle

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.errors import BackendError, InvalidInputError, MissingPackageError
from navit_edge.evaluate import EvaluateRequest, Report, evaluate, runner
from navit_edge.evaluate.heads import TEMPERATURE
from navit_edge.evaluate.picture import plot
from navit_edge.evaluate.report import Row
from navit_edge.run.sinks.arrays import ArraysSink

CLASSES = [f"class {i}" for i in range(5)]
#: Rows that this many tokens make differ from the bundle's own.
CAP = 8
UNTIMED = EvaluateRequest(timed_images=0, caps=(0, CAP))
IMAGES = 40


def write_images(root: Path, count: int, seed: int) -> None:
    """Stripes; those of a class have about the same colour."""
    rng = np.random.default_rng(seed)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]])
    for place in range(count):
        height, width = (int(side) for side in rng.integers(16, 64, 2))
        stripe = np.arange(width)[None, :, None] // rng.integers(2, 12) % 2
        colour = np.clip(colours[place % 5] + rng.normal(0, 90, 3), 0, 255)
        pixels = np.broadcast_to(np.where(stripe, colour, rng.integers(0, 256)), (height, width, 3)).astype(np.uint8)
        folder = root / CLASSES[place % 5]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place:03}.png")


@pytest.fixture(scope="module")
def bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """One layer of width 64, an OpenVINO engine in float32; every class is the likeliest of some image."""

    def make(folder: Path) -> None:
        config = TinyConfig(depth=1, head_bias=(0.1, 0.3, -1.3, 0.3, -0.4))
        build_engines(
            make_bundle(folder / "tiny.navit", config),
            BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,)),
        )

    return made_once("evaluated", make) / "tiny.navit"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of five classes, and a file that is none."""
    path = tmp_path_factory.mktemp("data")
    write_images(path, IMAGES, 1)
    (path / CLASSES[2] / "bad.jpg").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train")
    write_images(path, 30, 2)
    return path


@pytest.fixture(scope="module")
def whole(bundle: Path, data: Path) -> Report:
    """An evaluation that nothing interrupts."""
    return evaluate(bundle, data, UNTIMED)


def outputs(bundle: Path, data: Path, name: str, cap: int = 0) -> tuple[Any, Any]:
    """(outputs, classes) of the images, each run by a session of its own call."""
    files = sorted(data.glob("*/*.png"))
    with ne.Session(bundle, max_tokens_per_image=cap) as session:
        values = np.array([getattr(session.run([file])[0], name) for file in files])
    return values, np.array([CLASSES.index(file.parent.name) for file in files])


def without_times(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for row in plain["rows"]:
        row["timing"] = None
    return plain


def test_accuracy_and_agreement_are_those_of_the_sessions_own_results(whole: Report, bundle: Path, data: Path) -> None:
    predicted = {}
    for row, cap in zip(whole.rows, (0, CAP), strict=True):
        logits, truth = outputs(bundle, data, "logits", cap)
        predicted[cap] = logits.argmax(axis=1)
        assert row.cap == (cap or None)
        assert row.top1.value == accuracy_score(truth, predicted[cap])
        assert (row.images, row.failed, row.not_finite) == (IMAGES, 1, 0)
        assert row.top5 is None  # there are five classes
        assert "bad.jpg" in str(row.first_error)
    assert whole.reference == 0
    assert whole.rows[0].against_reference is None
    against = whole.rows[1].against_reference
    assert against is not None
    assert against.agreement.value == np.mean(predicted[0] == predicted[CAP])
    right, right_capped = predicted[0] == truth, predicted[CAP] == truth
    assert (against.lost, against.gained) == ((right & ~right_capped).sum(), (~right & right_capped).sum())
    assert against.verdict == "too few images"
    assert whole.data.classes == 5


def test_neighbours_of_training_images_answer_as_scikit_learns(bundle: Path, data: Path, train: Path) -> None:
    request = EvaluateRequest(timed_images=0, head="knn", neighbors=7)
    (row,) = evaluate(bundle, data, request, train=train).rows
    gallery, targets = outputs(bundle, train, "embedding")
    queries, truth = outputs(bundle, data, "embedding")
    oracle = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp(-distance / TEMPERATURE))
    assert row.top1.value == accuracy_score(truth, oracle.fit(gallery, targets).predict(queries))
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    assert row.recall["1"].value == np.mean(truth[similar.argmax(axis=1)] == truth)


def test_images_that_look_like_a_training_image_are_named(
    whole: Report, bundle: Path, data: Path, train: Path, tmp_path: Path
) -> None:
    """The same pixels in another file: not a copy to the byte."""
    mine = sorted(data.glob("*/*.png"))[7]
    pixels = np.asarray(Image.open(mine))
    shutil.copytree(train, tmp_path / "train")
    again = tmp_path / "train" / CLASSES[4] / "again.bmp"
    Image.fromarray(pixels).save(again)
    request = EvaluateRequest(timed_images=0, head="knn", recall=())
    report = evaluate(bundle, data, request, train=tmp_path / "train")
    queries, _ = outputs(bundle, data, "embedding")
    gallery, _ = outputs(bundle, train, "embedding")
    both = np.vstack([gallery, queries[7]])
    cosine = (queries @ both.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(both, axis=1)
    assert report.similar is not None
    assert report.similar.images == np.sum(cosine.max(axis=1) >= report.similar.cosine)
    name, training, found = report.similar.pairs[0]
    assert (name, training) == (mine.relative_to(data).as_posix(), f"{CLASSES[4]}/again.bmp")
    assert found == pytest.approx(1, abs=1e-5)
    assert any(mine.name in note and "again.bmp" in note for note in report.notes)
    assert whole.similar is None


def test_heads_go_with_outputs_that_are_kept(
    bundle: Path, data: Path, train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another head, or another margin, runs nothing again."""
    out = tmp_path / "out"
    evaluate(bundle, data, EvaluateRequest(timed_images=0, head="knn"), train=train, folder=out)
    monkeypatch.setattr(runner, "Session", no_session)
    for head in ("linear", "knn"):
        report = evaluate(
            bundle, data, EvaluateRequest(timed_images=0, head=head), train=train, folder=out, resume=True
        )
        assert report.head == head
        assert report.rows[0].images == IMAGES


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


def test_images_that_an_engine_was_calibrated_with_are_named(bundle: Path, data: Path, tmp_path: Path) -> None:
    copied = tmp_path / "tiny.navit"
    shutil.copytree(bundle, copied)
    mine = sorted(data.glob("*/*.png"))[3]
    calibration = [{"name": "x.png", "sha256": hashlib.sha256(mine.read_bytes()).hexdigest()}]
    (copied / "reports").mkdir(exist_ok=True)
    (copied / "reports" / "quantize-int8.json").write_text(json.dumps({"calibration": calibration}))
    report = evaluate(copied, data, EvaluateRequest(timed_images=0))
    (note,) = [note for note in report.notes if "calibrat" in note]
    assert note.startswith("1 image")
    assert "int8" in note
    assert mine.relative_to(data).as_posix() in note


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


def no_session(*_: object, **__: object) -> ne.Session:
    raise AssertionError("a session was opened")


# --- what is wrong with the data


def test_labels_that_the_bundle_does_not_know_are_counted_and_left_out(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    lines = ["path,label"]
    for place, file in enumerate(sorted(data.glob("*/*.png"))):
        lines.append(f"{file},{'zebra' if place < 4 else CLASSES.index(file.parent.name)}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    report = evaluate(bundle, tmp_path / "list.csv", EvaluateRequest(timed_images=0))
    assert report.data.unknown_labels == {"zebra": 4}
    assert report.rows[0].images == IMAGES - 4
    assert any("zebra" in note for note in report.notes)


def test_data_without_a_known_label_is_refused_before_anything_runs(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data / CLASSES[0], tmp_path / "data/zebra")
    monkeypatch.setattr(runner, "Session", no_session)
    with pytest.raises(InvalidInputError, match=r"it has zebra; expected the bundle's labels \(class 0, class 1"):
        evaluate(bundle, tmp_path / "data", UNTIMED)


def test_data_of_one_class_has_an_accuracy_and_no_recall(bundle: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / CLASSES[0], tmp_path / "data" / CLASSES[0])
    (tmp_path / "data" / CLASSES[1]).mkdir()
    report = evaluate(bundle, tmp_path / "data", EvaluateRequest(timed_images=0))
    assert report.rows[0].recall == {}
    assert report.data.empty_classes == (CLASSES[1],)
    assert any("one class" in note for note in report.notes)
    assert any(f"without images: {CLASSES[1]}" in note for note in report.notes)


def test_data_of_which_nothing_decodes_is_an_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / CLASSES[0]).mkdir()
    (tmp_path / CLASSES[0] / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"none of 1 images can be evaluated .*bad\.jpg"):
        evaluate(bundle, tmp_path, UNTIMED)


@pytest.mark.parametrize("head", ["knn", "linear"])
def test_training_images_of_one_class_are_refused_by_a_linear_head(
    head: Any, bundle: Path, data: Path, train: Path, tmp_path: Path
) -> None:
    shutil.copytree(train / CLASSES[1], tmp_path / CLASSES[1])
    request = EvaluateRequest(timed_images=0, head=head)
    if head == "knn":  # says that class, always
        (row,) = evaluate(bundle, data, request, train=tmp_path).rows
        assert row.top1.value == 1
        assert row.images == IMAGES / 5
    else:
        with pytest.raises(InvalidInputError, match="has one class; a linear head needs two or more"):
            evaluate(bundle, data, request, train=tmp_path)


def test_a_linear_head_without_scikit_learn_says_what_to_install_before_anything_runs(
    bundle: Path, data: Path, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(runner, "Session", no_session)
    with pytest.raises(MissingPackageError, match=r'--head linear needs .*pip install "navit-edge\[evaluate\]"'):
        evaluate(bundle, data, EvaluateRequest(head="linear"), train=train)


def test_images_that_are_also_training_images_are_refused(bundle: Path, data: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"41 images of .* are among the training images, too"):
        evaluate(bundle, data, EvaluateRequest(head="knn"), train=data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "knn"}, "learns from images; give --train"),
        ({"engines": ["none"]}, "the bundle has no engine 'none'; it has openvino-cpu-fp32"),
        ({"precisions": ["int8"]}, "no engine of precision int8 among openvino-cpu-fp32"),
    ],
)
def test_a_request_that_the_bundle_cannot_meet_is_refused(
    options: dict[str, Any], message: str, bundle: Path, data: Path
) -> None:
    with pytest.raises(ne.NavitEdgeError, match=message):
        evaluate(bundle, data, EvaluateRequest(**options))


# --- engines


def test_an_engine_that_cannot_run_here_is_named_and_the_others_are_evaluated(
    whole: Report, bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float32 engine does not open; a copy of it under another name does."""
    found = runner.engines_of(runner.manifests.load(bundle), UNTIMED)
    monkeypatch.setattr(runner, "engines_of", lambda *_: [("broken", "fp32"), *found])
    monkeypatch.setattr(runner, "hashes_of", lambda _, name: name)
    real = runner.Session

    def session(bundle: Path, *, engine: str, **options: Any) -> ne.Session:
        if engine == "broken":
            raise BackendError("no such\nlibrary")
        return real(bundle, engine=engine, **options)

    monkeypatch.setattr(runner, "Session", session)
    report = evaluate(bundle, data, UNTIMED)
    assert report.not_run == {"broken": "no such\nlibrary"}
    assert report.rows == whole.rows
    monkeypatch.setattr(runner, "engines_of", lambda *_: [("broken", "int8")])
    monkeypatch.setattr(runner, "reference_engines", lambda *_: [])
    with pytest.raises(BackendError, match="none was evaluated: broken: no such\nlibrary"):
        evaluate(bundle, data, UNTIMED)


def test_a_row_is_compared_with_float32_at_its_own_tokens_too(
    whole: Report, bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float32 engine under the name of an int8 one: its precision costs nothing, its tokens what they cost."""
    (found,) = runner.engines_of(runner.manifests.load(bundle), UNTIMED)
    monkeypatch.setattr(runner, "engines_of", lambda *_: [found, ("other", "int8")])
    monkeypatch.setattr(runner, "hashes_of", lambda _, name: name)
    real = runner.Session
    monkeypatch.setattr(runner, "Session", lambda bundle, *, engine, **options: real(bundle, **options))
    rows = evaluate(bundle, data, UNTIMED).rows
    assert [(row.engine, row.cap) for row in rows[2:]] == [("other", None), ("other", CAP)]
    assert rows[3].against_reference == whole.rows[1].against_reference == rows[1].against_reference
    assert rows[1].against_float32 is None
    against = rows[3].against_float32
    assert against is not None
    assert (against.lost, against.gained, against.agreement.value) == (0, 0, 1)


# --- going on


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


# --- the command


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


# --- the front


def timed_row(top1: float, images_per_s: float, engine: str) -> Row:
    from navit_edge.evaluate.metrics import share
    from navit_edge.evaluate.report import Timing

    timing = Timing(images=8, runs=3, images_per_s=images_per_s, p50_ms=1, p99_ms=2)
    return Row(
        engine=engine, precision="fp32", device="cpu", policy="native", cap=None, images=1000, failed=0,
        first_error=None, not_finite=0, tokens_per_image=256, top1=share(round(top1 * 1000), 1000), top5=None,
        recall={}, against_reference=None, against_float32=None, timing=timing,
    )  # fmt: skip


def test_the_front_holds_the_rows_that_no_other_beats(whole: Report, tmp_path: Path) -> None:
    from navit_edge.evaluate.report import with_front

    rows = [timed_row(0.8, 10, "a"), timed_row(0.7, 30, "$b$"), timed_row(0.75, 9, "c"), timed_row(0.7, 30, "d"),
            timed_row(0.7, 20, "e")]  # fmt: skip
    found = with_front(rows)
    assert [row.engine for row in found if row.timing and row.timing.pareto] == ["a", "$b$", "d"]
    plot(msgspec.structs.replace(whole, rows=found), tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 0
