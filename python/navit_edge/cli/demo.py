"""`navit-edge demo`: a result in a minute, from the wheel alone: no checkpoint, no torch, no compiler."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.build_output import BuildProgress
from navit_edge.cli.common import (
    DebugOption,
    JsonOption,
    command,
    echo,
    echo_json,
    err_console,
    make_progress,
    out_console,
)
from navit_edge.errors import import_or_explain

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.session import Result


@command
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to write the pictures, the bundle and report.html.", metavar="FOLDER")
    ] = Path("navit-demo"),
    open_page: Annotated[
        bool, typer.Option("--open", metavar="", help="Show report.html with the desktop's own browser.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw pictures, build a small bundle for this CPU, run it, and show which pictures shared a pack.

    Needs no torch and no compiler, only pip install "navit-edge[openvino]".
    The model was trained to name eight drawn shapes and knows nothing else.
    What is there already is taken as it is.
    """
    started = time.perf_counter()
    import_or_explain("openvino", purpose="the demo", remedy='pip install "navit-edge[openvino]"')
    import navit_edge as ne
    from navit_edge.compile import BuildRequest, build_engines
    from navit_edge.demo.pictures import write_pictures
    from navit_edge.demo.shipped import copy_bundle

    pictures = write_pictures(folder / "images")
    bundle = folder / "shapes.navit"
    copy_bundle(bundle)
    console = err_console()
    with make_progress(console) as progress:
        build_engines(bundle, BuildRequest(backend="openvino"), BuildProgress(console, progress))
    with ne.Session(bundle) as session:
        results = session.run([path for path, _ in pictures])
        packs = session.last_report["packs"]
        engine, device = session.engine, session.device
        labels = session.labels
    named = [_best(result, labels) for result in results]
    right = sum(label == shape for (label, _), (_, shape) in zip(named, pictures, strict=True))
    page = folder / "report.html"
    said = [("engine", engine), ("device", device), ("named right", f"{right} of {len(pictures)}")]
    _write_page(pictures, results, ne.load_manifest(bundle), packs=len(packs), facts=said, path=page)
    seconds = time.perf_counter() - started
    if as_json:
        images = [
            {
                "file": str(path),
                "shape": shape,
                "class": label,
                "probability": probability,
                "grid": result.grid,
                "tokens": result.token_count,
                "pack": result.pack,
            }
            for (path, shape), result, (label, probability) in zip(pictures, results, named, strict=True)
        ]
        facts = {"bundle": str(bundle), "engine": engine, "device": device, "page": str(page), "right": right}
        echo_json({**facts, "seconds": round(seconds, 3), "images": images})
    else:
        _print_results(pictures, results, named)
        echo(f"engine {engine} on {device}; {right} of {len(pictures)} named right; all in {seconds:.0f} s")
        echo(f"a page of the pictures, their classes and packs: {page}")
    for line in (
        f"navit-edge run {bundle} {folder / 'images'} --top-k 2",
        "navit-edge up CHECKPOINT IMAGES...",
    ):
        console.print(f"next: {line}", style="dim", soft_wrap=True)
    if open_page:
        typer.launch(str(page))


def _best(result: Result, labels: list[str]) -> tuple[str, float]:
    """The most likely class and its probability."""
    import numpy as np

    if result.error is not None:
        raise result.error
    assert result.logits is not None
    logits = result.logits.astype(np.float64)
    probability = np.exp(logits - logits.max())
    index = int(probability.argmax())
    return labels[index], float(probability[index] / probability.sum())


def _print_results(pictures: list[tuple[Path, str]], results: list[Result], named: list[tuple[str, float]]) -> None:
    from navit_edge.tables import Column, number, print_table

    heads = [Column("file"), number("pixels (h × w)"), number("patch grid"), number("tokens"), number("pack")]
    rows = [
        (
            path.name,
            "{} × {}".format(*result.pixels),
            "{} × {}".format(*result.grid),
            str(result.token_count),
            str(result.pack),
            label,
            f"{probability:.3f}",
        )
        for (path, _), result, (label, probability) in zip(pictures, results, named, strict=True)
    ]
    print_table(out_console(), "", [*heads, Column("class"), number("probability")], rows)


def _write_page(
    pictures: list[tuple[Path, str]],
    results: list[Result],
    manifest: Manifest,
    *,
    packs: int,
    facts: list[tuple[str, str]],
    path: Path,
) -> None:
    from navit_edge.page.cards import make_card
    from navit_edge.page.content import Group, Page
    from navit_edge.page.html import write_page

    cards = [
        make_card(picture.name, picture, result, manifest.preprocess, truth=shape)
        for (picture, shape), result in zip(pictures, results, strict=True)
    ]
    page = Page(
        title=f"{len(pictures)} pictures in {packs} packs",
        text="A square of a grid is a patch, and a patch is a token. No picture is squashed to a square, cropped or "
        "padded.",
        facts=facts,
        groups=[Group(title="Pictures", text="Each was drawn as the shape of its name.", cards=cards)],
    )
    write_page(page, path)
