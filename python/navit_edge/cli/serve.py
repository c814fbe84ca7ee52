"""`navit-edge serve`: bundles behind HTTP and gRPC, by the Open Inference Protocol."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.byte_sizes import MaxMemoryOption, bytes_of
from navit_edge.cli.common import ENGINE_PANEL, BackendOptions, DebugOption, backend_options, command, err_console
from navit_edge.cli.devices import DevicesOption, devices_of
from navit_edge.cli.run import SlotsOption
from navit_edge.cli.run_output import check_files
from navit_edge.cli.with_profile import FromProfile, with_profile
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Device, EnginePrecision, Overflow

if TYPE_CHECKING:
    from navit_edge.serve.security import Security
    from navit_edge.serve.server import Address, Server

_LISTEN = "Where it listens"
_LIMITS = "Limits"
_QUEUE = "Queue"


@command
@with_profile
def serve(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles with an engine.", metavar="BUNDLE...", show_default=False)
    ],
    http: Annotated[
        str,
        typer.Option(
            help='Address for HTTP; port 0: any free one; "off": none.', metavar="HOST:PORT", rich_help_panel=_LISTEN
        ),
    ] = "127.0.0.1:8000",
    grpc: Annotated[
        str,
        typer.Option(help='The same for gRPC; "off": not at all.', metavar="HOST:PORT", rich_help_panel=_LISTEN),
    ] = "127.0.0.1:8001",
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="Let in only requests with one of these keys, one a line.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_LISTEN,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help="Serve by TLS with this certificate and its chain (PEM).",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_LISTEN,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(help="Its private key.", metavar="FILE", show_default=False, rich_help_panel=_LISTEN),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="Let in only clients whose certificate one of these has signed.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_LISTEN,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a bundle in URLs; repeat it for each, in their order.",
            metavar="NAME",
            show_default="the bundle's folder, without .navit",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to run on.", rich_help_panel=ENGINE_PANEL)] = "auto",
    devices: DevicesOption = "",
    engine: Annotated[
        str,
        typer.Option(
            help="Engine or group to use (inspect lists them).",
            show_default="the first that can run",
            metavar="ID",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = "",
    precision: Annotated[
        EnginePrecision, typer.Option(help="Precision of the engine.", rich_help_panel=ENGINE_PANEL)
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads.", show_default="all cores", rich_help_panel=ENGINE_PANEL)
    ] = 0,
    slots: SlotsOption = 0,
    backend_option: BackendOptions = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Tokens per image, if a request does not say: native, fast, balanced, quality, token-cap:N, "
            "latency:20ms, cascade:N,0.8 or content (navit-edge docs policies).",
            metavar="POLICY",
            show_default="native, or the profile's",
        ),
    ] = None,
    overflow: Annotated[
        Overflow,
        typer.Option(help="If an image is larger than every token budget: refuse it, or scale it down (downscale)."),
    ] = "error",
    queue_limit: Annotated[
        int,
        typer.Option(min=1, help="Images of a bundle that may wait; then 503.", metavar="N", rich_help_panel=_QUEUE),
    ] = 1024,
    queue_bytes: Annotated[
        str, typer.Option(help="The same of their pixels.", metavar="SIZE", rich_help_panel=_QUEUE)
    ] = "1GiB",
    cache: Annotated[
        str,
        typer.Option(
            help="Remember results, so that images that come again are not computed again (navit-edge docs cache); "
            "of each bundle.",
            metavar="SIZE",
            show_default="none",
            rich_help_panel=_QUEUE,
        ),
    ] = "0",
    max_memory: MaxMemoryOption = "0",
    batch_wait_ms: Annotated[
        float,
        typer.Option(
            min=0, help="How long an idle engine waits for more images to share a pack.", rich_help_panel=_QUEUE
        ),
    ] = 0.0,
    max_body: Annotated[
        str, typer.Option(help="Refuse larger requests.", metavar="SIZE", rich_help_panel=_LIMITS)
    ] = "64MiB",
    max_bodies: Annotated[
        str, typer.Option(help="Of all requests at once; then 503.", metavar="SIZE", rich_help_panel=_LIMITS)
    ] = "512MiB",
    max_images: Annotated[
        int, typer.Option(min=1, help="Refuse requests of more images.", metavar="N", rich_help_panel=_LIMITS)
    ] = 64,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Refuse images of more pixels, by their header.",
            metavar="PIXELS",
            show_default="64 Mi pixels",
            rich_help_panel=_LIMITS,
        ),
    ] = 1 << 26,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Connections at once; then 503.", metavar="N", rich_help_panel=_LIMITS)
    ] = 1024,
    access_log: Annotated[
        str,
        typer.Option(
            help='Write a JSON object a line for each request; "-": to standard output.',
            metavar="FILE",
            show_default="none",
            rich_help_panel=_LISTEN,
        ),
    ] = "",
    trace: Annotated[
        Path | None,
        typer.Option(
            help="At the end write a trace of the session, for ui.perfetto.dev; of several bundles FILE.NAME.json.",
            metavar="FILE.json",
            show_default=False,
            rich_help_panel=_LISTEN,
        ),
    ] = None,
    debug: DebugOption = False,
    *,
    tuned: FromProfile,
) -> None:
    """Serve bundles over HTTP and gRPC by the Open Inference Protocol (KServe v2).

    Clients of Triton and KServe work as they are. A request has images of any
    sizes. Images of all clients share packs. SIGTERM and Ctrl-C answer what was
    accepted, then exit; a second one exits at once. It listens on this machine
    alone unless --http and --grpc say otherwise.
    """
    import navit_edge as ne
    from navit_edge.serve.access_log import AccessLog
    from navit_edge.serve.limits import Limits
    from navit_edge.serve.repository import Repository, named
    from navit_edge.serve.security import read_security
    from navit_edge.serve.server import Server, run
    from navit_edge.serve.service import Service
    from navit_edge.serve.tracing import opentelemetry_spans

    if tuned.path is not None and len(bundles) > 1:
        raise typer.BadParameter(f"it is for one bundle, and {len(bundles)} are served", param_hint="--profile")
    applied = tuned.applied(
        bundles[0],
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
        slots=slots,
        policy=policy or "",
        max_memory=bytes_of(max_memory, "--max-memory"),
    )
    try:
        chosen = ne.Policy.parse(applied.policy or "native")
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="--policy") from None
    addresses = _address("--http", http), _address("--grpc", grpc)
    if addresses == (None, None):
        raise typer.BadParameter("both are off; expected an address for one", param_hint="--http, --grpc")
    check_files(trace=trace)
    security = read_security(api_key_file=api_key_file, tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca)
    if max_images > queue_limit:
        raise typer.BadParameter(
            f"a request may have {max_images} images, and {queue_limit} may wait: it would never be taken; expected "
            "--max-images of at most --queue-limit",
            param_hint="--max-images, --queue-limit",
        )
    limits = Limits(
        max_body_bytes=bytes_of(max_body, "--max-body"),
        max_bodies_bytes=bytes_of(max_bodies, "--max-bodies"),
        max_pixels=max_pixels,
        max_images=max_images,
        max_connections=max_connections,
    )
    open_session = partial(
        ne.Session,
        device=device,
        devices=devices_of(devices),
        engine=applied.engine,
        precision=precision,
        threads=applied.threads,
        slots=applied.slots,
        options=backend_options(backend_option),
        policy=chosen,
        overflow=overflow,
        queue_limit=queue_limit,
        queue_bytes=bytes_of(queue_bytes, "--queue-bytes"),
        cache_bytes=bytes_of(cache, "--cache"),
        max_memory=applied.max_memory,
        batch_wait_ms=batch_wait_ms,
        decode=ne.DecodeOptions(max_pixels=limits.max_pixels, max_file_bytes=limits.max_body_bytes),
    )
    bundles_by_name = named(bundles, name or ())

    def make() -> Server:
        repository = Repository(
            bundles_by_name,
            limits=limits,
            open_session=open_session,
            spans=opentelemetry_spans(),
            trace_file=trace,
        )
        service = Service(repository=repository, security=security, access_log=log)
        server = Server(service, http=addresses[0], grpc=addresses[1])
        for address in addresses:
            if address is not None and not address.is_loopback:
                _warn_if_open(address, security)
        return server

    with AccessLog(access_log) if access_log else nullcontext() as log:
        run(make, _say_started, _say_ending)


def _address(option: str, text: str) -> Address | None:
    from navit_edge.serve.server import Address

    if text == "off":
        return None
    try:
        return Address.parse(text)
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _warn_if_open(address: Address, security: Security) -> None:
    found = []
    if not security.restricted:
        found.append("lets in everybody who reaches it; give --api-key-file, or listen on 127.0.0.1")
    if security.tls is None:
        found.append("sends everything in the clear; give --tls-cert and --tls-key, or put a proxy before it")
    for what in found:
        err_console().print(f"warning: {address} {what}", style="yellow", soft_wrap=True, markup=False)


def _say_started(server: Server) -> None:
    console = err_console()
    for model in server.service.repository.models.values():
        session = model.session
        what = "" if session is None else f": engine {session.engine} on {session.device}"
        console.print(f"serving {model.name}{what}", soft_wrap=True, markup=False)
    secure = server.service.security.tls is not None
    if server.http is not None:
        url = f"{'https' if secure else 'http'}://{server.http}"
        told = "a page to try it, Open Inference Protocol at /v2, OpenAI's at /v1, Prometheus at /metrics"
        console.print(f"{url}  {told}", soft_wrap=True, markup=False)
    if server.grpc is not None:
        url = f"{'grpcs' if secure else 'grpc'}://{server.grpc}"
        console.print(f"{url}  the same protocol", soft_wrap=True, markup=False)
    console.print("Ctrl-C answers what was accepted, and ends", style="dim", soft_wrap=True)


def _say_ending(server: Server) -> None:
    err_console().print("ending when all requests are answered; Ctrl-C ends at once", style="dim", soft_wrap=True)
