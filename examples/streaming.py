"""Streams, single images and asyncio. Run after `make demo`: python examples/streaming.py"""

import asyncio
from pathlib import Path

import navit_edge as ne

with ne.Session("demo/clipart.navit") as session:  # closes at the end
    photos = sorted(Path("demo/images").glob("*.png"))  # or any iterable, also without end: a camera's frames, a queue
    for result in session.stream(photos):  # in order, a bounded number of images ahead
        print(result.index, result.error or f"class {result.logits.argmax()}")

    future = session.submit(photos[0], deadline_ms=200, priority=1, tag="mine")  # shares packs with other callers
    print(future.tag, future.result().queue_ms, "ms in the queue")

    async def classify(path: Path) -> int:
        return int((await session.submit(path)).logits.argmax())  # cancelling the task cancels the image

    async def main() -> list[int]:
        return await asyncio.gather(*map(classify, photos[:3]))

    print(asyncio.run(main()))
