"""Metrics: judged by numpy (quantiles), by Prometheus's own parser (the text), and by what the callers saw."""

from __future__ import annotations

import itertools
import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import navit_edge as ne
from navit_edge import _core, metrics


def families(text: str) -> dict[str, Any]:
    """name -> family, as Prometheus's Python client reads them; its parser raises where the format is not kept."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in found, f"{family.name} is there twice"
        found[family.name] = family
    return found


def values(family: Any, suffix: str = "") -> list[float]:
    return [sample.value for sample in family.samples if sample.name == family.name + suffix]


@pytest.fixture(scope="module")
def images() -> list[npt.NDArray[np.uint8]]:
    random = np.random.default_rng(3)
    sizes = random.integers(20, 200, size=(24, 2))
    return [random.integers(0, 255, size=(h, w, 3), dtype=np.uint8) for h, w in sizes]


@pytest.fixture
def session(tiny_bundle: Path) -> ne.Session:
    return ne.Session(tiny_bundle, precision="fp32")


QUANTITIES = {
    "seconds": st.floats(1e-6, 134.0),
    "ratio": st.floats(0.0, 1.0),
    "images": st.integers(1, 4096).map(float),
    "tokens": st.integers(1, 65536).map(float),
}


@pytest.mark.parametrize("buckets", QUANTITIES)
@given(data=st.data())
def test_a_quantile_lies_in_the_bucket_of_the_value_that_numpy_gives(buckets: str, data: st.DataObject) -> None:
    observed = data.draw(st.lists(QUANTITIES[buckets], min_size=1, max_size=300))
    q = data.draw(st.one_of(st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]), st.floats(0.0, 1.0)))
    histogram = _core.Histogram(buckets)
    histogram.observe(observed)
    bounds = np.array(histogram.bounds)
    # numpy's own placing: bucket i holds (bounds[i - 1], bounds[i]].
    assert histogram.counts == np.bincount(np.searchsorted(bounds, observed), minlength=len(bounds) + 1).tolist()
    exact = float(np.quantile(observed, q, method="inverted_cdf"))
    found = histogram.quantile(q)
    assert found is not None
    assert min(observed) <= found <= max(observed)
    bucket = int(np.searchsorted(bounds, exact))
    low = bounds[bucket - 1] if bucket > 0 else 0.0
    assert low <= found <= bounds[bucket]
    if buckets != "ratio":
        assert abs(found - exact) <= exact / 8 * (1 + 1e-9)


def test_p50_p90_and_p99_of_ten_thousand_times_are_within_an_eighth_of_numpys() -> None:
    observed = np.random.default_rng(1).lognormal(mean=-5, sigma=1.5, size=10_000)
    histogram = _core.Histogram("seconds")
    histogram.observe(observed.tolist())
    summary = histogram.summary()
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert summary[name] == pytest.approx(np.percentile(observed, percent), rel=1 / 8)
    assert summary["count"] == 10_000
    assert summary["sum"] == pytest.approx(observed.sum())
    assert (summary["min"], summary["max"]) == (observed.min(), observed.max())
    assert summary["mean"] == pytest.approx(observed.mean())


def test_stats_are_those_of_the_runs_report(session: ne.Session, images: list[npt.NDArray[np.uint8]]) -> None:
    tokens = sum(result.token_count for result in session.run(images))
    report = session.last_report
    stats = session.metrics.stats()
    assert stats["images"] == {
        "submitted": 24,
        "completed": 24,
        "failed": 0,
        "errors": {"invalid_input": 0, "over_budget": 0, "bundle": 0, "backend": 0},
        "cancelled": 0,
        "dropped": 0,
        "scaled_down": 0,
        "waiting": 0,
    }
    packs = report["packs"]
    assert stats["packs"] == {"completed": len(packs), "failed": 0, "in_flight": 0, "slots": session.slots}
    assert stats["tokens"]["used"] == tokens == sum(pack["tokens"] for pack in packs)
    assert stats["tokens"]["padding"] == sum(pack["capacity"] - pack["tokens"] for pack in packs)
    for stage in ("preprocess", "engine", "unpack"):
        expected = sum(pack[f"{stage}_us"] for pack in packs) / 1e6
        assert stats[f"{stage}_s"]["sum"] == pytest.approx(expected, abs=1e-7)
        assert stats[f"{stage}_s"]["count"] == len(packs)
    fills = [pack["tokens"] / pack["capacity"] for pack in packs]
    assert stats["fill"]["sum"] == pytest.approx(sum(fills))
    assert stats["pack_images"]["max"] == max(pack["images"] for pack in packs)
    assert stats["image_tokens"]["sum"] == tokens
    assert stats["latency_s"]["max"] <= report["total_us"] / 1e6
    assert stats["bundle"] == "tiny.navit"
    assert stats["engine"] == session.engine
    assert stats["slack_s"]["p99"] is None  # no deadlines
    assert json.loads(json.dumps(stats, allow_nan=False)) == stats


def test_a_bad_image_counts_as_failed_and_a_late_one_as_missed(
    session: ne.Session, images: list[npt.NDArray[np.uint8]]
) -> None:
    future = session.submit(images[0], deadline_ms=1e-3)
    future.result()
    session.submit(images[1], deadline_ms=60_000).result()
    bad = session.submit(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ne.InvalidInputError):
        bad.result()
    stats = session.metrics.stats()
    assert stats["deadlines"] == {"met": 1, "missed": 1}
    assert stats["overrun_s"]["count"] == 1
    assert stats["slack_s"]["max"] < 60
    assert stats["images"]["completed"] == 2
    assert stats["images"]["errors"]["invalid_input"] == 1


def test_prometheus_own_parser_reads_the_text_and_finds_the_numbers_of_stats(
    session: ne.Session, images: list[npt.NDArray[np.uint8]]
) -> None:
    session.run(images)
    session.run([images[0], np.zeros((0, 4, 3), np.uint8)], on_error="return")
    stats = session.metrics.stats()
    text = session.metrics.prometheus()
    found = families(text)
    # Every line that is no comment was read, and nothing was made up.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert sum(len(family.samples) for family in found.values()) == len(lines)
    for family in found.values():
        assert family.name.startswith("navit_edge_")
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert sample.labels["bundle"] == "tiny.navit"
            assert sample.labels["engine"] == session.engine
    for name, value in {
        "images_submitted": stats["images"]["submitted"],
        "images_completed": stats["images"]["completed"],
        "packs": stats["packs"]["completed"],
        "tokens_used": stats["tokens"]["used"],
        "tokens_padding": stats["tokens"]["padding"],
    }.items():
        assert values(found[f"navit_edge_{name}"], "_total") == [value]
        assert found[f"navit_edge_{name}"].type == "counter"
    errors = {sample.labels["error"]: sample.value for sample in found["navit_edge_images_failed"].samples}
    assert errors == stats["images"]["errors"]
    assert errors["invalid_input"] == 1
    assert values(found["navit_edge_slots"]) == [session.slots]
    assert values(found["navit_edge_broken"]) == [0]
    histograms = {
        "image_queue_seconds": "queue_s",
        "image_latency_seconds": "latency_s",
        "image_tokens": "image_tokens",
        "deadline_slack_seconds": "slack_s",
        "deadline_overrun_seconds": "overrun_s",
        "pack_seconds": "pack_s",
        "pack_preprocess_seconds": "preprocess_s",
        "pack_engine_seconds": "engine_s",
        "pack_unpack_seconds": "unpack_s",
        "pack_fill_ratio": "fill",
        "pack_images": "pack_images",
    }
    assert {name for name, family in found.items() if family.type == "histogram"} == {
        f"navit_edge_{name}" for name in histograms
    }
    for name, key in histograms.items():
        family = found[f"navit_edge_{name}"]
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        bounds = [float(sample.labels["le"]) for sample in buckets]
        counts = [sample.value for sample in buckets]
        assert bounds == sorted(set(bounds))
        assert bounds[-1] == float("inf")
        assert counts == sorted(counts)
        assert values(family, "_count") == [counts[-1]] == [stats[key]["count"]]
        assert values(family, "_sum") == [pytest.approx(stats[key]["sum"])]


#: What str.splitlines, and so the parser, takes for line ends; the format does not.
OTHER_LINE_ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@settings(max_examples=25)
@example(value='back\\slash "quote"\nline')
@example(value="\\n")
@given(value=st.text(st.characters(codec="utf-8", exclude_characters=OTHER_LINE_ENDS), max_size=20))
def test_any_label_value_comes_through_the_parser_as_it_was(tiny_session: ne.Session, value: str) -> None:
    found = families(tiny_session.metrics.prometheus({"camera": value}))
    assert {sample.labels["camera"] for family in found.values() for sample in family.samples} == {value}


def test_labels_that_prometheus_refuses_are_refused_with_the_rule(tiny_session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match="is no name for a label; expected letters"):
        tiny_session.metrics.prometheus({"front camera": "x"})
    with pytest.raises(ne.InvalidInputError, match="the label bundle is given twice"):
        tiny_session.metrics.prometheus({"bundle": "mine"})


def test_several_sessions_make_one_page_and_are_told_apart_by_their_name(
    tiny_bundle: Path, images: list[npt.NDArray[np.uint8]]
) -> None:
    with ne.Session(tiny_bundle, precision="fp32") as front, ne.Session(tiny_bundle, precision="fp32") as rear:
        front.run(images[:3])
        found = families(metrics.prometheus({"front": front, "rear": rear}))
        completed = {s.labels["session"]: s.value for s in found["navit_edge_images_completed"].samples}
        assert completed == {"front": 3, "rear": 0}


def test_a_scrape_over_http_gives_what_the_session_says(
    session: ne.Session, images: list[npt.NDArray[np.uint8]]
) -> None:
    with metrics.serve(session, 0) as server:
        assert server.url.startswith("http://127.0.0.1:")
        session.run(images[:5])
        with urllib.request.urlopen(server.url, timeout=60) as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            found = families(response.read().decode())
        assert values(found["navit_edge_images_completed"], "_total") == [5]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.url.replace("metrics", "other"), timeout=60)
        with pytest.raises(ne.InvalidInputError, match=r"cannot listen on port.*or 0 for any free one"):
            metrics.serve(session, server.port)
        url = server.url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=60)
    server.close()


def test_a_closed_session_still_tells_what_it_did(session: ne.Session, images: list[npt.NDArray[np.uint8]]) -> None:
    session.run(images[:4])
    session.close()
    assert session.metrics.stats()["images"]["completed"] == 4
    assert "navit_edge_images_completed_total" in session.metrics.prometheus()


def test_counters_never_go_down_and_agree_in_the_end_while_threads_submit(
    session: ne.Session, images: list[npt.NDArray[np.uint8]]
) -> None:
    def caller() -> None:
        futures = [session.submit(image) for image in images]
        futures[-1].cancel()

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    seen = [session.metrics.stats() for _ in range(50)]
    for thread in callers:
        thread.join()
    session.drain()
    seen.append(session.metrics.stats())
    for before, after in itertools.pairwise(seen):
        for group, counters in (("images", ("submitted", "completed", "cancelled")), ("tokens", ("used", "padding"))):
            assert all(before[group][name] <= after[group][name] for name in counters)
    last = seen[-1]["images"]
    assert last["submitted"] == 4 * 24 == last["completed"] + last["cancelled"]
    assert last["waiting"] == 0
