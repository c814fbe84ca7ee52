"""What a job of `navit-edge run` leaves if a disk is full, an engine breaks or it stops, and how it goes on."""

from __future__ import annotations

import resource
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import navit_edge as ne
from navit_edge.errors import BackendError, InvalidInputError
from navit_edge.run.feed import Feed
from navit_edge.run.rows import Layout, Row
from navit_edge.run.sinks import Sink, open_sink
from navit_edge.run.sinks.arrays import HEADER_BYTES
from navit_edge.run.sources import Item, Name

LIMIT = 3000


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_a_limit_on_file_sizes_ends_the_job_and_leaves_only_whole_results(kind: str, tmp_path: Path) -> None:
    """RLIMIT_FSIZE fails a write in its middle, as a full disk does. Sinks alone, in a process of their own."""
    output = tmp_path / "out"
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_run_interrupted import *
limited_writes({kind!r}, Path({str(output)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reached, message = done.stdout.splitlines()
    assert "File too large; what was written before is whole" in message
    with_room = sink_of(kind, output, resume=True)
    names = [name.file for name in with_room.done()]
    with_room.close()
    assert names == [f"image {place}" for place in range(len(names))]
    assert 0 < len(names) <= int(reached)
    if kind == "jsonl":
        assert len(names) == int(reached)
        assert len(output.read_bytes().splitlines()) == len(names)
    elif kind == "numpy":
        assert len(names) == int(reached)
        assert len(np.load(output / "embedding.npy")) == len(names)
    else:
        assert pq.read_table(output).num_rows == len(names)
        assert not list(output.glob("*.tmp")) + list(output.glob(".*"))


def sink_of(kind: str, output: Path, *, resume: bool = False) -> Sink:
    layout = Layout(labels=[], top_k=1, shapes={"embedding": (16,)})
    return open_sink(kind, output, layout, {"model": "m"}, resume=resume, overwrite=False, part_rows=4)


def row(place: int, size: int = 16) -> Row:
    rng = np.random.default_rng(place)
    # Random text, so that Parquet cannot make it small; parts grow until they are over the limit.
    note = rng.bytes(20 * place).hex()
    record = {"file": f"image {place}", "pixels": [1, 2], "grid": [1, 2], "tokens": 2, "scale": [1.0, 1.0], "pack": 0,
              "latency_ms": 1.0, "reason": note}  # fmt: skip
    return Row(record=record, arrays={"embedding": rng.random(size, np.float32)})


def limited_writes(kind: str, output: Path) -> None:
    """Writes until that fails; prints how many rows went through, and the message."""
    sink = sink_of(kind, output)
    limit = LIMIT if kind != "parquet" else 6000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    place = 0
    try:
        while place < 1000:
            sink.write(row(place))
            place += 1
    except ne.NavitEdgeError as error:
        print(place)
        print(error)
    finally:
        sink.close()


# --- engines that break


class BreakingSession:
    """Gives an image's own error, then that of a pack that failed, and then breaks."""

    def __init__(self) -> None:
        self.broken = ""

    def stream(self, images: Any, **_: object) -> Any:
        errors = [InvalidInputError("no image"), BackendError("out of memory"), BackendError("out of memory")]
        for place, ((_, item), error) in enumerate(zip(images, errors, strict=False)):
            if place == 2:
                self.broken = "three packs in a row failed, the first with: out of memory"
            result = ne.Result.failed(error)
            result.tag = item
            yield result


def test_an_image_that_a_broken_engine_did_not_take_has_no_result() -> None:
    """So that it runs when the job goes on; an error that is the image's, or one pack's, is a result."""
    feed = Feed(BreakingSession())  # type: ignore[arg-type]
    results = feed.results(Item(name=Name(str(place)), image=str(place)) for place in range(9))
    seen = [(str(item.name), type(result.error).__name__) for item, result in islice(results, 2)]
    assert seen == [("0", "InvalidInputError"), ("1", "BackendError")]
    with pytest.raises(BackendError, match=r"takes no more images: three packs .* out of memory"):
        next(results)


# --- continuing


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_an_output_that_was_left_at_any_byte_goes_on_behind_its_last_whole_row(kind: str, tmp_path: Path) -> None:
    """Every file of the output is cut at lengths that a crash could leave; no row is lost that was whole before."""
    whole = tmp_path / "whole"
    sink = sink_of(kind, whole)
    for place in range(6):
        sink.write(row(place))
    sink.flush()
    sink.close()
    files = {"jsonl": [whole], "numpy": [whole / "index.jsonl", whole / "embedding.npy"], "parquet": []}[kind]
    if kind == "parquet":  # parts are there whole or not at all; a staged one is thrown away
        (whole / ".part-000002.parquet.tmp").write_bytes(b"half")
        again = sink_of(kind, whole, resume=True)
        assert [name.file for name in again.done()] == [f"image {place}" for place in range(6)]
        again.close()
        assert not list(whole.glob(".part*"))
        return
    for cut_file in files:
        content = cut_file.read_bytes()
        for size in range(0, len(content) + 1, 43):
            cut_file.write_bytes(content[:size])
            again = sink_of(kind, whole, resume=True)
            count = again.found
            assert list(again.done()) == [Name(f"image {place}") for place in range(count)]
            if cut_file.suffix == ".npy":
                assert count == max(0, size - HEADER_BYTES) // 64
            else:
                assert count == content[:size].count(b"\n")
            for place in range(count, 6):
                again.write(row(place))
            again.flush()
            again.close()
            assert cut_file.read_bytes() == content
    if kind == "numpy":
        np.testing.assert_array_equal(
            np.load(whole / "embedding.npy"), [row(place).arrays["embedding"] for place in range(6)]
        )


def test_a_damaged_line_amid_others_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    sink = sink_of("jsonl", tmp_path / "out")
    for place in range(3):
        sink.write(row(place))
    sink.close()
    first, second, third = (tmp_path / "out").read_bytes().splitlines(keepends=True)
    (tmp_path / "out").write_bytes(first + second[:-9] + b"\n" + third)
    with pytest.raises(InvalidInputError, match="line 2, is no result, and lines after it are"):
        sink_of("jsonl", tmp_path / "out", resume=True)
