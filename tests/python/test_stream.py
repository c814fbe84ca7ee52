"""Streams: any iterable in, results out, bounded, in order, and gone when nobody reads them."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from waiting import eventually, stream_threads

import navit_edge as ne

Photographs = Mapping[str, npt.NDArray[np.uint8]]

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32", decoders=3) as opened:
        yield opened
    assert stream_threads() == []


@pytest.fixture
def files(photographs: Photographs, tmp_path: Path) -> list[Path]:
    """Photographs as files, and among them one that is none."""
    paths = []
    for name, pixels in photographs.items():
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    paths.insert(3, tmp_path / "notes.png")
    paths[3].write_text("no pixels here")
    return paths


def same(found: ne.Result, expected: ne.Result) -> bool:
    return found.grid == expected.grid and bool(np.abs(found.logits - expected.logits).max() <= 1e-5)


# --- results ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 1, 5])
def test_a_stream_gives_the_results_of_a_run_in_order(
    session: ne.Session, photographs: Photographs, capacity: int
) -> None:
    images = list(photographs.values()) * 3
    expected = session.run(images)
    results = list(session.stream((image for image in images), capacity=capacity))
    assert [result.index for result in results] == list(range(len(images)))
    assert all(map(same, results, expected))


def test_as_completed_each_result_comes_once(session: ne.Session, photographs: Photographs) -> None:
    images = list(photographs.values()) * 3
    expected = session.run(images)
    results = list(session.stream(images, ordered=False))
    assert sorted(result.index for result in results) == list(range(len(images)))
    assert all(same(result, expected[result.index]) for result in results)


def test_files_are_decoded_in_order_and_a_bad_one_fails_alone(session: ne.Session, files: list[Path]) -> None:
    mixed: list[Any] = [*files, RGB, RGB.astype(np.float32), None]
    expected = session.run(mixed, on_error="return")
    results = list(session.stream(iter(mixed)))
    assert [result.index for result in results] == list(range(len(mixed)))
    for found, want in zip(results, expected, strict=True):
        assert type(found.error) is type(want.error)
        assert str(found.error) == str(want.error)
        assert want.error is not None or same(found, want)
    assert sum(result.error is not None for result in results) == 3


def test_a_pair_hands_its_tag_to_the_result(session: ne.Session, files: list[Path]) -> None:
    pairs = [(path, {"name": path.name}) for path in files]
    results = list(session.stream(pairs, ordered=False))
    assert {result.index: result.tag for result in results} == {k: pair[1] for k, pair in enumerate(pairs)}


def test_an_endless_source_is_read_no_further_than_the_capacity(session: ne.Session) -> None:
    read = itertools.count()
    results = session.stream((RGB for _ in read), capacity=4)
    assert results.capacity == 4
    for k, result in zip(range(50), results, strict=False):
        assert result.index == k
        # those fetched, those in the stream, one result taken ahead, and the image that waits for room
        assert int(repr(read)[6:-1]) <= k + 1 + 4 + 2
    results.close()


def test_nothing_is_read_before_the_first_result_is_asked_for(session: ne.Session) -> None:
    read: list[int] = []

    def source() -> Iterator[npt.NDArray[np.uint8]]:
        read.append(1)
        yield RGB

    results = session.stream(source())
    time.sleep(0.02)
    assert read == []
    assert len(list(results)) == 1


def test_an_empty_source_gives_nothing(session: ne.Session) -> None:
    assert list(session.stream([])) == []
    assert list(session.stream(iter(()))) == []


def test_several_streams_runs_and_single_images_share_a_session(session: ne.Session, photographs: Photographs) -> None:
    images = list(photographs.values())
    expected = session.run(images)
    first, second = session.stream(images * 2), session.stream(images * 2, ordered=False)
    for k, (one, other) in enumerate(zip(first, second, strict=True)):
        assert same(one, expected[k % len(images)])
        assert same(other, expected[other.index % len(images)])
        if k % 5 == 0:
            assert same(session.submit(images[0]).result(60), expected[0])
            assert same(session.run(images[:1])[0], expected[0])


def test_frames_of_opencv_are_read_where_they_lie(
    session: ne.Session, photographs: Photographs, tmp_path: Path
) -> None:
    import cv2

    pixels = photographs["coffee"][:96, :160]
    path = str(tmp_path / "film.avi")
    film = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 96))
    for k in range(6):
        film.write(np.ascontiguousarray(np.roll(pixels, 7 * k, 1)[:, :, ::-1]))
    film.release()

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        camera = cv2.VideoCapture(path)
        while True:
            ok, frame = camera.read()
            if not ok:
                camera.release()
                return
            yield frame

    copies = [np.ascontiguousarray(frame[8:88, 16:144, ::-1]) for frame in frames()]
    assert len(copies) == 6
    expected = session.run(copies)
    cut = (ne.Pixels(frame[8:88, 16:144], "bgr") for frame in frames())  # BGR, rows of the whole frame apart
    results = list(session.stream(cut, capacity=2))
    assert len(results) == 6
    assert all(map(same, results, expected))


# --- errors -----------------------------------------------------------------------------------------------------


def test_what_the_source_raises_comes_after_the_results_before_it(session: ne.Session, files: list[Path]) -> None:
    def source() -> Iterator[Path]:
        yield from files
        raise LookupError("the camera is gone")

    seen: list[int] = []
    results = session.stream(source())
    with pytest.raises(LookupError, match="the camera is gone"):
        seen.extend(result.index for result in results)
    assert seen == list(range(len(files)))
    assert list(results) == []


def test_an_error_is_raised_where_it_was_asked_for_and_ends_the_stream(session: ne.Session, files: list[Path]) -> None:
    seen: list[int] = []
    with pytest.raises(ne.InvalidInputError, match=r"notes\.png"):
        seen.extend(result.index for result in session.stream(files, on_error="raise"))
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"images": RGB}, "images is of type ndarray; expected an iterable of images: stream"),
        ({"images": "photo.jpg"}, "images is of type str"),
        ({"images": Path("photo.jpg")}, "images is of type PosixPath"),
        ({"images": 3}, "images is of type int"),
        ({"images": None}, "images is of type NoneType"),
        ({"capacity": -1}, "capacity is -1; expected a number of images"),
        ({"capacity": 2.5}, "capacity is 2.5"),
        ({"drop": "oldest"}, "drop is 'oldest'; expected one of block, drop-oldest, drop-newest"),
        ({"drop": None}, "drop is None"),
        ({"on_error": "ignore"}, 'on_error is \'ignore\'; expected "raise" or "return"'),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(
    session: ne.Session, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ne.InvalidInputError, match=text):
        session.stream(**{"images": [RGB], **arguments})


def test_a_closed_session_ends_its_streams(tiny_bundle: Path) -> None:
    session = ne.Session(tiny_bundle, precision="fp32")
    results = session.stream(RGB for _ in iter(int, 1))
    next(results)
    session.close()
    left: list[ne.Result] = []
    with pytest.raises(ne.CancelledError):
        left.extend(results)
    assert all(result.error is None or isinstance(result.error, ne.CancelledError) for result in left)
    with pytest.raises(ne.CancelledError):
        next(session.stream([RGB]))
    assert eventually(lambda: stream_threads() == [])


# --- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["break", "raise", "close", "with", "collect", "never read"])
def test_a_stream_that_is_left_ends_its_threads_and_lets_everything_go(
    session: ne.Session, files: list[Path], how: str
) -> None:
    closed = threading.Event()

    def source() -> Iterator[Path | npt.NDArray[np.uint8]]:
        try:
            while True:
                yield from files
                yield RGB.copy()
        finally:
            closed.set()

    def leave() -> None:
        results = session.stream(source())
        if how == "never read":
            return
        if how == "with":
            with results:
                next(results)
            return
        for k, _ in enumerate(results):
            if k < 20:
                continue
            if how == "break":
                break
            if how == "raise":
                raise LookupError
            if how == "close":
                results.close()
                results.close()
            if how == "collect":
                return

    try:
        leave()
    except LookupError:
        assert how == "raise"
    gc.collect()
    assert eventually(lambda: stream_threads() == [])
    assert how == "never read" or closed.wait(10)
    session.drain()  # whatever was in flight has ended
    assert session.run([RGB])[0].error is None


def test_a_stream_and_its_images_are_gone_after_it_is_left(session: ne.Session) -> None:
    frames: list[weakref.ref[npt.NDArray[np.uint8]]] = []

    def source() -> Iterator[npt.NDArray[np.uint8]]:
        for _ in range(200):
            frame = RGB.copy()
            frames.append(weakref.ref(frame))
            yield frame
            del frame

    results = session.stream(source(), capacity=6)
    for _ in range(30):
        next(results)
    # Read or not, no more than the stream's capacity is held, and a few on their way.
    assert eventually(lambda: sum(frame() is not None for frame in frames) <= 6 + 3)
    gone = weakref.ref(results)
    del results
    assert eventually(lambda: gone() is None)
    assert eventually(lambda: all(frame() is None for frame in frames))


def test_closing_does_not_wait_for_ever_for_a_source_that_does_not_return(
    session: ne.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("navit_edge.streaming.SOURCE_PATIENCE_S", 0.05)
    stuck = threading.Event()

    def camera() -> Iterator[npt.NDArray[np.uint8]]:
        yield RGB
        stuck.wait(30)

    results = session.stream(camera())
    next(results)
    with pytest.warns(ResourceWarning, match="its source waits for an image"):
        results.close()
    stuck.set()
    assert eventually(lambda: stream_threads() == [])


def test_a_stream_may_be_closed_by_its_own_source(session: ne.Session) -> None:
    streams: list[ne.Stream] = []

    def source() -> Iterator[npt.NDArray[np.uint8]]:
        yield RGB
        streams[0].close()
        yield RGB

    streams.append(session.stream(source()))
    list(streams[0])
    assert eventually(lambda: stream_threads() == [])
