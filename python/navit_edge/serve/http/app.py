"""The HTTP application of a server: its routes, who is let in, and how errors look."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from navit_edge._core import __version__
from navit_edge.metrics import prometheus
from navit_edge.metrics.server import CONTENT_TYPE
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.http import v2
from navit_edge.serve.http.answers import error_answer, json_answer
from navit_edge.serve.service import Service

#: What a load balancer asks, which has no key.
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})


def make_app(service: Service) -> FastAPI:
    """The application, which uvicorn runs (``server.py``)."""
    app = FastAPI(title="navit-edge", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.include_router(v2.routes(service))

    async def metrics() -> Response:
        """What the models have done, in Prometheus's text format."""
        sessions = {name: model.session for name, model in service.repository.models.items() if model.session}
        return Response(prometheus(sessions), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", metrics, methods=["GET"], response_class=Response, tags=["server"])

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
    return app


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
