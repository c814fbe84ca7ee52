"""Quantizes a bundle: images to packs, packs to scales, scales into the graphs, judged and published all or nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from navit_edge.bundle import edit, hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import File, Graph, Manifest
from navit_edge.bundle.staging import staging_directory
from navit_edge.compile.common import package_version
from navit_edge.compile.report import host_description
from navit_edge.decode import Decoder, Recorded
from navit_edge.errors import BundleError, InvalidInputError, import_or_explain
from navit_edge.files import decode_json
from navit_edge.quantize.layers import PURPOSE, REMEDY
from navit_edge.quantize.packs import evenly, list_images, split
from navit_edge.quantize.report import ImageFile, QuantizeReport
from navit_edge.quantize.request import OFF, QuantizeRequest
from navit_edge.quantize.sensitivity import Scan
from navit_edge.quantize.work import Progress, Work

#: Below this a scale rests on too little.
FEW_IMAGES = 16


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds now."""

    graphs: tuple[Graph, ...]
    report: QuantizeReport
    report_file: str
    standing: bool  # they were there already, made of the same with the same options


def quantize_bundle(bundle: Path, request: QuantizeRequest, progress: Progress | None = None) -> Quantized:
    """Adds quantized graphs beside the float32 graphs of ``bundle``, which stay as they are, and the report on them.

    Raises:
        BundleError: The bundle is damaged or holds nothing to quantize, an activation is not finite, the disk is full.
        InvalidInputError: No image can be used, or a name of a layer is unknown.
        MissingPackageError: onnx, onnxruntime or polygraphy is not installed.
        KeyboardInterrupt: The bundle is as it was before.
    """
    bundle = Path(os.path.abspath(bundle))
    report_progress = progress or (lambda what, done, total: None)
    manifest = manifests.load(bundle)
    manifests.require_writable(manifest, source=str(bundle))
    for module in ("onnx", "onnxruntime", "polygraphy"):
        import_or_explain(module, purpose=PURPOSE, remedy=REMEDY)
    started = time.perf_counter()

    graphs = [graph for graph in manifest.graphs if graph.quantization == "none"]
    inputs = _inputs(manifest, graphs)
    report_progress("checking the bundle", 0, 1)
    hashing.verify_files(bundle, manifest, list(inputs))
    report_progress("checking the bundle", 1, 1)
    decoder = Decoder(request.decode, Recorded.of(manifest.preprocess))
    images, held_out, held_directory = _choose_images(request, decoder.options.formats)
    key = _key(request, inputs, images, held_out, decoder.recorded)
    standing = None if request.force else _standing(bundle, manifest, request.precision, key)
    if standing is not None:
        return standing

    with hashing.snapshot(bundle, inputs) as sources:
        work = Work(bundle, sources, graphs, request, decoder, report_progress)
        packs = work.packs(request.calibration, images)
        if not packs:
            reasons = "; ".join(f"{item.name}: {item.why}" for item in work.packing.left_out[:3])
            raise InvalidInputError(f"none of {len(images)} images of {request.calibration} can be used: {reasons}")
        held_packs = work.packs(held_directory, held_out)
        work.calibrate(packs)
        found = work.choose_layers(packs)
        accuracy = work.accuracy(packs, held_packs)

        used = {segment.name for pack in packs for segment in pack.segments}
        report = QuantizeReport(
            precision=request.precision,
            key=key,
            graphs=tuple(f"{graph.id}-{request.precision}" for graph in graphs),
            judged_on=work.judge.id,
            method=request.method,
            settings=_settings(request),
            seconds=round(time.perf_counter() - started, 3),
            versions=_versions(),
            host=host_description(),
            built_from=inputs,
            calibration=tuple(image for image in images if image.name in used),
            calibration_tokens=sum(segment.tokens for pack in packs for segment in pack.segments),
            held_out=tuple(held_out),
            left_out=tuple(work.packing.left_out),
            layers=work.layer_reports(),
            skipped=work.skipped,
            accuracy=accuracy["published"],
            accuracy_of_all_layers=accuracy.get("all layers", {}),
            smoothing=work.smoothing_reports(),
            accuracy_unsmoothed=accuracy.get("unsmoothed", {}),
            accuracy_smoothed=accuracy.get("smoothed", {}),
            sensitivity=() if found is None else found.costs,
            scan=() if found is None else found.steps,
            notes=_notes(manifest, request, len(used), len(held_packs), work, found),
        )
        return _publish(bundle, manifest, graphs, work, report, inputs)


def _choose_images(request: QuantizeRequest, formats: tuple[str, ...]) -> tuple[list[ImageFile], list[ImageFile], Path]:
    """(to calibrate with, held out, where the held-out ones lie)"""
    found = list_images(request.calibration, formats)
    if isinstance(request.holdout, Path):
        held, directory = list_images(request.holdout, formats), request.holdout
    else:
        (found, held), directory = split(found, request.holdout), request.calibration
    return evenly(found, request.max_images), evenly(held, request.max_images), directory


def _inputs(manifest: Manifest, graphs: Sequence[Graph]) -> dict[str, File]:
    """The float32 graphs and the weights that lie beside them."""
    names = {graph.file for graph in graphs}
    return {
        name: file
        for name, file in manifest.files.items()
        if name in names or (name.startswith("graphs/") and not name.endswith(".onnx"))
    }


