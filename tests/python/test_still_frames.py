"""``stream(still=…)``: which frames of a camera are run, and what the others get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from films import write_film
from image_files import encoded
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app

Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=1 << 24) as session:
        yield session


def noisy(frame: Frame, seed: int) -> Frame:
    noise = np.random.default_rng(seed).normal(0, 2.5, frame.shape)
    return np.clip(frame + noise, 0, 255).round().astype(np.uint8)


def with_square(frame: Frame, y: int, x: int, side: int) -> Frame:
    changed = frame.copy()
    changed[y : y + side, x : x + side] = 255 - changed[y : y + side, x : x + side]
    return changed


def film(photographs: Any) -> tuple[list[Frame], list[bool]]:
    """Frames of a noisy camera, past which a thing moves in frames 20 to 24; which of them are to be run."""
    still: Frame = photographs["china"]
    frames = [noisy(still, number) for number in range(40)]
    for number in range(20, 25):
        frames[number] = with_square(frames[number], 100, 50 + 60 * (number - 20), 80)
    return frames, [number in (0, *range(20, 26)) for number in range(40)]


def test_only_frames_that_changed_are_run_and_the_others_get_the_key_frames_bits(
    session: ne.Session, tiny_bundle: Path, photographs: Any
) -> None:
    frames, changed = film(photographs)
    ran = session.metrics.stats()["cache"]["misses"]
    results = list(session.stream(((frame, number) for number, frame in enumerate(frames)), still=ne.Still()))
    assert [result.tag for result in results] == list(range(40))
    assert [not result.cached for result in results] == changed
    assert session.metrics.stats()["cache"]["misses"] - ran == changed.count(True)
    key = 0
    for number, result in enumerate(results):
        key = number if changed[number] else key
        np.testing.assert_array_equal(result.logits, results[key].logits)
    with ne.Session(tiny_bundle, precision="fp32") as other:  # what a run of the frame itself would have given
        own = other.run(frames)
    apart = [np.abs(a.embedding - b.embedding).max() for a, b in zip(results, own, strict=True)]
    assert max(apart) < 0.1 * np.abs(own[0].embedding).max()
    assert max(np.array(apart)[changed]) < 1e-4


def test_bgr_frames_and_frames_of_video_memory_are_compared_as_they_lie(session: ne.Session, photographs: Any) -> None:
    frames, changed = film(photographs)
    bgr = [ne.Pixels(np.ascontiguousarray(frame[:, :, ::-1]), "bgr") for frame in frames]
    assert [not result.cached for result in session.stream(bgr, still=ne.Still())] == changed
    gray = [np.ascontiguousarray(frame[:, :, 1]) for frame in frames]
    assert [not result.cached for result in session.stream(gray, still=ne.Still())] == changed


def test_a_key_frame_comes_after_so_many_frames_and_other_levels_are_the_callers(
    session: ne.Session, photographs: Any
) -> None:
    still: Frame = photographs["cat"]
    frames = [noisy(still, number) for number in range(9)]
    run = [not result.cached for result in session.stream(frames, still=ne.Still(every=4))]
    assert run == [number % 4 == 0 for number in range(9)]
    assert all(not result.cached for result in session.stream(frames, still=ne.Still(levels=0, share=0.0)))
    assert all(not result.cached for result in session.stream(frames))


def test_files_are_known_by_their_bytes_and_bad_frames_fail_alone(session: ne.Session, photographs: Any) -> None:
    frame: Frame = photographs["coffee"]
    items: list[Any] = [frame, encoded("PNG", frame), np.zeros((0, 5, 3), np.uint8), frame.astype(np.float32), frame]
    results = list(session.stream(items, still=ne.Still()))
    assert [result.error is None for result in results] == [True, True, False, False, True]
    assert [result.cached for result in results[:2]] == [False, False]
    assert results[4].cached


@pytest.mark.parametrize(
    ("still", "message"),
    [
        (ne.Still(levels=256), "still_levels is 256; expected levels of 255, 0 to 255"),
        (ne.Still(levels=1.5), "still_levels is 1.5"),  # type: ignore[arg-type]
        (ne.Still(share=1.0), "still_share is 1.0; expected a share of the pixels"),
        (ne.Still(share=float("nan")), "still_share is nan"),
        (ne.Still(every=-1), "still_every is -1"),
        (True, r"still is True; expected navit_edge\.Still\(\), or None"),
    ],
)
def test_what_makes_no_sense_is_refused(session: ne.Session, still: Any, message: str) -> None:
    with pytest.raises(ne.InvalidInputError, match=message):
        session.stream([], still=still)


def test_a_session_that_remembers_nothing_says_what_to_do(tiny_bundle: Path) -> None:
    with (
        ne.Session(tiny_bundle, precision="fp32") as session,
        pytest.raises(ne.InvalidInputError, match="open it with cache_bytes"),
    ):
        session.stream([], still=ne.Still())


def test_a_job_over_a_film_runs_the_frames_that_show_something_new(tiny_bundle: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "camera.mp4", [60, 60, 60, 160, 160, 60])
    rows = {}
    for still in (False, True):
        command = ["run", str(tiny_bundle), str(film), "--json", "--top-k", "1", *(["--still"] if still else [])]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.stderr
        rows[still] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["pack"] >= 0 for row in rows[True]] == [True, False, False, True, False, True]
    assert all(row["pack"] >= 0 for row in rows[False])
    names = ("frame", "time_s", "grid")
    assert [[row[name] for name in names] for row in rows[True]] == [
        [row[name] for name in names] for row in rows[False]
    ]


def test_a_cluster_has_no_order_of_frames(tiny_bundle: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "camera.mp4", [60, 60])
    done = CliRunner().invoke(app, ["run", str(tiny_bundle), str(film), "--still", "--ray", "local"])
    assert done.exit_code == 2
    assert "--still" in done.stderr
