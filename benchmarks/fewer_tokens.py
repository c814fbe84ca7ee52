"""What an image costs and loses if fewer tokens are computed: smaller pixels, dropped patches, merged tokens.

    python examples/train/clipart.py demo/clipart --train-side 0
    python benchmarks/fewer_tokens.py demo/clipart [--folder demo/fewer] [--json benchmarks/fewer_tokens.json]

DINOv2 ViT-S/14 with its trained weights (examples/dinov2_weights.py) in float32 on the CPU, one thread, at most 256
patches an image. Classes by the 20 nearest embeddings, of training images that the whole model embedded; `cosine` is
between an image's embedding and that of the whole model. Beside labelled clip art, pages of text: they have no labels.

Time is processor time, which other work on the machine changes little: TIMED images in every configuration in turn,
ROUNDS times; `times_as_fast` is the median over the rounds of the whole model's time over that of the configuration.
What is interrupted goes on from --folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accuracy_study.sample import stratified
from blank_patches import page
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.compile.report import host_description
from navit_edge.decode import Decoder
from navit_edge.evaluate.data import Example, read_examples
from navit_edge.evaluate.heads import knn_head, normalized
from navit_edge.evaluate.metrics import mcnemar, share
from navit_edge.pixels import load_image

ROOT = Path(__file__).resolve().parents[1]
MOST = 256
NEIGHBORS = 20
TRAIN, TEST = 1500, 537
TIMED, ROUNDS = 24, 5
PAGES = [(1000, 700), (700, 1000), (1400, 1000), (900, 900)]
KEEPS = ("0.75", "0.5", "0.35")
#: LAYER:KEEP:METHOD of `navit-edge export --merge`; the model has 12 blocks.
MERGES = ("0:0.5:pitome", "3:0.5:tome", "3:0.5:pitome", "3:0.35:pitome", "6:0.5:pitome")
WHOLE = f"cap {MOST}"

Image = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """merge: of the bundle, or "" for the whole model's."""

    name: str
    policy: str
    merge: str = ""


def configurations() -> Iterator[Configuration]:
    for cap in (MOST, 192, 128, 96, 64):
        yield Configuration(name=f"cap {cap}", policy=f"token-cap:{cap}")
    base = f"token-cap:{MOST}"
    yield Configuration(name="drop blank", policy=f"{base}+drop:blank")
    for keep in KEEPS:
        yield Configuration(name=f"drop random {keep}", policy=f"{base}+drop:random,keep={keep}")
    for merge in MERGES:
        layer, keep, method = merge.split(":")
        yield Configuration(name=f"{method} {keep} behind block {layer}", policy=base, merge=merge)
    yield Configuration(name="cap 128, drop blank", policy="token-cap:128+drop:blank")
    yield Configuration(name="cap 128, drop random 0.75", policy="token-cap:128+drop:random,keep=0.75")
    layer, keep, method = MERGES[-1].split(":")
    yield Configuration(name=f"cap 128, {method} {keep} behind block {layer}", policy="token-cap:128", merge=MERGES[-1])


def made(folder: Path, merge: str) -> Path:
    """The bundle with its engine; a folder that was not finished is made anew."""
    bundle = folder / f"{merge.replace(':', '-') or 'whole'}.navit"
    if bundle.exists() and ne.load_manifest(bundle).engines:
        return bundle
    from navit_edge_export.families.registry import import_checkpoint
    from navit_edge_export.onnx_export import export_bundle

    checkpoint = folder / "dinov2-s14"
    if not checkpoint.exists():
        subprocess.run([sys.executable, ROOT / "examples" / "dinov2_weights.py", checkpoint], check=True)
    found = import_checkpoint(checkpoint)
    export_bundle(
        found.model,
        bundle,
        sizing=Sizing(rule="token-cap", max_tokens=MOST),
        resample=found.preprocessing.filter,
        alpha=found.preprocessing.alpha,
        outputs=("embedding",),
        lowerings=("padded",),
        merge=merge or None,
        overwrite=True,
    )
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))
    return bundle


def embed(session: ne.Session, images: Sequence[Image], policy: str) -> tuple[Embeddings, float]:
    """[N, D] and the mean number of patches that the packs held."""
    results = session.run(images, policy=ne.Policy.parse(policy))
    kept = [len(one.kept) if one.kept is not None else one.grid[0] * one.grid[1] for one in results]
    return np.stack([one.embedding for one in results if one.embedding is not None]), statistics.fmean(kept)