def _settings(request: QuantizeRequest) -> dict[str, str]:
    """The options that decide the result, by their names on the command line."""
    settings = {"--method": request.method, "--max-images": str(request.max_images)}
    if request.method == "percentile":
        settings["--percentile"] = f"{request.percentile:g}"
    if request.smooth != OFF:
        settings["--smooth"] = request.smooth if isinstance(request.smooth, str) else f"{request.smooth:g}"
    settings["--holdout"] = "a directory" if isinstance(request.holdout, Path) else f"{request.holdout:g}"
    if request.skip_layers:
        settings["--skip-layers"] = ",".join(request.skip_layers)
    if request.auto:
        settings["--scan-images"] = str(request.scan_images)
        if request.skip_count is None:
            settings["--tolerance"] = f"{request.tolerance:g}"
        else:
            settings["--skip-count"] = str(request.skip_count)
    return settings


def _versions() -> dict[str, str]:
    return {name: package_version(name) for name in ("navit-edge", "onnx", "onnxruntime", "numpy", "pillow")}


def _key(
    request: QuantizeRequest,
    inputs: dict[str, File],
    images: Sequence[ImageFile],
    held_out: Sequence[ImageFile],
    recorded: Recorded,
) -> str:
    content: dict[str, object] = {
        "precision": request.precision,
        "settings": _settings(request),
        "inputs": inputs,
        "images": [image.sha256 for image in images],
        "held out": [image.sha256 for image in held_out],
        "versions": _versions(),
    }
    decoding = (recorded.orientation, recorded.icc)
    if decoding != ("as-decoded", "ignore"):  # what graphs of older bundles were made with, under keys without it
        content["decoding"] = decoding
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def _standing(bundle: Path, manifest: Manifest, precision: str, key: str) -> Quantized | None:
    """What the bundle holds, if it was made of the same with the same options and is unaltered."""
    wanted = f"reports/quantize-{precision}.json"
    name = next((name for name in manifest.files if edit.is_version_of(name, wanted)), None)
    if name is None:
        return None
    try:
        report = decode_json(hashing.read_file(bundle, manifest, name), QuantizeReport, source=name)
        graphs = tuple(graph for graph in manifest.graphs if graph.id in report.graphs)
        if report.key != key or len(graphs) != len(report.graphs):
            return None
        hashing.verify_files(bundle, manifest, [graph.file for graph in graphs])
    except BundleError:
        return None
    return Quantized(graphs=graphs, report=report, report_file=name, standing=True)


def _notes(
    manifest: Manifest,
    request: QuantizeRequest,
    images: int,
    held_packs: int,
    work: Work,
    found: Scan | None,
) -> tuple[str, ...]:
    notes = []
    if images < FEW_IMAGES:
        notes.append(
            f"only {images} images to calibrate with; scales from fewer than {FEW_IMAGES} may clip the values of other "
            "images; give more, of all kinds that the model will see"
        )
    if not held_packs:
        notes.append("no image was held out, so the accuracy is measured on the calibration images themselves")
    left_out = work.packing.left_out
    if left_out:
        notes.append(f"{len(left_out)} files were left out; the first: {left_out[0].name}: {left_out[0].why}")
    if work.given_up:
        notes.append(
            "smoothing was given up: the outputs of the calibration images lose more with it; --smooth with a number "
            "keeps it in any case"
        )
    elif work.smoothed is not None and work.smoothed.variant is None:
        notes.append("nothing is smoothed: no value that linear layers read gains by it in this graph")
    if found is not None and not found.within_tolerance and request.skip_count is None:
        notes.append(
            f"with half of the layers in float ({len(found.skipped)} of {len(work.layers)}) the error is still "
            f"{found.steps[-1].error:.3g}, above the tolerance {request.tolerance:g}; a float engine may serve better"
        )
    ids = {f"{graph_id}-{request.precision}" for graph_id in work.models}
    stale = [engine.id for engine in manifest.engines if engine.graph in ids]
    if stale:
        notes.append(
            f"the engines {', '.join(stale)} came from the earlier {request.precision} graphs; they are removed if the "
            "graphs changed: build them again"
        )
    return tuple(notes)


def _publish(
    bundle: Path,
    manifest: Manifest,
    graphs: Sequence[Graph],
    work: Work,
    report: QuantizeReport,
    inputs: dict[str, File],
) -> Quantized:
    with staging_directory(bundle) as staging:
        staged = []
        for graph in graphs:
            made = msgspec.structs.replace(
                graph,
                id=f"{graph.id}-{report.precision}",
                file=f"graphs/{graph.id}-{report.precision}.onnx",
                quantization=report.precision,
            )
            path = staging / f"{made.id}.onnx"
            path.write_bytes(work.quantized(graph.id).SerializeToString(deterministic=True))
            staged.append(edit.StagedGraph(graph=made, file=path))
        report_name = f"reports/quantize-{report.precision}.json"
        report_path = staging / "report.json"
        report_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        placed = edit.add_graphs(bundle, staged, report_path, report_name, built_from=inputs)
    now = manifests.load(bundle)
    file = next(name for name in now.files if edit.is_version_of(name, report_name))
    return Quantized(graphs=tuple(placed), report=report, report_file=file, standing=False)
