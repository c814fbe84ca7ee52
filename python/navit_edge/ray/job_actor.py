"""What runs in an actor of `navit-edge run --ray`: a session, and rows of what it gives."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from navit_edge.errors import BackendError
from navit_edge.pixels import Given, as_pixels
from navit_edge.ray.actors import assigned
from navit_edge.ray.images import run_together
from navit_edge.run.rows import Layout, Row, failed, layout_of

if TYPE_CHECKING:
    from navit_edge.policy import Policy
    from navit_edge.session import Result, Session


class Sent(NamedTuple):
    """An image on its way to an actor. image: a path that the actor opens, the bytes of a file, or pixels. who: what
    messages call it. place: in the job."""

    image: str | bytes | Given
    who: str
    place: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every actor of a job does. session: arguments of ``navit_edge.Session`` beside the bundle. save, top_k,
    names, templates: of ``Layout``; classes by their names if there are any. with_results: the driver wants
    results, too."""

    bundle: str
    session: dict[str, Any] = field(default_factory=dict)
    policy: Policy | None = None
    save: Sequence[str] = ()
    top_k: int = 3
    names: Sequence[str] = ()
    templates: Sequence[str] = ()
    with_results: bool = False

    def on(self, engine: str) -> Task:
        """The same, by one engine, so that every actor gives the same numbers."""
        return replace(self, session=self.session | {"engine": engine})


class Described(NamedTuple):
    """What an actor has opened: as the properties of ``Session``."""

    engine: str
    device: str
    candidates: list[tuple[str, bool, str]]
    labels: list[str]


class Answer(NamedTuple):
    """To a batch: a row and a reason for its size of each image; results if the task asks for them. used, padding:
    tokens of the packs."""

    rows: list[Row]
    sizings: list[str]
    results: list[Result] | None
    used: int
    padding: int


class JobActor:
    """The actor. ``open`` comes first; a call at a time."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def ping(self) -> None:
        """Answers once there is a place for the actor."""

    def open(self, task: Task) -> Described:
        """Raises what ``Session`` raises."""
        from navit_edge.session import Session

        given = assigned()
        threads = int(given.get("threads", 1))
        session = self._session = Session(task.bundle, **(given | task.session))
        classify = None
        if task.names:
            from navit_edge.text_encoder import TextEncoder
            from navit_edge.zero_shot import ZeroShotClassifier

            encoder = TextEncoder(task.bundle, threads=threads)
            classify = ZeroShotClassifier(encoder, task.names, templates=task.templates).top_k
        self._task = task
        self._threads = threads
        self._layout: Layout = layout_of(
            Path(task.bundle), labels=task.names or session.labels, top_k=task.top_k, save=task.save, classify=classify
        )
        self._tokens = (0, 0)
        return Described(session.engine, session.device, session.candidates, session.labels)

    def run(self, batch: Sequence[Sent]) -> Answer:
        """Raises BackendError if the session takes no more images."""
        session = self._session
        assert session is not None
        loads = [functools.partial(as_pixels, one.image, one.who, session.decoder) for one in batch]
        results = run_together(session, loads, threads=2 * self._threads, policy=self._task.policy)
        if session.broken:
            raise BackendError(f"the session takes no more images: {session.broken}")
        rows = [self._row(result, place, one) for place, (result, one) in enumerate(zip(results, batch, strict=True))]
        tokens = session.metrics.stats()["tokens"]
        before, self._tokens = self._tokens, (int(tokens["used"]), int(tokens["padding"]))
        return Answer(
            rows,
            [result.sizing for result in results],
            results if self._task.with_results else None,
            self._tokens[0] - before[0],
            self._tokens[1] - before[1],
        )

    def _row(self, result: Result, place: int, one: Sent) -> Row:
        error = result.error
        if error is None:
            return self._layout.values(result)
        words = re.sub(r"^image \d+\b", f"image {one.place}", str(error))  # its place in the job, not in the batch
        return failed(type(error)(words)) if words != str(error) else failed(error)
