"""Traces of real runs: valid in Chrome's format, and in agreement with the run's report."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne
from navit_edge.metrics import trace
from navit_edge.place import OutputError

Trace = dict[str, Any]

#: Phase -> fields that the Trace Event Format asks for, beside name, pid, tid and ts.
FIELDS = {"X": {"dur"}, "b": {"cat", "id"}, "e": {"cat", "id"}, "C": {"args"}, "i": {"s"}, "M": {"args"}}
STAGES = ["preprocess", "engine", "unpack"]


def spans_by_slot(found: Trace) -> dict[int, list[Any]]:
    """Thread -> its spans in order; checks every event against the format on the way."""
    slots = defaultdict(list)
    open_spans: Counter[tuple[str, str]] = Counter()
    for event in found["traceEvents"]:
        assert {"name", "pid", "tid", "ts"} | FIELDS[event["ph"]] <= event.keys(), event
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slots[event["tid"]].append(event)
        elif event["ph"] == "b":
            open_spans[event["cat"], event["id"]] += 1
            assert open_spans[event["cat"], event["id"]] == 1
        elif event["ph"] == "e":
            open_spans[event["cat"], event["id"]] -= 1
    assert set(open_spans.values()) <= {0}
    named = {e["tid"] for e in found["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"}
    for thread, spans in slots.items():
        assert thread in named
        spans.sort(key=lambda span: span["ts"])
        for before, after in itertools.pairwise(spans):
            assert after["ts"] >= before["ts"] + before["dur"] - 2e-3  # timestamps have nanoseconds
    return slots


def named(found: Trace, phase: str, name: str) -> list[Any]:
    return [event for event in found["traceEvents"] if event["ph"] == phase and event["name"] == name]


@pytest.fixture
def images() -> list[npt.NDArray[np.uint8]]:
    random = np.random.default_rng(5)
    sizes = random.integers(100, 256, size=(40, 2))
    return [random.integers(0, 255, size=(h, w, 3), dtype=np.uint8) for h, w in sizes]


def test_a_trace_of_a_run_holds_every_pack_of_its_report_and_the_wait_of_every_image(
    tiny_bundle: Path, images: list[npt.NDArray[np.uint8]]
) -> None:
    session = ne.Session(tiny_bundle, precision="fp32", slots=2)
    session.metrics.start_trace()
    session.run(images)
    found = session.metrics.stop_trace()
    packs = session.last_report["packs"]
    assert len(packs) >= 4
    slots = spans_by_slot(found)
    assert len(slots) <= 2
    spans = [span for slot in slots.values() for span in slot]
    by_pack = defaultdict(list)
    for span in spans:
        by_pack[span["args"]["pack"]].append(span)
    assert len(by_pack) == len(packs)
    for stages in by_pack.values():
        assert [span["name"] for span in stages] == STAGES
    # Numbers of packs count in the order of their starts, as the report's do within a run.
    for number, pack in enumerate(packs, start=1):
        stages = by_pack[number]
        assert stages[0]["args"] == {
            "pack": number,
            "images": pack["images"],
            "tokens": pack["tokens"],
            "capacity": pack["capacity"],
        }
        for span in stages:
            assert span["dur"] == pytest.approx(pack[f"{span['name']}_us"], abs=2e-3)
    begins = named(found, "b", "queue")
    assert len(begins) == len(named(found, "e", "queue")) == 40
    assert Counter(event["args"]["pack"] for event in begins) == {n: p["images"] for n, p in enumerate(packs, start=1)}
    assert sum(event["args"]["tokens"] for event in begins) == sum(pack["tokens"] for pack in packs)
    waiting = [event["args"]["images"] for event in named(found, "C", "waiting")]
    assert waiting[0] == 40
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[-1] == 0
    in_flight = [event["args"]["packs"] for event in named(found, "C", "in flight")]
    assert max(in_flight) == session.last_report["most_in_flight"]
    assert in_flight[-1] == 0
    assert found["otherData"]["engine"] == session.engine
    assert found["otherData"]["lost_events"] == 0


def test_what_went_wrong_is_in_the_trace(tiny_bundle: Path, images: list[npt.NDArray[np.uint8]]) -> None:
    session = ne.Session(tiny_bundle, precision="fp32")
    session.metrics.start_trace()
    futures = [session.submit(image, deadline_ms=1e-3) for image in images]
    cancelled = sum(future.cancel() for future in reversed(futures))
    session.submit(np.zeros((0, 4, 3), np.uint8))
    session.drain()
    found = session.metrics.stop_trace()
    spans_by_slot(found)
    stats = session.metrics.stats()
    assert cancelled > 0
    assert len(named(found, "i", "cancelled")) == stats["images"]["cancelled"] == cancelled
    assert len(named(found, "i", "deadline missed")) == stats["deadlines"]["missed"] == 40 - cancelled
    (error,) = named(found, "i", "error")
    assert error["args"]["error"] == "invalid_input"
    assert len(named(found, "b", "queue")) == stats["images"]["submitted"] == 41


def test_a_trace_that_overflows_keeps_the_end_and_says_what_it_lost(
    tiny_session: ne.Session, images: list[npt.NDArray[np.uint8]]
) -> None:
    tiny_session.metrics.start_trace(max_events=50)
    for image in images:
        tiny_session.submit(image).result()
    found = tiny_session.metrics.stop_trace()
    spans_by_slot(found)
    assert found["otherData"]["kept_events"] == 50
    (lost,) = named(found, "i", "earlier events lost")
    assert lost["args"]["events"] == found["otherData"]["lost_events"]
    # Each image alone in a pack: two events of its own, four of the pack.
    assert lost["args"]["events"] == 40 * 6 - 50


def test_start_and_stop_out_of_order_are_refused(tiny_session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match="no trace is being recorded; start one first"):
        tiny_session.metrics.stop_trace()
    with pytest.raises(ne.InvalidInputError, match="max_events is 0; expected a number of events, 1 to 10000000"):
        tiny_session.metrics.start_trace(max_events=0)
    tiny_session.metrics.start_trace()
    with pytest.raises(ne.InvalidInputError, match="a trace is being recorded already"):
        tiny_session.metrics.start_trace()
    assert not [event for event in tiny_session.metrics.stop_trace()["traceEvents"] if event["ph"] != "M"]


def test_a_written_trace_reads_back_the_same_and_leaves_nothing_beside_it(
    tiny_session: ne.Session, images: list[npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    tiny_session.metrics.start_trace()
    tiny_session.run(images)
    found = tiny_session.metrics.stop_trace()
    plain, small = tmp_path / "t.json", tmp_path / "t.json.gz"
    plain.write_text("an older trace")
    trace.write(found, plain)
    trace.write(found, small)
    assert json.loads(plain.read_bytes()) == found
    assert json.loads(gzip.decompress(small.read_bytes())) == found
    with pytest.raises(TypeError):
        trace.write({"traceEvents": [object()]}, plain)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder is a folder"):
        trace.write(found, tmp_path / "folder")
    assert json.loads(plain.read_bytes()) == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "t.json", "t.json.gz"]
