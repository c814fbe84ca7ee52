"""The whole line on real images: export, build, run, compare, look. `make demo` runs it; everything lands in demo/.

A second run takes what is there: the bundle is exported again only if the exporter, the options or the checkpoint
changed, and engines are built again only if the bundle changed.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from demo_bundle import CHECKPOINT, SEED, Choice, build, export
from demo_compare import compare, load_model
from demo_console import DEMO, ROOT, say, shown, step
from demo_report import write_report
from demo_run import Sample, print_packs, print_results, right_of, run_engine
from photographs import write_photographs

import navit_edge as ne
from navit_edge.bundle.manifest import Preprocess

#: One image of each class, NAME.png, that the shipped model has not seen in training.
CLIP_ART = ROOT / "examples" / "images"


def main() -> None:
    """Parses the command line and runs the five steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", type=Path, help="a .safetensors file (default: the shipped model of clip art)")
    which.add_argument(
        "--model", help="ti16, s16, b16 or l16 with random weights, for its speed; its classes mean nothing"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=0, help="most patches of an image (default: the checkpoint's)"
    )
    parser.add_argument("--fresh", action="store_true", help="export and build again even if nothing changed")
    arguments = parser.parse_args()
    checkpoint = None if arguments.model else (arguments.checkpoint or CHECKPOINT).resolve()
    choice = Choice(checkpoint=checkpoint, size=arguments.model or "", max_tokens=arguments.max_tokens)
    started = time.perf_counter()

    step("1/5", "images: clip art that the model has not seen, photographs of scikit-image and scikit-learn")
    clip_art, photographs = copy_clip_art(DEMO / "images"), write_photographs(DEMO / "photographs")
    say(f"{len(clip_art)} files in {shown(DEMO / 'images')}, {len(photographs)} in {shown(DEMO / 'photographs')}")

    step("2/5", "PyTorch → ONNX graphs and manifest")
    bundle = export(choice, fresh=arguments.fresh)

    step("3/5", "ONNX → engines")
    build(bundle)

    step("4/5", "images → C++ runtime → one result per image")
    manifest = ne.load_manifest(bundle)
    samples = [read(path, manifest.preprocess, manifest.labels) for path in (*clip_art, *photographs)]
    runs = [run_engine(bundle, engine, samples) for engine in manifest.engines if engine.backend == "openvino"]
    best = runs[0]
    print_results(best, samples)
    if choice.checkpoint is None:
        say(f"[yellow]The weights are random (seed {SEED}): the classes mean nothing.[/yellow]")
    elif any(sample.truth for sample in samples):
        say(
            "{} of {} images of clip art are right; photographs are outside of what the model learned".format(
                *right_of(best, samples)
            )
        )
    print_packs(best)

    step("5/5", "the same images through PyTorch, each alone, in float32")
    model = load_model(choice, manifest)
    compare(runs, samples, manifest, model)
    report = DEMO / "report.html"
    write_report(best, samples, manifest, model, report)
    say(f"\nopen [bold]{shown(report)}[/bold] in a browser: images, patches, classes, packs, where the model looked")
    say(f"bundle [bold]{shown(bundle)}[/bold]; all in {time.perf_counter() - started:.0f} s")


def copy_clip_art(folder: Path) -> list[Path]:
    """The committed images, where the other examples look for them."""
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, folder)) for path in sorted(CLIP_ART.glob("*.png"))]


def read(path: Path, preprocess: Preprocess, labels: tuple[str, ...]) -> Sample:
    """A file's name is its class if the model has it."""
    pixels = ne.to_rgb(path, alpha=preprocess.alpha, background=preprocess.background)
    name = path.stem.replace("-", " ")
    return Sample(path=path, pixels=pixels, truth=name if name in labels else "")


if __name__ == "__main__":
    main()
