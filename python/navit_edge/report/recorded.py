"""What a bundle says of itself: its manifest and the reports in it. No engine is opened."""

from __future__ import annotations

from pathlib import Path

from navit_edge.bundle import hashing, sizing_rule
from navit_edge.bundle.manifest import SOURCE_PREFIX, Engine, Manifest, TextTower, decode_of, processor_of
from navit_edge.compile.report import BuildReport
from navit_edge.errors import BundleError
from navit_edge.files import decode_json
from navit_edge.memory import PROCESS_BYTES, engine_memory, memory_plan
from navit_edge.quantize.report import QuantizeReport
from navit_edge.report.content import Build, EngineFacts, HostBytes, ModelFacts, Quantized
from navit_edge.verify import certificate

_LABELS = 12
_WORST = 8
_QUANTIZE = "reports/quantize-"


def model_of(manifest: Manifest) -> ModelFacts:
    model, pre = manifest.model, manifest.preprocess
    license_ = manifest.created_by.get("license") or model.config.get("license") or ""
    return ModelFacts(
        family=model.family,
        width=model.width,
        depth=model.depth,
        heads=model.heads,
        prefix_tokens=model.prefix_tokens,
        parameters=model.parameters,
        patch_px=pre.patch_px,
        channels=pre.channels,
        sizing=sizing_rule.describe(pre.sizing),
        filter=pre.filter,
        mean=pre.mean,
        std=pre.std,
        processor=processor_of(pre),
        orientation=pre.orientation,
        icc=pre.icc,
        decode=decode_of(pre),
        alpha=pre.alpha,
        outputs=manifest.graphs[0].outputs if manifest.graphs else (),
        labels=len(manifest.labels),
        first_labels=manifest.labels[:_LABELS],
        scores=manifest.scores if isinstance(manifest.scores, str) else "softmax",
        texts=isinstance(manifest.text, TextTower),
        license=license_ if isinstance(license_, str) else "",
        made_by={key: value for key, value in manifest.created_by.items() if not key.startswith(SOURCE_PREFIX)},
        sources={
            key.removeprefix(SOURCE_PREFIX): value
            for key, value in manifest.created_by.items()
            if key.startswith(SOURCE_PREFIX)
        },
    )


def engine_of(bundle: Path, manifest: Manifest, engine: Engine, found: certificate.Certificate) -> EngineFacts:
    memory = memory_plan(bundle, engine.id)
    need = engine_memory(bundle, engine.id).total if engine.target.startswith("cpu") else None
    sha256 = manifest.files[engine.file].sha256
    return EngineFacts(
        id=engine.id,
        backend=engine.backend,
        target=engine.target,
        precision=engine.precision,
        graph=engine.graph,
        bytes=manifest.files[engine.file].bytes,
        sha256=sha256,
        dynamic_tokens=engine.dynamic_tokens,
        budgets=engine.budgets,
        builder=engine.builder,
        cost=engine.cost,
        build=_build(bundle, manifest, engine),
        memory=HostBytes(
            threads=memory.threads,
            slot=memory.slot_bytes,
            one_slot=memory.session_bytes(1),
            two_slots=memory.session_bytes(2),
            engine=need,
            process=None if need is None else PROCESS_BYTES + need + memory.session_bytes(1),
        ),
        standing=any(one.engine == engine.id and one.sha256 == sha256 for one in found.engines),
    )


def _build(bundle: Path, manifest: Manifest, engine: Engine) -> Build | None:
    """None if the bundle has no report of the build, or what lies there is none."""
    if engine.report is None or engine.report not in manifest.files:
        return None
    try:
        raw = hashing.read_file(bundle, manifest, engine.report)
        report = decode_json(raw, BuildReport, source=engine.report)
    except BundleError:
        return None
    return Build(
        seconds=report.seconds,
        peak_memory_bytes=report.peak_memory_bytes,
        cpu=report.host.get("cpu", ""),
        lowering_reason=report.lowering_reason,
        fused=report.fused,
        notes=report.notes,
    )


def quantized_of(bundle: Path, manifest: Manifest) -> tuple[Quantized, ...]:
    """One entry a precision."""
    found = []
    for name in manifest.files:
        if name.startswith(_QUANTIZE) and name.endswith(".json"):
            try:
                raw = hashing.read_file(bundle, manifest, name)
                report = decode_json(raw, QuantizeReport, source=name)
            except BundleError:
                continue
            found.append(_quantized(report))
    return tuple(found)


def _quantized(report: QuantizeReport) -> Quantized:
    return Quantized(
        precision=report.precision,
        method=report.method,
        calibration_images=len(report.calibration),
        held_out_images=len(report.held_out),
        layers=len(report.layers),
        kept_in_float=report.skipped,
        smoothed=sum(bool(one.taken_over_by) for one in report.smoothing),
        accuracy=report.accuracy,
        worst_layers=report.sensitivity[:_WORST],
        notes=report.notes,
    )
