"""What becomes of images whose actors die: the driver of `run --ray`, on a stand-in for Ray that kills at will."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navit_edge.errors import BackendError, BundleError, InvalidInputError
from navit_edge.ray.ahead import Loaded
from navit_edge.ray.feed import RayFeed
from navit_edge.ray.job_actor import Answer, Described, Sent, Task
from navit_edge.ray.pool import Pool, Size
from navit_edge.run.rows import Layout, Row, failed
from navit_edge.run.sources import Item, Name

LAYOUT = Layout(labels=[], top_k=1, shapes={})


class RayError(Exception):
    """Of the cluster."""


class RayTaskError(RayError):
    """Of a call in an actor."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Call:
    """A reference to what a call will have given."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.actor: StandIn | None = None

    @property
    def done(self) -> bool:
        return self.actor is None or self.actor.is_dead or self not in self.actor.calls


class StandIn:
    """An actor: does a call when it is told to."""

    def __init__(self, ray: FakeRay) -> None:
        self.ray = ray
        self.calls: list[Call] = []
        self.is_dead = False
        for name in ("ping", "open", "run"):
            setattr(self, name, SimpleNamespace(remote=lambda *given, name=name: self._begin(name, given)))

    def _begin(self, name: str, given: tuple[Any, ...]) -> Call:
        call = Call((name, given))
        call.actor = self
        self.calls.append(call)
        return call

    def step(self) -> None:
        call = self.calls[0]
        name, given = call.value
        if name == "run" and self.ray.kills(given[0].value):
            self.is_dead = True
            return
        self.calls.pop(0)
        call.actor = None
        try:
            call.value = self.ray.answers(name, given)
        except Exception as error:
            call.value = RayTaskError(error)


class FakeRay:
    """poison: places of images that an actor dies of. luck: of an actor's death by something else."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, poison: Sequence[int] = (), luck: float = 0.0, seed: int = 0, broken: str = "") -> None:
        self.poison = set(poison)
        self.luck = luck
        self.rng = random.Random(seed)
        self.broken = broken
        self.started = 0

    def remote(self, *_: Any) -> Any:
        def start() -> StandIn:
            self.started += 1
            return StandIn(self)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def kill(self, actor: StandIn) -> None:
        actor.is_dead = True

    def put(self, value: Any) -> Call:
        return Call(value)

    def get(self, call: Call) -> Any:
        self.wait([call])
        if call.actor is None:
            if isinstance(call.value, RayError):
                raise call.value
            return call.value
        raise RayError("the actor died")

    def wait(
        self, calls: list[Call], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Call], list[Call]]:
        if timeout != 0:
            while not any(call.done for call in calls):
                actors = [call.actor for call in calls if call.actor is not None and not call.actor.is_dead]
                self.rng.choice(actors).step()
        ready = [call for call in calls if call.done][:num_returns]
        return ready, [call for call in calls if call not in ready]

    def kills(self, batch: Sequence[Sent]) -> bool:
        return bool(self.poison & {one.place for one in batch}) or self.rng.random() < self.luck

    def answers(self, name: str, given: tuple[Any, ...]) -> Any:
        if name == "open":
            if self.broken == "bundle":
                raise BundleError("no bundle here")
            return Described("engine", "device", [], [])
        if name == "ping":
            return None
        if self.broken == "session":
            raise BackendError("the session takes no more images: stalled")
        batch = given[0].value
        return Answer([Row(record={"place": one.place}) for one in batch], [""] * len(batch), None, 1, 1)


def items(count: int, bad: Sequence[int] = ()) -> Iterator[Item]:
    for place in range(count):
        error = InvalidInputError("no image") if place in bad else None
        yield Item(name=Name(str(place)), image=str(place), error=error)


def load(item: Item, place: int) -> Loaded:
    return Loaded(item, failed(item.error) if item.error is not None else Sent(str(place), "", place))


def feed_of(ray: FakeRay, pool: Any, batch: int = 4) -> RayFeed:
    return RayFeed(ray, pool, load, batch_images=batch, readers=1)


def size(actors: int) -> Size:
    return Size(actors=actors, cpus=1, gpus=0)


