"""How a call of gRPC is answered: its message read within limits, the answer or the error sent.

Every method is handled as one that takes a stream of bytes, which a client cannot tell apart: so the server itself
reads the message, can give up on a client that does not send it, and parses it after its size was counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from navit_edge.serve.accounting import current
from navit_edge.serve.errors import Code, ServeError, bad_input, served
from navit_edge.serve.grpc.wire import OF_INFER, check_parts
from navit_edge.serve.limits import Limits, Room, Share
from navit_edge.text import without_halves

Context: TypeAlias = Any  # grpc.aio.ServicerContext, which has no types
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Message)

#: In the metadata behind an error: after how many milliseconds to try again. gRPC's own name; its retries go by it.
PUSHBACK = "grpc-retry-pushback-ms"
#: Longer texts of errors are cut: the metadata of an answer has 8 KiB in all.
MOST_DETAILS = 2000
#: Most messages of one stream that are in work, or answered and not yet taken by the client.
MOST_OF_STREAM = 64


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Makes handlers of methods. room: the bytes of messages that are held at once."""

    limits: Limits
    room: Room

    def unary(self, request: type[M], answer: Callable[[M, Context], Awaitable[Message]]) -> Any:
        """A method of one message for one message."""

        async def handle(_: object, context: Context) -> bytes:
            with self.room.holding() as share:
                try:
                    message = await self._one(request, context, share)
                    made: bytes = (await answer(message, context)).SerializeToString()
                    current().sent_bytes += len(made)
                    return made
                except Exception as error:
                    await refuse(error, context)

        return grpc.stream_unary_rpc_method_handler(handle)

    def stream(
        self,
        request: type[M],
        answer: Callable[[M, Context], Awaitable[A]],
        answered: Callable[[A], Message],
        failed: Callable[[M, str], Message],
    ) -> Any:
        """A method of messages that come for messages that go, each as soon as it is ready; an error is the answer to
        its message, and the stream goes on. A client that does not take its answers is read no further."""

        async def handle(_: object, context: Context) -> None:
            ready: asyncio.Queue[bytes | None] = asyncio.Queue()
            places = asyncio.Semaphore(MOST_OF_STREAM)
            tasks: set[asyncio.Task[None]] = set()

            async def one(raw: bytes) -> None:
                message = request()
                with self.room.holding() as share:
                    try:
                        message = self._parsed(request, raw, share)
                        made = answered(await answer(message, context))
                    except Exception as error:
                        made = failed(message, details(served(error)))
                ready.put_nowait(made.SerializeToString())

            async def read() -> None:
                try:
                    while await places.acquire() and (raw := await context.read()) is not grpc.aio.EOF:
                        task = asyncio.create_task(one(raw))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    while tasks:
                        await asyncio.wait(tasks)
                finally:
                    ready.put_nowait(None)

            reader = asyncio.create_task(read())
            try:
                while (made := await ready.get()) is not None:
                    current().sent_bytes += len(made)
                    await context.write(made)
                    places.release()
                await reader
            except Exception as error:
                await refuse(error, context)
            finally:
                for task in (reader, *tasks):
                    task.cancel()

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _one(self, request: type[M], context: Context, share: Share) -> M:
        try:
            raw = await asyncio.wait_for(context.read(), self.limits.body_timeout_s)
        except asyncio.TimeoutError:
            raise ServeError(
                Code.SLOW_CLIENT,
                f"no whole message came in {self.limits.body_timeout_s:g} s; send it faster, or smaller ones",
            ) from None
        if raw is grpc.aio.EOF:
            raise bad_input("the call ended without a message; expected one")
        return self._parsed(request, raw, share)

    def _parsed(self, request: type[M], raw: bytes, share: Share) -> M:
        """Raises ServeError."""
        current().received_bytes += len(raw)
        share.grow_to(len(raw))
        check_parts(raw, OF_INFER)
        message: M = request()
        try:
            message.ParseFromString(raw)
        except DecodeError:
            raise bad_input(
                f"the message is no {request.DESCRIPTOR.full_name}; expected one of the Open Inference Protocol"
            ) from None
        return message


async def refuse(error: Exception, context: Context) -> NoReturn:
    """Ends the call with ``error``."""
    failed = served(error)
    metadata = () if failed.retry_after_s is None else ((PUSHBACK, str(failed.retry_after_s * 1000)),)
    await context.abort(grpc.StatusCode[failed.code.grpc_status], details(failed), metadata)
    raise AssertionError("abort returned")


def details(error: ServeError) -> str:
    return without_halves(error.message[:MOST_DETAILS])
