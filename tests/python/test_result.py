"""``Result``: what it says of itself, copies and pickles, and that a row of it holds no pack."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import picture
from PIL import Image
from tiny_bundle import TinyConfig, make_bundle
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge import compile as build_package
from navit_edge.cli.main import app
from navit_edge.result import predictions

ARRAYS = ("logits", "embedding", "tokens")
PLAIN = ("pixels", "grid", "scale", "offset", "token_count", "pack", "first_token", "pack_tokens", "latency_ms",
         "queue_ms", "reason", "sizing", "decoding", "index", "tag", "labels", "scores", "lost")  # fmt: skip


@pytest.fixture(scope="module")
def session(job_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(job_bundle, threads=1) as opened:
        yield opened


def results_of(session: ne.Session) -> dict[str, ne.Result]:
    """One of each way, and of each thing that a result may hold."""
    wide, deep = picture(9, 41), np.dstack([picture(), picture()[:, :, 0]])
    (ran, _) = session.run([wide, deep], policy=ne.Policy("token-cap:12"))
    (streamed,) = session.stream([(deep, {"tag": [1, 2]})])
    (failed,) = session.run([picture().astype(np.float32)], on_error="return")
    return {"run": ran, "submitted": session.submit(wide, tag=("a", 1)).result(60), "streamed": streamed,
            "failed": failed}  # fmt: skip


def same(one: ne.Result, other: ne.Result) -> None:
    for name in PLAIN:
        assert getattr(one, name) == getattr(other, name), name
    for name in ARRAYS:
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None), name
        if first is not None:
            assert first.dtype == second.dtype == np.float32
            assert np.array_equal(first, second), name
    assert (type(one.error), str(one.error)) == (type(other.error), str(other.error))


@pytest.mark.parametrize("how", [pickle.loads, copy.copy, copy.deepcopy])
def test_a_copy_of_a_result_has_all_that_the_result_has(session: ne.Session, how: Any) -> None:
    for name, result in results_of(session).items():
        copied = how(pickle.dumps(result)) if how is pickle.loads else how(result)
        same(copied, result)
        assert repr(copied) == repr(result), name
        assert copied.to_dict() == result.to_dict(), name


def test_a_shallow_copy_shares_the_arrays_and_a_deep_one_has_its_own(session: ne.Session) -> None:
    result = results_of(session)["streamed"]
    shallow, deep = copy.copy(result), copy.deepcopy(result)
    for name in ARRAYS:
        assert np.shares_memory(getattr(shallow, name), getattr(result, name)), name
        assert not np.shares_memory(getattr(deep, name), getattr(result, name)), name
    assert shallow.tag is result.tag
    assert deep.tag is not result.tag
    shallow.decoding = "changed"
    assert result.decoding != "changed"


def test_the_classes_are_those_of_the_highest_logits_with_their_softmax(session: ne.Session) -> None:
    result = results_of(session)["run"]
    assert result.logits is not None
    weights = [math.exp(value) for value in result.logits.tolist()]
    order = sorted(range(len(weights)), key=lambda place: -weights[place])
    for k in (1, np.int64(3), 5, 100):
        best = result.top_k(k)
        assert [one.index for one in best] == order[: int(k)]
        assert [one.label for one in best] == [f"class {place}" for place in order[: int(k)]]
        assert [one.score for one in best] == pytest.approx([weights[one.index] / sum(weights) for one in best])
        assert [one.logit for one in best] == [result.logits[one.index] for one in best]


def test_without_labels_a_class_is_its_index_and_equal_ones_keep_their_order() -> None:
    best = predictions(np.array([1, 3, 3, -np.inf], np.float32), (), 4)
    assert [(one.index, one.label) for one in best] == [(1, ""), (2, ""), (0, ""), (3, "")]
    assert best[-1].score == 0


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "3", None])
def test_a_number_of_classes_that_is_none_is_refused(session: ne.Session, k: Any) -> None:
    with pytest.raises(ne.InvalidInputError, match=r"k is .*; expected how many classes, 1 and up"):
        results_of(session)["run"].top_k(k)


def test_a_result_without_classes_says_why(session: ne.Session) -> None:
    failed = results_of(session)["failed"]
    with pytest.raises(ne.InvalidInputError, match="the image failed and has no classes: image 0 has dtype float32"):
        failed.top_k(1)
    with pytest.raises(ne.InvalidInputError, match=r"gives no logits.*--outputs logits"):
        without(session.run([picture()])[0], "logits").top_k(1)


def without(result: ne.Result, name: str) -> ne.Result:
    """As of a bundle that does not give this output."""
    state = result.__getstate__()
    bare = ne.Result.__new__(ne.Result)
    bare.__setstate__({**state, name: None})
    return bare


def test_plain_values_are_the_row_that_the_command_writes(
    job_bundle: Path, session: ne.Session, tmp_path: Path
) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    names = [str(tmp_path / name) for name in ("a.png", "b.png")]
    done = CliRunner().invoke(app, ["run", str(job_bundle), *names, "--json", "--threads", "1", "--top-k", "2"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    results = session.run(names, on_error="return")
    for row, result in zip(rows, results, strict=True):
        values = json.loads(json.dumps(result.to_dict(top_k=2)))
        for changing in ("file", "latency_ms", "pack"):
            row.pop(changing, None)
            values.pop(changing, None)
        assert values == row
    bare = without(results[0], "logits")
    assert bare.embedding is not None
    assert bare.to_dict()["embedding_norm"] == pytest.approx(float(np.linalg.norm(bare.embedding)))


def test_its_text_shows_grid_tokens_and_the_best_class(session: ne.Session) -> None:
    found = results_of(session)
    result = found["run"]
    (best,) = result.top_k(1)
    rows, cols = result.grid
    assert repr(result) == (
        f"<navit_edge.Result grid {rows} x {cols}, {result.token_count} tokens, top-1 '{best.label}' {best.score:.3f}>"
    )
    assert repr(found["failed"]).startswith("<navit_edge.Result failed: InvalidInputError: image 0 has dtype float32")
    assert "embedding of 64" in repr(without(result, "logits"))


def test_arrays_by_name_are_the_results_own_or_writable_copies(session: ne.Session) -> None:
    result = results_of(session)["run"]
    views, copies = result.numpy(), result.numpy(copy=True)
    assert tuple(views) == tuple(copies) == ARRAYS
    for name in ARRAYS:
        assert not views[name].flags.writeable
        assert np.shares_memory(views[name], getattr(result, name))
        assert copies[name].flags.writeable
        assert np.array_equal(copies[name], views[name])
        assert not np.shares_memory(copies[name], views[name])
    assert results_of(session)["failed"].numpy(copy=True) == {}


def test_torch_takes_the_copies_without_a_warning(session: ne.Session) -> None:
    torch = pytest.importorskip("torch")
    result = results_of(session)["run"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(result.numpy(copy=True)["logits"])
    assert tensor.tolist() == result.logits.tolist()


@pytest.fixture(scope="module")
def wide_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokens take a MiB a pack of one image."""
    bundle = make_bundle(tmp_path_factory.mktemp("wide") / "wide.navit", TinyConfig(depth=1, width=256, classes=16))
    request = build_package.BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(256,), max_images=(1,))
    build_package.build_engines(bundle, request)
    return bundle


GROWTH = """
import sys
import numpy as np
import navit_edge as ne

def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20

image = np.zeros((64, 64, 3), np.uint8)
with ne.Session(sys.argv[1], threads=1, slots=1) as session:
    ways = {"run": lambda: session.run([image])[0], "submit": lambda: session.submit(image).result(60),
            "stream": lambda: next(session.stream([image]))}
    take = ways[sys.argv[2]]
    for _ in range(30):
        take()
    before = resident_mib()
    kept = [getattr(take(), sys.argv[3]) for _ in range(160)]
    print(resident_mib() - before)
"""


@pytest.mark.parametrize(
    ("way", "kept", "least_mib", "most_mib"),
    [("run", "embedding", -99, 10), ("submit", "logits", -99, 10), ("stream", "embedding", -99, 10),
     ("run", "tokens", 30, 999)],
)  # fmt: skip
def test_rows_that_are_kept_hold_no_packs_and_tokens_do(
    wide_bundle: Path, way: str, kept: str, least_mib: int, most_mib: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(wide_bundle), way, kept], capture_output=True, text=True, check=True
    )
    assert least_mib <= float(done.stdout) <= most_mib  # 160 packs of 256 x 256 floats are 40 MiB
