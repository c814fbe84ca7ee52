"""The HTTP application of a server in this process, asked without a socket."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import numpy as np
from PIL import Image

from navit_edge.serve.http.app import make_app
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Repository
from navit_edge.serve.security import Security
from navit_edge.serve.service import Service

#: (method, path, more of httpx) -> the answer
Ask: TypeAlias = Callable[..., httpx.Response]


@contextmanager
def asking(bundle: Path, *, security: Security | None = None, limits: Limits | None = None) -> Iterator[Ask]:
    """Asks a server with the model "tiny"."""
    loop = asyncio.new_event_loop()
    repository = Repository({"tiny": bundle}, limits=limits or Limits())
    loop.run_until_complete(repository.load())
    app = make_app(Service(repository=repository, security=security or Security()))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    try:
        yield lambda *words, **more: loop.run_until_complete(client.request(*words, **more))
    finally:
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(repository.close())
        loop.close()


def png(height: int, width: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
