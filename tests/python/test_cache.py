"""Sessions that remember results. Judged by a session that remembers nothing, on the same images."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import navit_edge as ne
from navit_edge.decode import Decoder

Pixels: TypeAlias = npt.NDArray[np.uint8]

#: What one image may be given as; all but the files share its pixels.
FORMS: dict[str, Callable[[Pixels], Any]] = {
    "array": lambda image: image,
    "copy": lambda image: image.copy(),
    "strided": lambda image: np.pad(image, ((0, 0), (3, 5), (0, 0)), constant_values=9)[:, 3:-5],
    "flipped": lambda image: np.ascontiguousarray(image[::-1])[::-1],
    "red last": lambda image: np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1],
    "four bytes": lambda image: np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=7)[:, :, :3],
    "pil": Image.fromarray,
}


def png(image: Pixels, **save: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **save)
    return file.getvalue()


def colours(count: int, seed: int = 5) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 256, (int(random.integers(8, 80)), int(random.integers(8, 80)), 3), np.uint8)
        for _ in range(count)
    ]


IMAGES = colours(7)
FILES = [png(image) for image in IMAGES]
POLICIES = [None, ne.Policy.token_cap(16), ne.Policy.parse("content:min_tokens=4,max_tokens=40")]


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=1 << 20) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(tiny_bundle: Path) -> Iterator[ne.Session]:
    """A session that remembers a few results, and goes on forgetting."""
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=20_000) as opened:
        yield opened


def bits(result: ne.Result) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in result.numpy().items()}


def same_numbers(found: ne.Result, expected: ne.Result) -> None:
    """What does not depend on the pack; and outputs, as close as two packs of float32 are."""
    for name in ("error", "grid", "pixels", "scale", "offset", "token_count", "reason", "decoding", "labels"):
        assert getattr(found, name) == getattr(expected, name), name
    arrays = expected.numpy()
    assert found.numpy().keys() == arrays.keys()
    for name, array in found.numpy().items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-3, atol=1e-4, err_msg=name)


def results_of(session: ne.Session, way: str, images: list[Any], policy: ne.Policy | None) -> list[ne.Result]:
    if way == "run":
        return session.run(images, policy=policy)
    if way == "submit":
        return [future.result(60) for future in [session.submit(image, policy=policy) for image in images]]
    return list(session.stream(images, policy=policy))


@settings(max_examples=25, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(
            st.sampled_from(["run", "submit", "stream"]),
            st.sampled_from(range(len(POLICIES))),
            st.lists(
                st.tuples(st.sampled_from(range(len(IMAGES))), st.sampled_from([*FORMS, "bytes"])),
                min_size=1,
                max_size=8,
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_random_sets_with_repeats_give_the_numbers_of_a_session_without_a_cache(
    plain: ne.Session, small: ne.Session, rounds: list[tuple[str, int, list[tuple[int, str]]]]
) -> None:
    for way, policy, drawn in rounds:
        images = [FILES[i] if form == "bytes" else FORMS[form](IMAGES[i]) for i, form in drawn]
        found = results_of(small, way, images, POLICIES[policy])
        expected = results_of(plain, "run", images, POLICIES[policy])
        assert [result.index for result in found] == ([-1] * len(images) if way == "submit" else [*range(len(images))])
        for one, other in zip(found, expected, strict=True):
            same_numbers(one, other)
            assert not one.cached or (one.pack, one.pack_tokens) == (-1, 0)
    stats = small.metrics.stats()
    assert stats["cache"]["bytes"] <= stats["cache"]["most_bytes"] == 20_000
    images = stats["images"]
    assert images["submitted"] == images["completed"] == images["submitted"] - images["waiting"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pixels_in_any_form_give_the_bits_of_the_first_time(session: ne.Session, form: str) -> None:
    first = session.run([IMAGES[0]])[0]
    again = session.run([FORMS[form](IMAGES[0])])[0]
    assert (first.cached, again.cached) == (False, True)
    assert bits(again) == bits(first)
    assert session.metrics.stats()["cache"]["misses"] == 1


def test_another_pixel_or_policy_or_shape_is_another_image(session: ne.Session) -> None:
    image = IMAGES[0]
    other = image.copy()
    other[-1, -1, 2] ^= 1
    gray = image[:, :, 0].copy()
    for variant in (image, other, image[:-1], image[:, :-1], gray, np.dstack([gray] * 3)):
        assert not session.run([variant])[0].cached
    assert not session.run([image], policy=ne.Policy.token_cap(9))[0].cached
    assert session.run([image], policy=ne.Policy.token_cap(100_000))[0].cached  # on the same grid


class Opened:
    """Counts the files that are opened to be decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = Decoder.open

        def open_counted(decoder: Decoder, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return original(decoder, *args, **kwargs)

        monkeypatch.setattr(Decoder, "open", open_counted)


@pytest.mark.parametrize("way", ["run", "submit", "stream 1", "stream 3"])
def test_a_file_that_was_seen_is_not_decoded_again_in_whatever_way_it_comes(
    session: ne.Session, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(monkeypatch)
    path = tmp_path / "a.png"
    path.write_bytes(FILES[0])
    first = session.run([path])[0]
    forms = [path, str(path), FILES[0], bytearray(FILES[0]), memoryview(FILES[0]), io.BytesIO(FILES[0])]
    for result in results_of(session, way, forms, None):
        assert result.cached
        assert bits(result) == bits(first)
    assert opened.count == 1
    path.write_bytes(FILES[1])  # the name says nothing
    assert not results_of(session, way, [path], None)[0].cached
    assert opened.count == 2


def test_a_file_that_comes_twice_in_one_run_is_decoded_once(
    session: ne.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(monkeypatch)
    results = session.run([FILES[0], FILES[1], FILES[0], IMAGES[2], FILES[1]])
    assert [result.cached for result in results] == [False, False, True, False, True]
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert bits(results[2]) == bits(results[0])
    assert opened.count == 2


@pytest.mark.parametrize("way", ["run", "submit", "stream 1", "stream 3"])
def test_a_remembered_file_says_what_decoding_did(session: ne.Session, way: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    turned = png(IMAGES[0], exif=exif)
    first, again = (results_of(session, way, [turned], None)[0] for _ in range(2))
    assert first.decoding == again.decoding == "turned upright (orientation 6)"
    assert first.pixels == again.pixels == (IMAGES[0].shape[1], IMAGES[0].shape[0])
    assert again.cached


def test_under_a_latency_target_a_file_is_decoded_to_find_its_grid(session: ne.Session) -> None:
    policy = ne.Policy.latency(3.6e6)  # whatever is learned: all tokens
    results = [session.run([FILES[0]], policy=policy)[0] for _ in range(2)]
    assert [result.cached for result in results] == [False, True]


def test_what_cannot_be_decoded_is_not_remembered(session: ne.Session) -> None:
    for _ in range(2):
        result = session.run([b"no image", FILES[0]], on_error="return")[0]
        assert isinstance(result.error, ne.InvalidInputError)
        with pytest.raises(ne.InvalidInputError, match="image"):
            session.submit(b"no image").result(60)
        (streamed,) = session.stream([b"no image"])
        assert isinstance(streamed.error, ne.InvalidInputError)
    assert session.metrics.stats()["cache"]["entries"] == 1


def test_a_closed_session_gives_nothing_that_it_remembers(session: ne.Session) -> None:
    session.run([FILES[0]])
    session.close()
    with pytest.raises(ne.CancelledError):
        session.submit(FILES[0])
    with pytest.raises(ne.CancelledError):
        session.run([FILES[0]])
    with pytest.raises(ne.CancelledError):
        list(session.stream([FILES[0]]))


def test_results_outlive_their_eviction_and_the_session(tiny_bundle: Path) -> None:
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=5_000) as session:
        kept = [session.submit(image).result(60) for image in IMAGES for _ in range(2)]
        before = [bits(result) for result in kept]
        session.run(colours(60, seed=6))
        assert session.metrics.stats()["cache"]["evictions"] > 0
    del session
    assert [bits(result) for result in kept] == before


def test_one_image_that_many_tasks_ask_for_is_computed_once(session: ne.Session) -> None:
    async def ask() -> list[ne.Result]:
        futures = await asyncio.gather(*(session.submit_async(IMAGES[0], tag=i) for i in range(30)))
        return list(await asyncio.gather(*futures))

    results = asyncio.run(ask())
    assert [result.tag for result in results] == [*range(30)]
    assert len({tuple(bits(result).items()) for result in results}) == 1
    cache = session.metrics.stats()["cache"]
    assert (cache["misses"], cache["hits"] + cache["coalesced"]) == (1, 29)


def test_progress_counts_remembered_images_too(session: ne.Session) -> None:
    session.run(FILES[:3])
    told: list[tuple[int, int]] = []
    session.run([*FILES[:3], IMAGES[4]], progress=lambda done, total: told.append((done, total)))
    session.run(FILES[:3], progress=lambda done, total: told.append((done, total)))
    assert told[0] == (3, 4)
    assert told[-2:] == [(4, 4), (3, 3)]


def test_metrics_and_prometheus_count_the_cache(session: ne.Session) -> None:
    for _ in range(3):
        session.run([IMAGES[0]])
    cache = session.metrics.stats()["cache"]
    assert {name: cache[name] for name in ("hits", "misses", "coalesced", "evictions", "entries")} == {
        "hits": 2,
        "misses": 1,
        "coalesced": 0,
        "evictions": 0,
        "entries": 1,
    }
    text = session.metrics.prometheus()
    for line in ("cache_hits_total", "cache_misses_total", "cache_coalesced_total", "cache_evictions_total"):
        assert f"# TYPE navit_edge_{line} counter" in text
    assert "navit_edge_cache_bytes{" in text


def test_copies_and_pickles_of_a_result_say_that_it_was_remembered(session: ne.Session) -> None:
    first, again = (session.run([IMAGES[0]])[0] for _ in range(2))
    for made in (copy.copy, copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))):
        assert (made(first).cached, made(again).cached) == (False, True)


def test_without_a_cache_nothing_is_remembered(plain: ne.Session) -> None:
    assert not any(plain.run([image])[0].cached for image in (IMAGES[0], IMAGES[0], FILES[0], FILES[0]))
    assert not any(plain.metrics.stats()["cache"].values())
