"""docs/accuracy.md shows what benchmarks/accuracy.json holds, and that holds what its own counts give."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from navit_edge.evaluate.data import Example


@pytest.fixture(scope="module")
def found(repository: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((repository / "benchmarks" / "accuracy.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture
def study(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package of the study's parts, by name."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return lambda name: importlib.import_module(f"accuracy_study.{name}")


def test_the_page_shows_the_figures_of_the_json(repository: Path) -> None:
    program = repository / "benchmarks" / "accuracy.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def shares(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["rows"]:
        for head in ("knn", "linear"):
            yield row[head]["top1"]


def comparisons(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["rows"]:
        for head in ("knn", "linear"):
            assert (row[head]["test"] is None) == (row["against"] is None)
            if row["against"] is not None:
                yield row[head]["test"]


def test_every_interval_of_the_study_is_that_of_its_counts(found: dict[str, Any]) -> None:
    for one in shares(found):
        expected = stats.binomtest(one["count"], one["of"]).proportion_ci(0.95, method="wilson")
        assert (one["low"], one["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert one["of"] in (found["sample"]["test"], found["sample"]["elongated"])


def test_every_p_of_the_study_is_adjusted_for_all_comparisons_of_the_page(found: dict[str, Any]) -> None:
    tests = list(comparisons(found))
    exact = [stats.binomtest(one["lost"], max(1, one["lost"] + one["gained"]), 0.5).pvalue for one in tests]
    exact = [p if one["lost"] + one["gained"] else 1.0 for p, one in zip(exact, tests, strict=True)]
    assert [one["p"] for one in tests] == pytest.approx(exact, rel=1e-6)
    order = np.argsort(exact, kind="stable")
    adjusted = np.maximum.accumulate(np.array(exact)[order] * np.arange(len(exact), 0, -1)).clip(max=1.0)
    assert [tests[k]["p_holm"] for k in order] == pytest.approx(adjusted.tolist(), rel=1e-6)


def test_the_differences_of_the_study_are_those_of_its_rows(found: dict[str, Any]) -> None:
    rows = {row["key"]: row for row in found["rows"]}
    for row in found["rows"]:
        for head in ("knn", "linear"):
            if row["against"] is not None:
                test, before = row[head]["test"], rows[row["against"]][head]["top1"]
                assert test["images"] == row[head]["top1"]["of"] == before["of"]
                assert test["gained"] - test["lost"] == row[head]["top1"]["count"] - before["count"]


def test_a_sample_holds_each_class_by_its_share_and_is_the_same_every_time(study: Any) -> None:
    examples = [
        Example(name=f"{label}/{k}", path=f"{label}/{k}", label=label)
        for label, count in (("cat", 50), ("dog", 31), ("owl", 3))
        for k in range(count)
    ]
    chosen, rest = study("sample").stratified(examples, 28)
    assert Counter(one.label for one in chosen) == {"cat": 17, "dog": 10, "owl": 1}  # 16.7, 10.3, 1
    assert sorted(one.name for one in [*chosen, *rest]) == sorted(one.name for one in examples)
    again, _ = study("sample").stratified(examples[::-1], 28)
    assert again == chosen
    assert study("sample").stratified(examples, 1000) == (study("sample").stratified(examples, 84)[0], [])


@pytest.mark.parametrize(
    ("height_px", "width_px", "cap"), [(100, 400, 64), (90, 90, 256), (7, 900, 64), (3000, 1000, 576)]
)
def test_a_square_has_the_number_of_patches_nearest_to_that_of_the_grid(
    study: Any, height_px: int, width_px: int, cap: int
) -> None:
    rows, cols = study("sample").grid_of(height_px, width_px, cap)
    assert rows * cols <= cap
    side, other = study("sample").square_of((rows, cols))
    assert side == other
    assert abs(side**2 - rows * cols) == min(abs(k**2 - rows * cols) for k in range(1, 40))


def test_the_front_of_the_picture_holds_the_rows_that_no_other_beats(study: Any, found: dict[str, Any]) -> None:
    rows = [row for row in found["rows"] if row["ms"] is not None]

    def beaten(row: dict[str, Any]) -> bool:
        mine = (row["ms"], -row["knn"]["top1"]["count"])
        others = ((other["ms"], -other["knn"]["top1"]["count"]) for other in rows)
        return any(other != mine and other[0] <= mine[0] and other[1] <= mine[1] for other in others)

    front = {row["key"] for row in study("picture").front(rows, "knn")}
    assert front == {row["key"] for row in rows if not beaten(row)}


def test_every_resizer_gives_rgb_of_the_size_and_keeps_one_colour(study: Any) -> None:
    pytest.importorskip("torch")
    image = np.full((31, 50, 4), (200, 10, 60, 255), np.uint8)
    for key, (_, resize) in study("resizers").RESIZERS.items():
        made = resize(image, (28, 42))
        assert (made.shape, made.dtype) == ((28, 42, 3), np.uint8)
        assert np.unique(made.reshape(-1, 3), axis=0).tolist() == [[60, 10, 200] if key == "swapped" else [200, 10, 60]]


def test_what_is_transparent_becomes_white_or_the_colour_below_it(study: Any) -> None:
    image = np.zeros((14, 14, 4), np.uint8)
    resizers = study("resizers").RESIZERS
    assert (resizers["exact"][1](image, (14, 14)) == 255).all()
    assert (resizers["without-alpha"][1](image, (14, 14)) == 0).all()
