"""The HTTP application of a server: its routes, who is let in, and how errors look."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from navit_edge._core import __version__
from navit_edge.metrics import prometheus
from navit_edge.metrics.server import CONTENT_TYPE
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.http import v1, v2
from navit_edge.serve.http.answers import error_answer, error_body, json_answer
from navit_edge.serve.http.observe import Observe
from navit_edge.serve.http.page import page
from navit_edge.serve.service import Service

#: What a load balancer asks, which has no key, and the page that asks a person for one.
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready", "/"})


def make_app(service: Service) -> FastAPI:
    """The application, which uvicorn runs (``server.py``)."""
    app = FastAPI(title="navit-edge", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.include_router(v2.routes(service))
    app.include_router(v1.routes(service))
    app.add_api_route("/", page, methods=["GET"], response_class=Response, include_in_schema=False)

    async def metrics() -> Response:
        """What the models and the server have done, in Prometheus's text format."""
        sessions = {name: model.session for name, model in service.repository.models.items() if model.session}
        text = prometheus(sessions, label="model") if sessions else ""
        return Response(text + service.requests.prometheus(), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", metrics, methods=["GET"], response_class=Response, tags=["server"])

    async def on_error(request: Request, error: Exception) -> Response:
        return error_answer(served(error), request.url.path)

    async def on_status(request: Request, error: Exception) -> Response:
        """What FastAPI says itself: no such path, no such method."""
        assert isinstance(error, HTTPException)
        path, status, code = request.url.path, error.status_code, error.detail.lower().replace(" ", "_")
        words = f"{request.method[:20]} {path[:80]}: {error.detail}; GET /openapi.json says what there is"
        return json_answer(error_body(words, path, status, code), status, error.headers)

    app.add_exception_handler(ServeError, on_error)
    app.add_exception_handler(HTTPException, on_status)
    app.add_middleware(Gate, service=service)
    app.add_middleware(Observe, finished=service.finished)
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
            await error_answer(refusal, scope["path"])(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises ServeError."""
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN_PATHS:
            self._service.security.check(scope["headers"])
        if scope["method"] not in ("GET", "HEAD") and _is_from_elsewhere(headers):
            raise ServeError(
                Code.FORBIDDEN, "another site's page has sent this; expected one of this server, or no browser"
            )


def _is_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that another site's page asks. Of a proxy that changes Host, Sec-Fetch-Site tells."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
