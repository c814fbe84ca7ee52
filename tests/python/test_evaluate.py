"""`navit-edge evaluate` from images to the report, on a bundle of one layer; a session and scikit-learn judge it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import evaluate_cases
import msgspec
import numpy as np
import pytest
from evaluate_cases import CAP, CLASSES, IMAGES, UNTIMED, outputs
from PIL import Image
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier

import navit_edge as ne
from navit_edge.errors import BackendError, InvalidInputError, MissingPackageError
from navit_edge.evaluate import EvaluateRequest, Report, evaluate, runner
from navit_edge.evaluate.heads import TEMPERATURE
from navit_edge.evaluate.picture import plot
from navit_edge.evaluate.report import Row

bundle, data, train, whole = evaluate_cases.bundle, evaluate_cases.data, evaluate_cases.train, evaluate_cases.whole


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
