"""What an actor of `run --ray` makes of what the driver sends, in this process: the rows of a job without Ray."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from several_nodes import make_images

import navit_edge as ne
from navit_edge.errors import BundleError
from navit_edge.ray.ahead import loader
from navit_edge.ray.job_actor import Answer, JobActor, Sent, Task
from navit_edge.run.rows import Row, layout_of, named
from navit_edge.run.sources import Item, Name

ENGINE = "openvino-cpu-fp32"


@pytest.fixture(scope="module")
def actor(tiny_bundle: Path) -> Iterator[JobActor]:
    made = JobActor()
    made.open(Task(bundle=str(tiny_bundle), session={"engine": ENGINE}, save=("embedding",), with_results=True))
    yield made
    assert made._session is not None
    made._session.close()


def sent_over(actor: JobActor, items: Sequence[Item], session: ne.Session, *, shared: bool = False) -> list[Row]:
    """The rows that the driver writes; everything goes through a pickle, as between two machines."""
    load = loader(session.decoder, shared=shared)
    loaded = [load(item, place) for place, item in enumerate(items)]
    batch = pickle.loads(pickle.dumps([one.sent for one in loaded if isinstance(one.sent, Sent)]))
    answer: Answer = pickle.loads(pickle.dumps(actor.run(batch)))
    rows = iter(answer.rows)
    return [named(one.item, one.sent if isinstance(one.sent, Row) else next(rows)) for one in loaded]


def frames() -> list[Any]:
    """Pixels in other formats than an array's: of films and animations."""
    rng = np.random.default_rng(2)
    luma, colour = rng.integers(0, 256, (24, 32), np.uint8), rng.integers(0, 256, (12, 16, 2), np.uint8)
    return [
        ne.Pixels([luma, colour], "nv12", matrix="bt709"),
        ne.Pixels(rng.integers(0, 256, (20, 30, 4), np.uint8), "bgra"),
        ne.Pixels(rng.integers(0, 256, (20, 30, 3), np.uint8), "bgr"),
        rng.integers(0, 256, (20, 30, 4), np.uint8),
        rng.integers(0, 256, (20, 30), np.uint8),
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_rows_are_those_of_a_job_in_one_process(
    actor: JobActor, tiny_bundle: Path, tmp_path: Path, shared: bool
) -> None:
    paths = make_images(tmp_path, 3)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    given = [*map(str, paths), str(tmp_path / "text.png"), str(tmp_path / "empty.png"), str(tmp_path), "/no/such.png"]
    items = [Item(name=Name(path), image=path) for path in given]
    items += [Item(name=Name("film", place), image=image, time_s=0.5) for place, image in enumerate(frames())]
    with ne.Session(tiny_bundle, engine=ENGINE, threads=1) as session:
        layout = layout_of(tiny_bundle, labels=session.labels, top_k=3, save=["embedding"])
        rows = sent_over(actor, items, session, shared=shared)
        images: list[Any] = [item.image for item in items]
        expected = [layout.row(*pair) for pair in zip(items, session.run(images, on_error="return"), strict=True)]
    for row, other in zip(rows, expected, strict=True):
        assert row.failed == other.failed
        np.testing.assert_allclose(row.arrays.get("embedding", 0), other.arrays.get("embedding", 0), atol=1e-5)
        for name in ("file", "frame", "time_s", "error", "error_type", "pixels", "grid", "tokens", "scale", "reason"):
            assert row.record.get(name) == other.record.get(name), name
    assert [row.failed for row in rows] == [False] * 3 + [True] * 4 + [False] * 5


def test_an_error_names_an_image_by_its_place_in_the_job(small_budget_bundle: Path) -> None:
    actor = JobActor()
    actor.open(Task(bundle=str(small_budget_bundle), session={"engine": "openvino-cpu-fp32"}))
    large = np.zeros((200, 200, 3), np.uint8)
    batch = [Sent(ne.pixels.Given(image), "", place) for place, image in ((40, large[:16, :16]), (41, large))]
    good, bad = actor.run(batch).rows
    assert not good.failed
    assert bad.record["error"].startswith("image 41 needs ")
    assert bad.record["error_type"] == "OverBudgetError"


def test_results_come_along_if_somebody_looks_at_them(actor: JobActor, tmp_path: Path) -> None:
    (path,) = make_images(tmp_path, 1)
    answer = actor.run([Sent(str(path), "", 0)])
    assert answer.results is not None
    assert answer.results[0].grid == tuple(answer.rows[0].record["grid"])
    assert answer.used > 0


def test_a_bundle_that_is_not_there_is_an_error_of_opening(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        JobActor().open(Task(bundle=str(tmp_path / "none.navit")))
