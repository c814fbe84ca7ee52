"""Streams, single images and asyncio. Run after `make demo`: python examples/streaming.py"""

import asyncio
from pathlib import Path

import navit_edge as ne

with ne.Session("demo/navit-s16.navit") as session:  # closes at the end
    photos = Path("demo/images").glob("*.png")  # any iterable, endless ones too: a camera's frames, a queue
    for result in session.stream(photos, decoders=2):  # in order, a bounded number of images ahead
        print(result.index, result.error or result.logits.argmax())

    future = session.submit("demo/images/astronaut.png", deadline_ms=200, tag="mine")
    future.add_done_callback(lambda done: print(done.tag, done.result().queue_ms, "ms in the queue"))

    async def classify(path: Path) -> int:
        return int((await session.submit(path)).logits.argmax())

    async def main() -> list[int]:
        return await asyncio.gather(*map(classify, Path("demo/images").glob("c*.png")))

    print(asyncio.run(main()))
