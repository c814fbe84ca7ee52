"""`navit-edge run`: images through a bundle."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from navit_edge.cli.common import DebugOption, command, err_console, fail, out_console
from navit_edge.errors import InvalidInputError, NavitEdgeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Images decoded and run at a time: enough to fill packs, and bounds memory.
CHUNK = 256
#: What a directory among IMAGES is searched for.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Device(str, Enum):
    """Where to run."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class Precision(str, Enum):
    """Of the engine."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


SlotsOption = Annotated[
    int,
    typer.Option(min=0, help="Packs in flight at once; 0: as suits the engine, on a GPU 2.", metavar="N"),
]


class Overflow(str, Enum):
    """What becomes of an image that is longer than every token budget."""

    ERROR = "error"
    DOWNSCALE = "downscale"
    SPLIT = "split"


@command
def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or directories of them.", metavar="IMAGES...", show_default=False)
    ],
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="One JSON object a line instead of a table.")
    ] = False,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 3,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.AUTO,
    engine: Annotated[
        str,
        typer.Option(help="Engine or group to use; see inspect.", show_default="the first that can run", metavar="ID"),
    ] = "",
    precision: Annotated[Precision, typer.Option(help="Precision of the engine.")] = Precision.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    slots: SlotsOption = 0,
    max_tokens: Annotated[
        int, typer.Option(min=0, help="Scale images down to this many patches; 0: as the bundle says.")
    ] = 0,
    overflow: Annotated[
        Overflow,
        typer.Option(help="An image longer than every token budget fails, or is scaled down to the largest that fits."),
    ] = Overflow.ERROR,
    debug: DebugOption = False,
) -> None:
    """Run images of any size through a bundle; one result per image, in order.

    An image that cannot be run is reported, and the others complete; the exit code is then 1.
    """
    files = list(expand(images))
    import navit_edge as ne

    session = ne.Session(
        bundle,
        device=device.value,
        engine=engine,
        precision=precision.value,
        threads=threads,
        slots=slots,
        max_tokens_per_image=max_tokens,
        overflow=overflow.value,
    )
    announce(session)
    rows: list[dict[str, Any]] = []
    console = err_console()
    failed = 0
    packs = 0
    remaining = iter(files)
    while chunk := list(islice(remaining, CHUNK)):
        records, packs = _run_chunk(session, chunk, top_k, packs)
        failed += sum("error" in record for record in records)
        for record in records:
            if "downscaled" in record:
                console.print(f"{record['file']}: {record['downscaled']}", style="yellow", soft_wrap=True, markup=False)
        if as_json:
            for record in records:
                typer.echo(json.dumps(record, ensure_ascii=False))
        else:
            rows += records
    if not as_json:
        _print_table(rows)
    if failed:
        first = next((record["error"] for record in (rows or records) if "error" in record), "see above")
        fail(f"{failed} of {len(files)} images failed: {first}")


def expand(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise InvalidInputError(f"{path} holds no images; expected files named {', '.join(SUFFIXES)}")
        yield from found


def announce(session: Any) -> None:
    """Which engine runs, which were passed over, and whether it has fewer slots, so that no fallback is silent."""
    from navit_edge.doctor.engines import reason_of

    console = err_console()
    for candidate, usable, detail in session.candidates:
        if not usable:
            why = reason_of(candidate, f"  {candidate}: {detail}")
            console.print(f"passed over {candidate}: {why}", style="yellow", soft_wrap=True, markup=False)
        elif detail != session.device:
            console.print(f"{candidate}: {detail}", style="yellow", soft_wrap=True, markup=False)
    console.print(f"engine {session.engine} on {session.device}", soft_wrap=True, markup=False)


def _run_chunk(session: Any, files: Sequence[Path], top_k: int, first_pack: int) -> tuple[list[dict[str, Any]], int]:
    """Records of one chunk, and the number of packs up to here."""
    from navit_edge.pixels import load_image

    records: list[dict[str, Any]] = [{"file": str(file)} for file in files]
    pixels: list[npt.NDArray[np.uint8]] = []
    loaded: list[int] = []
    for index, file in enumerate(files):
        try:
            image = load_image(file)
        except NavitEdgeError as error:
            records[index]["error"] = str(error)
            continue
        records[index]["pixels"] = list(image.shape[:2])
        pixels.append(image)
        loaded.append(index)
    packs = first_pack
    if pixels:
        results = session.run(pixels, on_error="return")
        for index, result in zip(loaded, results, strict=True):
            if result.error is not None:
                records[index]["error"] = str(result.error)
                continue
            records[index] |= describe(result, session.labels, top_k)
            records[index]["pack"] += first_pack
            packs = max(packs, records[index]["pack"] + 1)
    return records, packs


def describe(result: Any, labels: Sequence[str], top_k: int) -> dict[str, Any]:
    """A result as JSON: grid [rows, cols], tokens, pack, latency_ms, and top_k or embedding_norm; scale and downscaled
    (why) where the image was scaled down to fit a budget."""
    import numpy as np

    record: dict[str, Any] = {
        "grid": [int(side) for side in result.grid],
        "tokens": int(result.token_count),
        "pack": int(result.pack),
        "latency_ms": round(float(result.latency_ms), 3),
    }
    if result.reason:
        record |= {"scale": [round(side, 4) for side in result.scale], "downscaled": result.reason}
    if result.logits is not None:
        logits = np.asarray(result.logits, np.float64)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argsort(-logits, kind="stable")[:top_k]
        record["top_k"] = [
            {
                **({"label": labels[i]} if labels else {"index": int(i)}),
                "score": float(scores[i]),
                "logit": float(logits[i]),
            }
            for i in best
        ]
    elif result.embedding is not None:
        record["embedding_norm"] = math.sqrt(float(np.square(np.asarray(result.embedding, np.float64)).sum()))
    return record


def _print_table(records: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "pixels (h × w)", "grid", "tokens", "pack", "result", "ms")
    for record in records:
        if "error" in record:
            size = "{} × {}".format(*record["pixels"]) if "pixels" in record else ""
            table.add_row(Text(record["file"]), size, "", "", "", Text(record["error"], style="red"), "")
            continue
        best = [f"{item.get('label', item.get('index'))} {item['score']:.1%}" for item in record.get("top_k", [])]
        if "embedding_norm" in record:
            best.append(f"|embedding| {record['embedding_norm']:.3f}")
        table.add_row(
            Text(record["file"]),
            "{} × {}".format(*record["pixels"]),
            "{} × {}".format(*record["grid"]),
            str(record["tokens"]),
            str(record["pack"]),
            Text("\n".join(best)),
            f"{record['latency_ms']:.1f}",
        )
    out_console().print(table)
