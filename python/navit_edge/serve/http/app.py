"""The HTTP application of a server: its routes, who is let in, and how errors look."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from navit_edge._core import __version__
from navit_edge.metrics import prometheus
from navit_edge.metrics.server import CONTENT_TYPE
from navit_edge.serve.accounting import RequestMetrics
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.http import v2
from navit_edge.serve.http.answers import error_answer, json_answer
from navit_edge.serve.http.body import body_of, while_connected
from navit_edge.serve.http.observe import Observe
from navit_edge.serve.http.page import page
from navit_edge.serve.http.v1 import V1, error_response
from navit_edge.serve.service import Service

Endpoint: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

#: Without a key: what a load balancer asks, and the page, which asks for a key itself.
OPEN_PATHS = frozenset({"/", "/v2/health/live", "/v2/health/ready"})


def make_app(service: Service) -> FastAPI:
    """The application, which uvicorn runs (``server.py``)."""
    app = FastAPI(title="navit-edge", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.include_router(v2.routes(service))
    _add_v1(app, service)
    counted = RequestMetrics()

    async def metrics() -> Response:
        """What the models have done, and the requests, in Prometheus's text format."""
        sessions = {name: model.session for name, model in service.repository.models.items() if model.session}
        text = prometheus(sessions) if sessions else ""
        return Response(text + counted.prometheus(), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", metrics, methods=["GET"], response_class=Response, tags=["server"])
    app.router.add_route("/", page, methods=["GET"], include_in_schema=False)

    async def on_error(_: Request, error: Exception) -> Response:
        return error_answer(served(error))

    async def on_status(request: Request, error: Exception) -> Response:
        """What FastAPI says itself: no such path, no such method."""
        assert isinstance(error, HTTPException)
        words = f"{request.method[:20]} {request.url.path[:80]}: {error.detail}; GET /openapi.json says what there is"
        return json_answer({"error": words}, error.status_code, error.headers)

    app.add_exception_handler(ServeError, on_error)
    app.add_exception_handler(HTTPException, on_status)
    app.add_middleware(Gate, service=service)
    app.add_middleware(Observe, finished=[counted.add, *service.finished])
    return app


def _add_v1(app: FastAPI, service: Service) -> None:
    """What OpenAI's clients ask."""

    async def read_body(request: Request) -> bytes:
        body: bytes = request.state.body
        return body

    v1 = V1(service.repository, read_body)

    def bounded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                async with body_of(request, service) as body:
                    request.state.body = bytes(body.data)
                    return await while_connected(request, endpoint(request))
            except ServeError as error:
                return error_response(error)

        return answer

    for name, endpoint in (("embeddings", v1.embeddings), ("classify", v1.classify)):
        path = f"/v1/{name}"
        app.add_api_route(path, bounded(endpoint), methods=["POST"], response_class=Response, tags=["v1"], name=name)
    app.router.add_route("/v1/models", v1.models, methods=["GET"])


class Gate:
    """Lets in who may ask, and answers for what failed unexpectedly."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, watched)
        except Exception as error:
            refusal = served(error)
            if begun:
                raise
            await error_answer(refusal)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises ServeError."""
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN_PATHS:
            self._service.security.check(scope["headers"])
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD"):
            host = urlsplit(origin).netloc if origin.isascii() else ""
            if host != headers.get("host"):
                raise ServeError(
                    Code.FORBIDDEN, "another site's page has sent this; expected one of this server, or no browser"
                )
