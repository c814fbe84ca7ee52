"""One request of any protocol: its images submitted, their results awaited. Who goes away takes them back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from navit_edge.serve import accounting
from navit_edge.serve.errors import Code, ServeError, queue_full, served
from navit_edge.serve.tensors import parameters_of

if TYPE_CHECKING:
    from navit_edge._core import Result
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.future import Future
    from navit_edge.serve.backlog import Backlog
    from navit_edge.serve.repository import Model
    from navit_edge.serve.request import Image, InferRequest, Parameters
    from navit_edge.session import Session

#: Pixels of fewer bytes are hashed in the event loop: within 0.2 ms.
HASHED_HERE_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Answer:
    """results: one for each image, none of which has failed. manifest: of the bundle that gave them."""

    results: Sequence[Result]
    manifest: Manifest


async def infer(model: Model, request: InferRequest, *, first: int = 0) -> Answer:
    """Runs the images of a request, packed with those of others by the session. All or none: the first image that
    fails takes the others back.

    Encoded images are decoded by ``model.workers``. Cancelling the task cancels what is in no pack yet. Raises
    ServeError; the caller measures images against the limits (``tensors.images_of``).

    first: index that errors give the first image, if the client's request is answered in parts.
    """
    record = accounting.current()
    record.model = model.name  # also of what fails
    with model.statistics.request(), model.tracing.request(request.trace) as span, model.using() as opened:
        submission = _Submission(opened.session, request.parameters, first, model.backlog)
        timeout_us = request.parameters.timeout_us
        try:
            if timeout_us is None:
                results = await submission.run(model, request.images)
            else:
                results = await asyncio.wait_for(submission.run(model, request.images), timeout_us * 1e-6)
        except asyncio.TimeoutError:
            raise ServeError(
                Code.DEADLINE,
                f"the results were not there after {timeout_us:g} us, the timeout of the request; give it more time, "
                "or let fewer requests wait",
            ) from None
        finally:
            submission.take_back()
            span.images += submission.numbers
        span.attributes |= parameters_of(results)
        record.images += len(results)
        record.tokens += sum(result.total_token_count for result in results)
        return Answer(results=results, manifest=opened.manifest)


class _Submission:
    """The images of one request on their way through the session."""

    def __init__(self, session: Session, parameters: Parameters, first: int, backlog: Backlog) -> None:
        self._session = session
        self._backlog = backlog
        self._first = first
        self._parameters = parameters
        self._futures: dict[int, Future] = {}
        self._over = False

    async def run(self, model: Model, images: Sequence[Image]) -> list[Result]:
        files = []
        for index, image in enumerate(images):
            if isinstance(image, np.ndarray):
                self._submit(index, image)
            else:
                files.append((index, image))
        if files:
            with self._backlog.decoding(len(files)):
                await self._decode(model, files)
        # The first that fails ends them all, whatever the others wait for.
        return list(await asyncio.gather(*(self._result(index) for index in range(len(images)))))

    async def _decode(self, model: Model, files: Sequence[tuple[int, Image]]) -> None:
        loop = asyncio.get_running_loop()
        decoding = [loop.run_in_executor(model.workers, self._submit, index, file) for index, file in files]
        try:
            for submitted in decoding:
                await submitted
        finally:
            for submitted in decoding:
                submitted.cancel()
                submitted.add_done_callback(_forget)

    @property
    def numbers(self) -> list[int]:
        """Of the images that were submitted, in the session's trace."""
        return [future._id for future in self._futures.values() if future._id]

    def take_back(self) -> None:
        """Cancels what is not done; what a worker has in hand is cancelled by it."""
        self._over = True
        for future in list(self._futures.values()):
            if not future.done():
                future.cancel()

    def _submit(self, index: int, image: Image) -> None:
        """In a worker, or for pixels in the event loop. Raises ServeError."""
        if self._over:
            return
        parameters = self._parameters
        if not isinstance(image, np.ndarray) and self._backlog.is_full(self._session, parameters.priority):
            raise queue_full("the queue is full")  # decoding takes longer than this answer
        try:
            future = self._session.try_submit(
                image,
                deadline_ms=parameters.session_deadline_ms,
                priority=parameters.priority,
                policy=parameters.policy,
            )
        except Exception as error:
            raise served(error, image=self._first + index) from error
        if future is None:
            self._backlog.found_full(self._session, parameters.priority)
            raise queue_full("the queue is full")
        self._futures[index] = future
        if self._over:
            future.cancel()
        elif future.done() and not future.cancelled():
            refusal = future.exception()
            if refusal is not None:
                raise served(refusal, image=self._first + index) from refusal

    async def _result(self, index: int) -> Result:
        try:
            return await self._futures[index]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise served(error, image=self._first + index) from error


def _forget(submitted: asyncio.Future[None]) -> None:
    """Of an image behind one that failed: nobody asks how it ended."""
    if not submitted.cancelled():
        submitted.exception()