def embedded(folder: Path, name: str, session: ne.Session, images: Sequence[Image], policy: str) -> dict[str, Any]:
    """As ``embed``, from a file where it was run before."""
    file = folder / f"{name}.npz"
    if not file.exists():
        values, patches = embed(session, images, policy)
        with file.open("wb") as stream:
            np.savez(stream, embeddings=values, patches=patches)
    with np.load(file) as found:
        return {"embeddings": found["embeddings"], "patches": float(found["patches"])}


def cosines(one: Embeddings, other: Embeddings) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = (normalized(one) * normalized(other)).sum(axis=1)
    return found


def timed(sessions: dict[str, ne.Session], images: Sequence[Image]) -> dict[str, list[float]]:
    """Processor seconds of each round, of each configuration."""
    found: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        for one in configurations():
            start = time.process_time()
            sessions[one.merge].run(images, policy=ne.Policy.parse(one.policy))
            if number:  # the first round prepares shapes
                found.setdefault(one.name, []).append(time.process_time() - start)
    return found


def examples(data: Path, part: str, count: int) -> tuple[list[Image], list[Example]]:
    chosen = stratified(read_examples(data / part).examples, count)[0]
    decoder = Decoder()
    return [load_image(one.path, decoder) for one in chosen], chosen


def study(data: Path, folder: Path) -> dict[str, Any]:
    train, of_train = examples(data, "train", TRAIN)
    test, of_test = examples(data, "test", TEST)
    pages = [np.ascontiguousarray(page(height, width)) for height, width in PAGES]
    classes = sorted({one.label for one in of_train})
    labels = np.array([classes.index(one.label) for one in of_test])
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        sessions = {}
        for merge in ("", *MERGES):
            session = ne.Session(made(folder, merge), precision="fp32", threads=1)
            sessions[merge] = stack.enter_context(session)
            print(f"made {merge or 'the whole model'}", flush=True)
        gallery = embedded(folder, "train", sessions[""], train, f"token-cap:{MOST}")["embeddings"]
        rank = knn_head(gallery, np.array([classes.index(one.label) for one in of_train]), neighbors=NEIGHBORS)
        whole, right_whole = None, None
        for one in configurations():
            name = one.name.replace(" ", "-")
            found = embedded(folder, name, sessions[one.merge], test, one.policy)
            right = rank(found["embeddings"])[:, 0] == labels
            if whole is None or right_whole is None:
                whole, right_whole = found["embeddings"], right
            lost, gained = int((right_whole & ~right).sum()), int((right & ~right_whole).sum())
            accuracy = share(int(right.sum()), len(right))
            near = cosines(found["embeddings"], whole)
            rows.append(
                {
                    "configuration": one.name,
                    "top_1": accuracy.value,
                    "low": accuracy.low,
                    "high": accuracy.high,
                    "lost": lost,
                    "gained": gained,
                    "p": mcnemar(lost, gained)[0],
                    "cosine_median": float(np.median(near)),
                    "cosine_5_percent": float(np.quantile(near, 0.05)),
                    "patches": found["patches"],
                }
            )
            print(rows[-1], flush=True)
        for kind, images in (("clip art", test[:: len(test) // TIMED][:TIMED]), ("pages", pages)):
            seconds = timed(sessions, images)
            whole_pages = embed(sessions[""], images, f"token-cap:{MOST}")[0]
            for row, one in zip(rows, configurations(), strict=True):
                ratios = [a / b for a, b in zip(seconds[WHOLE], seconds[one.name], strict=True)]
                row[f"{kind}: times_as_fast"] = statistics.median(ratios)
                row[f"{kind}: ms"] = statistics.median(seconds[one.name]) * 1e3 / len(images)
                if kind == "pages":
                    values, patches = embed(sessions[one.merge], images, one.policy)
                    row["pages: patches"] = patches
                    row["pages: cosine_least"] = float(cosines(values, whole_pages).min())
    return {
        "command": "python benchmarks/fewer_tokens.py demo/clipart",
        "host": host_description(),
        "images": {"train": len(train), "test": len(test), "timed": TIMED, "pages": len(pages), "rounds": ROUNDS},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train/ and test/, of class folders")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "fewer")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    result = study(arguments.data, arguments.folder)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = (
        "top_1", "low", "high", "p", "cosine_median", "patches", "clip art: times_as_fast", "pages: times_as_fast",
    )  # fmt: skip
    table = Table("configuration", *shown)
    for row in result["rows"]:
        table.add_row(row["configuration"], *(f"{row[name]:.3g}" for name in shown))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
