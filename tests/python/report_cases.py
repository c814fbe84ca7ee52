"""What the tests of report share: measurements that nobody took, of a bundle that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.bench.measure import BenchOptions, Measurement
from navit_edge.bench.suite import BenchReport
from navit_edge.bundle.identity import model_hash
from navit_edge.evaluate.metrics import share
from navit_edge.evaluate.report import Images, Report, Row, Timing, with_front
from navit_edge.machine.host import Host
from navit_edge.report import ReportFile, compare, report_of
from navit_edge.report.content import Choice, Quantized, Tuned
from navit_edge.verify.certificate import Certificate, Check, EngineCertificate, Tolerance
from navit_edge.verify.compare import Distance

ENGINE = "openvino-cpu-fp32"
HOST = Host(
    cpu="a CPU", machine="x86_64", cores=2, flags=("avx2",), memory_bytes=8 << 30, available_bytes=None,
    swap_bytes=None, system="Linux", kernel="6", python="3.11",
)  # fmt: skip


def measurement(tokens: int, *, factor: float = 1.0, images: int = 1, packs: int = 1) -> Measurement:
    """A pack takes about tokens / 50 milliseconds, times ``factor``."""
    middle = factor * tokens / 50
    times = {"min": 0.9 * middle, "p50": middle, "p90": 1.05 * middle, "p99": 1.1 * middle, "mean": 1.01 * middle,
             "max": 1.3 * middle}  # fmt: skip
    return Measurement(
        name=f"{tokens} tokens", images=images, tokens=tokens, capacity_tokens=tokens, packs=packs, budgets=(1024,),
        runs=100, warmup_runs=3, first_ms=2 * middle, measured_s=middle / 10, latency_ms=times,
        images_per_s=1e3 * images / middle, tokens_per_s=1e3 * tokens / middle, plan_ms=None, unpack_ms=None,
        device_memory_bytes=None, preprocess_ms=0.1 * middle, engine_ms=0.8 * middle, predicted_ms=middle,
        other_ms=0.11 * middle if packs == 1 else None, peak_resident_bytes=100 << 20,
    )  # fmt: skip


def bench_report(bundle: Path, *, engine: str = ENGINE, factor: float = 1.0, cpu: str = "a CPU") -> BenchReport:
    return BenchReport(
        bundle=bundle.name, engine=engine, precision="fp32", device=f"CPU ({cpu})", strategy="similar-length",
        dynamic_tokens=True, budgets=(1024,), threads=2, slots=2, host=replace(HOST, cpu=cpu), versions={"numpy": "1"},
        options=BenchOptions(), open_ms=100.0, gpu=None, device_memory_before_bytes=None, resident_before_bytes=None,
        source="built-in set", decode_ms=None, refused=(),
        packs=tuple(measurement(tokens, factor=factor) for tokens in (64, 128, 256, 512)),
        end_to_end=measurement(2000, factor=factor, images=32, packs=4), engine_report={}, cost_measured=False,
        unix_time=1.8e9,
    )  # fmt: skip


def evaluation(bundle: Path, right: int = 700) -> Report:
    """1000 images; the second row has a few fewer right and takes a third of the time."""
    rows = tuple(
        Row(
            engine=ENGINE, precision="fp32", device="CPU", policy="native", cap=cap, images=1000, failed=0,
            first_error=None, not_finite=0, tokens_per_image=tokens, top1=share(right - lost, 1000), top5=None,
            recall={"1": share(500, 1000)}, against_reference=None, against_float32=None,
            timing=Timing(images=8, runs=3, images_per_s=speed, p50_ms=12.0, p99_ms=17.0),
        )
        for cap, tokens, lost, speed in ((None, 200.0, 0, 100.0), (64, 60.0, 15, 300.0))
    )  # fmt: skip
    return Report(
        schema_version=1, bundle=bundle.stem, model=model_hash(bundle), head="classifier", neighbors=None, margin=0.01,
        confidence=0.95, data=Images(images=1000, classes=5, empty_classes=(), unknown_labels={}, skipped={}),
        train=None, similar=None, reference=0, rows=with_front(rows), not_run={}, notes=("a note",),
        host={"cpu": "a CPU"}, versions={},
    )  # fmt: skip


def certificate() -> Certificate:
    found = Check(name="logits as in float32", holds=True, found="2e-05 of the largest value", expected="0.005 at most")
    one = EngineCertificate(
        engine=ENGINE, sha256="0" * 64, precision="fp32", device="CPU", host={"cpu": "a CPU"}, versions={},
        unix_time=1.8e9, reference="onnxruntime", images="12 images", tolerance=Tolerance(min_cosine=0.9999,
        max_relative=0.005), distances={"logits": Distance(least_cosine=0.999991, mean_cosine=0.999995, max_abs=1e-4,
        relative=2e-5, top1_agreement=1.0)}, checks=(found,),
    )  # fmt: skip
    return Certificate(bundle=(found,), engines=(one,), not_run={"tensorrt-sm87-fp16": "no GPU"})


def full_report(bundle: Path, *, factor: float = 1.0, right: int = 700, **options: Any) -> Any:
    """A report of one bundle in which nothing is missing but examples."""
    made = report_of(
        bundle,
        bench=[bench_report(bundle, factor=factor, **options)],
        evaluation=evaluation(bundle, right),
        tuned=Tuned(made_on="a CPU", choices=(Choice(use="fast", settings={"policy": "fast"}, reason="It is."),)),
    )
    quantized = Quantized(
        precision="int8", method="minmax", calibration_images=8, held_out_images=8, layers=12, kept_in_float=("a",),
        smoothed=2, accuracy={}, worst_layers=(), notes=("a note",),
    )  # fmt: skip
    return msgspec.structs.replace(made, certificate=certificate(), quantized=(quantized,))


def report_file(*bundles: Any) -> ReportFile:
    return ReportFile(
        schema_version=1, version="0.1.0", unix_time=1.8e9, bundles=tuple(bundles),
        comparison=compare(*bundles) if len(bundles) == 2 else None,
    )  # fmt: skip
