"""Images one by one: futures, cancelling, closing, and whose thread does what. Judged by ``run`` on the same images."""

from __future__ import annotations

import concurrent.futures
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from waiting import eventually

import navit_edge as ne

Photographs = Mapping[str, npt.NDArray[np.uint8]]

RGB = np.zeros((48, 64, 3), np.uint8)


def colours(count: int) -> list[npt.NDArray[np.uint8]]:
    """Images of different sizes and contents."""
    random = np.random.default_rng(5)
    return [
        random.integers(0, 256, (int(random.integers(8, 80)), int(random.integers(8, 80)), 3), np.uint8)
        for _ in range(count)
    ]


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


@pytest.fixture
def patient(tiny_bundle: Path) -> Iterator[ne.Session]:
    """A session whose engine waits a minute for more images, so that a few small ones wait."""
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as opened:
        yield opened


# --- results ----------------------------------------------------------------------------------------------------


def test_submitted_images_give_the_numbers_of_a_run(session: ne.Session, photographs: Photographs) -> None:
    images = list(photographs.values())
    expected = session.run(images)
    futures = [session.submit(image, tag=name) for name, image in photographs.items()]
    for future, want, name in zip(futures, expected, photographs, strict=True):
        found = future.result(60)
        assert found.tag == future.tag == name
        assert found.index == -1
        assert found.grid == want.grid
        assert found.queue_ms >= 0
        assert np.abs(found.logits - want.logits).max() <= 1e-5


def test_a_run_numbers_its_results(session: ne.Session) -> None:
    results = session.run([RGB, "no/such/photo.jpg", RGB], on_error="return")
    assert [result.index for result in results] == [0, 1, 2]
    assert [result.tag for result in results] == [None, None, None]


def test_paths_pil_images_and_pixels_may_be_submitted(
    session: ne.Session, photographs: Photographs, tmp_path: Path
) -> None:
    pixels = photographs["eye"]
    path = tmp_path / "eye.png"
    Image.fromarray(pixels).save(path)
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    futures = [session.submit(image) for image in (pixels, path, str(path), Image.fromarray(pixels))]
    futures.append(session.submit(ne.Pixels(bgr, "bgr")))
    logits = [future.result(60).logits for future in futures]
    for other in logits[1:]:
        assert np.abs(other - logits[0]).max() <= 1e-5