@given(
    count=st.integers(0, 60),
    batch=st.integers(1, 9),
    actors=st.integers(1, 4),
    poison=st.sets(st.integers(0, 59), max_size=2),
    bad=st.sets(st.integers(0, 59), max_size=5),
    luck=st.sampled_from((0.0, 0.2)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_every_image_comes_once_and_in_order_whatever_dies(
    count: int, batch: int, actors: int, poison: set[int], bad: set[int], luck: float, seed: int
) -> None:
    ray = FakeRay(sorted(poison), luck, seed)
    with Pool[Any](ray, Task(bundle="b"), size(actors)) as pool:
        rows = [one.row for one in feed_of(ray, pool, batch).rows(items(count, sorted(bad)), LAYOUT)]
    assert [row.record["file"] for row in rows] == [str(place) for place in range(count)]
    for place, row in enumerate(rows):
        if place in bad:
            assert row.record["error"] == "no image"
        elif place in poison:
            assert "actors died while they ran it" in row.record["error"]
        elif luck == 0.0:
            assert row.record["place"] == place
        else:  # its actor may have died three times by bad luck
            assert row.record.get("place") == place or "actors died" in row.record["error"]


def test_a_session_that_breaks_again_and_again_ends_the_job_with_its_cause() -> None:
    ray = FakeRay(broken="session")
    with Pool[Any](ray, Task(bundle="b"), size(2)) as pool, pytest.raises(BackendError, match="stalled"):
        list(feed_of(ray, pool, 64).rows(items(100_000), LAYOUT))


def test_a_bundle_that_cannot_be_opened_ends_the_job_before_it_begins() -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        Pool[Any](FakeRay(broken="bundle"), Task(bundle="b"), size(2))


def test_after_a_stop_what_actors_have_is_finished_and_no_more_is_sent() -> None:
    ray = FakeRay()
    with Pool[Any](ray, Task(bundle="b"), size(2)) as pool:
        feed = feed_of(ray, pool)
        rows = feed.rows(items(1000), LAYOUT)
        first = next(rows)
        feed.stop()
        names = [first.item.name.file, *(one.item.name.file for one in rows)]
    assert names == [str(place) for place in range(len(names))]
    assert 4 <= len(names) <= 4 * 2 * 2 * 2


def test_what_the_source_raises_comes_after_the_images_before_it() -> None:
    def source() -> Iterator[Item]:
        yield from items(5)
        raise InvalidInputError("the folder has gone")

    ray = FakeRay()
    with Pool[Any](ray, Task(bundle="b"), size(1)) as pool:
        rows = feed_of(ray, pool).rows(source(), LAYOUT)
        assert [next(rows).item.name.file for _ in range(5)] == ["0", "1", "2", "3", "4"]
        with pytest.raises(InvalidInputError, match="has gone"):
            next(rows)


@pytest.mark.parametrize(
    ("nodes", "asked", "made"),
    [
        ([(4, 0), (8, 0)], (0, 0, 0), (3, 4, 0)),
        ([(0, 0), (4, 0), (4, 0)], (0, 0, 0), (2, 4, 0)),
        ([(4, 0), (8, 0)], (0, 2, 0), (6, 2, 0)),
        ([(16, 2), (8, 0)], (0, 0, 1), (2, 8, 1)),
        ([(16, 2), (16, 4)], (0, 0, 1), (6, 4, 1)),
        ([(4, 0)], (9, 1, 0), (9, 1, 0)),
    ],
)
def test_actors_fill_the_cluster(
    nodes: list[tuple[int, int]], asked: tuple[int, int, int], made: tuple[int, int, int]
) -> None:
    resources = [{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in nodes]
    actors, cpus, gpus = asked
    found = Size.for_cluster(resources, actors=actors, cpus=cpus, gpus=gpus)
    assert (found.actors, found.cpus, found.gpus) == made


def test_a_cluster_without_room_for_an_actor_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="8 CPUs for an actor; the largest of 1 has 4 CPUs"):
        Size.for_cluster([{"CPU": 4.0}], actors=0, cpus=8, gpus=0)