def test_each_of_many_threads_gets_the_results_of_its_own_images(tiny_bundle: Path) -> None:
    images = colours(24)
    with ne.Session(tiny_bundle, precision="fp32", queue_limit=3) as session:
        expected = session.run(images)
        wrong: list[object] = []

        def call(first: int) -> None:
            try:
                for k in range(first, first + 48):
                    result = session.submit(images[k % 24], tag=k, deadline_ms=1 + k, priority=k % 3).result(60)
                    if result.tag != k or np.abs(result.logits - expected[k % 24].logits).max() > 1e-5:
                        wrong.append(k)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=call, args=(5 * k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_wait_and_as_completed_take_the_futures(patient: ne.Session) -> None:
    futures = [patient.submit(RGB) for _ in range(6)]
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    assert futures[2].cancel()
    done, rest = concurrent.futures.wait(futures, timeout=60, return_when=concurrent.futures.FIRST_COMPLETED)
    assert futures[2] in done
    patient.drain()
    assert set(concurrent.futures.as_completed(futures, timeout=60)) == set(futures)
    done, rest = concurrent.futures.wait(futures, timeout=60)
    assert not rest
    assert [future.cancelled() for future in futures] == [False, False, True, False, False, False]


def test_a_wait_that_is_too_short_ends_in_a_timeout(patient: ne.Session) -> None:
    future = patient.submit(RGB)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(0.01)
    assert not future.done()
    patient.drain()
    assert future.exception(0) is None


# --- cancelling -------------------------------------------------------------------------------------------------


def test_an_image_that_waits_can_be_taken_back(patient: ne.Session) -> None:
    called: list[ne.Future] = []
    future, other = patient.submit(RGB), patient.submit(RGB)
    future.add_done_callback(called.append)  # type: ignore[arg-type]
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert called == [future]
    assert future.cancel()
    with pytest.raises(ne.CancelledError, match="cancelled by cancel"):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    patient.drain()
    assert called == [future]
    assert other.result().error is None


def test_an_image_that_is_done_cannot(session: ne.Session) -> None:
    future = session.submit(RGB)
    result = future.result(60)
    assert not future.cancel()
    assert not future.cancelled()
    assert future.result() is result


# --- callbacks --------------------------------------------------------------------------------------------------


def test_callbacks_run_in_one_thread_in_the_order_of_completion_and_what_they_raise_stops_nothing(
    session: ne.Session,
) -> None:
    seen: list[tuple[int, str]] = []

    def note(future: concurrent.futures.Future[ne.Result]) -> None:
        seen.append((future.result().tag, threading.current_thread().name))
        raise SystemExit if future.result().tag % 2 else ValueError

    futures = [session.submit(RGB, tag=k) for k in range(10)]
    for future in futures:
        if not future.done():
            future.add_done_callback(note)
    session.drain()
    assert all(future.done() for future in futures)
    assert [tag for tag, _ in seen] == sorted(tag for tag, _ in seen)
    assert {name for _, name in seen} <= {"navit-edge delivery"}


def test_a_callback_may_submit_and_cancel_but_not_wait_for_an_image_behind_it(patient: ne.Session) -> None:
    first, second = patient.submit(RGB), patient.submit(RGB)
    nobody_drains = threading.Event()  # while somebody does, images leave at once, and there is nothing to take back
    chained: list[ne.Future] = []
    refused: list[BaseException | None] = []
    taken_back: list[bool] = []

    def chain(_: object) -> None:
        assert nobody_drains.wait(60)
        chained.append(patient.submit(RGB, tag="chained"))
        taken_back.append(patient.submit(RGB).cancel())
        try:
            chained[0].result(30)
        except ne.InvalidInputError as error:
            refused.append(error)

    first.add_done_callback(chain)
    patient._core.drain(None)  # until the results are on their way to Python
    nobody_drains.set()
    assert eventually(lambda: len(refused) == 1)
    assert taken_back == [True]
    assert "a callback waits for an image that is not done" in str(refused[0])
    patient.drain()
    assert second.done()
    assert chained[0].result(0).tag == "chained"


def test_progress_counts_up_to_all_images_in_the_callers_thread(session: ne.Session) -> None:
    seen: list[tuple[int, int, int]] = []
    images = colours(120)
    session.run(images, progress=lambda done, total: seen.append((done, total, threading.get_ident())))
    counts = [done for done, _, _ in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 120
    assert {(total, thread) for _, total, thread in seen} == {(120, threading.get_ident())}


def test_what_progress_raises_ends_the_run_and_not_the_session(session: ne.Session) -> None:
    def stop(done: int, total: int) -> None:
        raise LookupError(f"{done} of {total}")

    with pytest.raises(LookupError, match="of 40"):
        session.run(colours(40), progress=stop)
    assert session.run([RGB])[0].error is None


# --- the end ----------------------------------------------------------------------------------------------------


def test_drain_waits_for_everything_submitted(session: ne.Session) -> None:
    called: list[object] = []
    futures = [session.submit(image) for image in colours(50)]
    for future in futures:
        future.add_done_callback(called.append)
    session.drain()
    assert all(future.done() for future in futures)
    assert len(called) == 50
    session.drain()


def test_close_ends_every_future_and_takes_no_more(tiny_bundle: Path) -> None:
    session = ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000)
    before = session.submit(RGB)
    session.drain()
    futures = [session.submit(RGB) for _ in range(5)]
    session.close()
    assert before.result(0).error is None
    assert all(future.done() for future in futures)
    for future in futures:
        assert not future.cancelled()
        with pytest.raises(ne.CancelledError, match="closed"):
            future.result(0)
    session.close()
    session.drain()
    with pytest.raises(ne.CancelledError, match="closed"):
        session.submit(RGB)
    with pytest.raises(ne.CancelledError, match="closed"):
        session.run([RGB])


def test_a_callback_may_close_its_session(tiny_bundle: Path) -> None:
    session = ne.Session(tiny_bundle, precision="fp32")
    closed = threading.Event()

    def close(_: object) -> None:
        session.close()
        closed.set()

    future = session.submit(RGB)
    future.add_done_callback(close)
    assert closed.wait(30)
    session.close()
    with pytest.raises(ne.CancelledError):
        session.submit(RGB)


def test_the_end_of_a_with_block_closes(tiny_bundle: Path) -> None:
    with ne.Session(tiny_bundle, precision="fp32") as session:
        future = session.submit(RGB)
    assert future.done()
    with pytest.raises(ne.CancelledError):
        session.submit(RGB)


def test_a_future_keeps_its_session_and_a_session_that_nobody_holds_ends_its_thread(tiny_bundle: Path) -> None:
    before = set(threading.enumerate())
    result = ne.Session(tiny_bundle, precision="fp32").submit(RGB).result(60)
    assert result.logits.shape == (10,)
    gc.collect()
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_pixels_are_kept_until_they_are_read_and_no_longer(session: ne.Session) -> None:
    image = RGB.copy()
    (expected,) = session.run([image])
    gone = weakref.ref(image)
    future = session.submit(image)
    del image
    assert np.array_equal(future.result(60).logits, expected.logits)
    assert eventually(lambda: gone() is None)


def test_pixels_of_an_image_that_is_taken_back_are_let_go(patient: ne.Session) -> None:
    image = RGB.copy()
    gone = weakref.ref(image)
    future = patient.submit(image)
    del image
    assert gone() is not None
    assert future.cancel()
    assert eventually(lambda: gone() is None)


ENDINGS = {
    "nothing closed": "futures = [session.submit(RGB) for _ in range(50)]",
    "images that wait": "session = ne.Session(path, batch_wait_ms=60_000); future = session.submit(RGB)",
    "only a future": "future = ne.Session(path, batch_wait_ms=60_000).submit(RGB)",
    "a callback that submits": (
        "def again(_):\n"
        "    try: session.submit(RGB)\n"
        "    except ne.CancelledError: pass\n"
        "session.submit(RGB).add_done_callback(again)"
    ),
    "a stream half read": "results = session.stream(RGB for _ in iter(int, 1)); next(results)",
    "a stream half read by a thread": (
        "reading = threading.Event()\n"
        "def read():\n"
        "    for result in session.stream(RGB for _ in iter(int, 1)): reading.set()\n"
        "threading.Thread(target=read, daemon=True).start(); reading.wait()"
    ),
    "a run in a thread": (
        "reading = threading.Event()\n"
        "def run():\n"
        "    try:\n"
        "        while True: session.run([RGB] * 4, progress=lambda *_: reading.set())\n"
        "    except ne.CancelledError: pass\n"
        "threading.Thread(target=run, daemon=True).start(); reading.wait()"
    ),
    "a session that has just gone": "session.submit(RGB).result(); del session",
    "a thread that comes back to Python too late": (
        "import atexit; from navit_edge import future; atexit.unregister(future._close_all)\n"
        "class Late:\n"
        "    core, sleep = session._core, time.sleep\n"
        "    def __del__(self): self.core.close(); Late.sleep(0.2)\n"
        "session.submit(RGB).result(); _late = Late()"
    ),
    "an error": "future = session.submit(RGB); raise SystemExit(0)",
}


@pytest.mark.parametrize("case", ENDINGS)
def test_an_interpreter_that_ends_with_work_under_way_ends_in_peace(tiny_bundle: Path, case: str) -> None:
    program = (
        "import sys, threading, time\nimport numpy as np\nimport navit_edge as ne\n"
        "path = sys.argv[1]\nRGB = np.zeros((48, 64, 3), np.uint8)\nsession = ne.Session(path, precision='fp32')\n"
    ) + ENDINGS[case]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_bundle)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
