"""The certificate: each engine that runs here against the float32 graph."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from navit_edge.bundle import edit, hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Engine, Graph, Manifest, TextTower, Tolerance
from navit_edge.compile.common import package_version
from navit_edge.compile.report import host_description
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import BackendError, BundleError, InvalidInputError, MissingPackageError, reason_here
from navit_edge.oracle.graph import open_runner
from navit_edge.oracle.interchange import inputs_json, outputs_json
from navit_edge.oracle.reference import Grid, Reference, pack_each
from navit_edge.place import check_file_place, write_file
from navit_edge.session import Session
from navit_edge.verify import certificate as certificates
from navit_edge.verify.certificate import Certificate, Check, EngineCertificate, WorstLayer
from navit_edge.verify.checks import check_engine, check_graphs
from navit_edge.verify.compare import Distance
from navit_edge.verify.golden import mismatches
from navit_edge.verify.images import Picture, count_of, drawn_images, images_of, that_fit
from navit_edge.verify.layers import Subject, Trunk, find_graph, worst_layer
from navit_edge.verify.scaled import check_scaled, drawn_files
from navit_edge.verify.texts import TEXTS, TextReference, check_text_engine
from navit_edge.verify.weights import check_weights

#: engine id, what is being done
Progress = Callable[[str, str], None]

#: If the manifest says nothing of a precision. fp32 engines for GPUs keep attention in 16 bits.
TOLERANCES = {
    "fp32": Tolerance(min_cosine=0.9999, max_relative=5e-3),
    "fp16": Tolerance(min_cosine=0.999, max_relative=2e-2),
    "bf16": Tolerance(min_cosine=0.999, max_relative=5e-2),
    "int8": Tolerance(min_cosine=0.98, max_relative=3e-1),
    "fp8": Tolerance(min_cosine=0.98, max_relative=3e-1),
}
#: An image's tokens at most: the reference's attention is T x T.
_MOST_TOKENS = 1024
_PACKAGES = ("navit-edge", "numpy", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx-cu12")


def verify(
    bundle: Path,
    *,
    engines: Sequence[str] = (),
    images: Path | None = None,
    decode: DecodeOptions | None = None,
    write: bool = True,
    save_inputs: Path | None = None,
    save_outputs: Path | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Examines engines on this machine and records what was found in `reports/parity.json`.

    Args:
        bundle: A bundle with engines.
        engines: Ids; if empty, all that this machine can run. It is an error if one that you name cannot run.
        images: A folder of images; drawn ones if None.
        decode: How they are decoded, as of a session.
        write: Whether the bundle keeps the certificate.
        save_inputs: Where the reference's inputs are written in Polygraphy's JSON, an iteration an image.
        save_outputs: Where the reference's outputs are, and the values around the worst layer of the first engine that
            has one, as that engine's graph names them.
        progress: Called with each step.

    Returns:
        What was found in this call: an entry for each engine that ran, and why others did not.

    Raises:
        BundleError: The bundle is damaged, altered, holds no float32 masked graph, or takes no new files.
        BackendError: No engine could be run.
        InvalidInputError: No such engine; a folder without images, or fewer than two that the engine takes.
        MissingPackageError: ONNX Runtime or Polygraphy is not installed.
    """
    step = progress or (lambda engine, phase: None)
    manifest = manifests.load(bundle)
    texts = [engine for engine in manifests.text_engines(manifest) if not engines or engine.id in engines]
    wanted = _wanted(bundle, manifest, engines, texts)
    decoder = Decoder(decode, Recorded.of(manifest.preprocess))
    files: list[Path] | None = None
    refused: list[str] = []
    if images is None:
        pictures = drawn_images(manifest)
    else:
        pictures, files, refused = images_of(images, decoder)
    source = "drawn" if images is None else "of the given folder"
    for place in (save_inputs, save_outputs):
        if place is not None:
            check_file_place(place)
    examined: list[_Examined] = []
    not_run: dict[str, str] = {}
    bundle_checks: list[Check] = []
    folders = ("graphs/", f"{_text_folder(manifest)}/") if texts else ("graphs/",)
    graphs = {name: file for name, file in manifest.files.items() if name.startswith(folders)}
    with hashing.snapshot(bundle, graphs) as sources, ExitStack() as opened:
        step("", "opening the graphs in ONNX Runtime")
        references: dict[str, Reference] = {
            graph.lowering: Reference(opened.enter_context(open_runner(sources / graph.file)), manifest, graph)
            for graph in (_float32_graphs(manifest) if wanted else ())
        }
        for engine in wanted:
            step(engine.id, "opening")
            try:
                most = _most_patches(manifest, engine)
                session = Session(bundle, engine=engine.id, max_tokens_per_image=most, decode=decode)
            except BackendError as error:
                if engines:
                    raise
                not_run[engine.id] = reason_here(engine.id, error)
                continue
            taken, grids, misfits = that_fit(session, pictures)
            words = ", ".join([f"{count_of(taken)}, {source}", *[f"left out: {why}" for why in (*refused, *misfits)]])
            if not bundle_checks:
                step("", "the graphs, by ONNX Runtime")
                masked = sources / _float32_graphs(manifest)[0].file
                bundle_checks = [_preprocessing(manifest), check_weights(masked)]
                bundle_checks += check_graphs(references, taken, grids)
            subject = Subject(bundle=bundle, sources=sources, manifest=manifest, images=taken)
            one = _examine(subject, engine, session, references["masked"], words, step)
            if decoder.recorded.decode == "scaled":
                step(engine.id, "files decoded at a part of their sides")
                one = one._replace(certificate=_with_scaled(one.certificate, session, pictures, files))
            examined.append(one)
        if examined:
            _save(examined, save_inputs, save_outputs)
        found = [one.certificate for one in examined]
        try:
            found += _examine_texts(bundle, manifest, sources, texts, step)
        except (BackendError, MissingPackageError) as error:
            if engines:
                raise
            not_run |= {engine.id: reason_here(engine.id, error) for engine in texts}
    now = manifests.load(bundle)
    changed = [one.engine for one in found if _sha256(now, one.engine) != one.sha256]
    if changed:
        raise BundleError(
            f"{', '.join(changed)} of {bundle} changed while it was verified; expected the engine that was there "
            "before; verify again"
        )
    if not found:
        reasons = "".join(f"\n  {name}: {why}" for name, why in not_run.items())
        raise BackendError(
            f"no engine of {bundle} can run here, so none was verified; `navit-edge doctor {bundle}` shows how to fix "
            f"it:{reasons}"
        )
    certificate = Certificate(bundle=tuple(bundle_checks), engines=tuple(found), not_run=not_run)
    if write:
        keep(bundle, certificate)
    return certificate


def keep(bundle: Path, certificate: Certificate) -> None:
    """Puts what ``verify`` found into the bundle: `reports/parity.json`, beside what other devices found.

    Raises BundleError: the bundle takes no new files; it is as it was.
    """
    manifest = manifests.load(bundle)
    names = [*_entries(manifest), *(engine.id for engine in _all_engines(manifest))]
    standing = {name: _sha256(manifest, name) for name in names}
    merged = certificates.load(bundle, manifest).merged(certificate, standing)
    text = msgspec.json.format(msgspec.json.encode(merged), indent=2) + b"\n"
    edit.write_report(bundle, certificates.PARITY, text)


def _most_patches(manifest: Manifest, engine: Engine) -> int:
    """Of an image, so that this engine takes it and the reference's attention stays small."""
    budget, prefix = engine.budgets[-1].tokens, manifest.model.prefix_tokens
    if budget <= prefix:
        raise BackendError(
            f"the engine {engine.id} takes {budget} tokens, and {prefix} of each image are the model's own (class "
            f"token, registers), so it can run no image; build it with --token-budgets of {prefix + 1} and more"
        )
    return min(budget - prefix, _MOST_TOKENS)


def _wanted(bundle: Path, manifest: Manifest, ids: Sequence[str], texts: Sequence[Engine]) -> list[Engine]:
    """Engines for images; ``texts``: those for texts that were asked for."""
    if not manifest.engines and not texts:
        raise BackendError(
            f"the bundle {bundle} holds no engine; build one with `navit-edge build-engine {bundle} --backend openvino`"
        )
    for name in ids:
        if not _files(manifest, name):
            known = dict.fromkeys([*_entries(manifest), *(engine.id for engine in _all_engines(manifest))])
            raise InvalidInputError(f"the bundle has no engine {name!r}; it has {', '.join(known)}")
    of_texts = {engine.id for engine in texts}
    return [manifests.find_engine(manifest, name) for name in ids or _entries(manifest) if name not in of_texts]


def _entries(manifest: Manifest) -> list[str]:
    """What a session takes as one: engines, and groups in the place of their members."""
    names = (engine.id if engine.group is None else engine.group.id for engine in manifest.engines)
    return list(dict.fromkeys(names))


def _all_engines(manifest: Manifest) -> tuple[Engine, ...]:
    return (*manifest.engines, *manifests.text_engines(manifest))


def _text_folder(manifest: Manifest) -> str:
    return manifest.text.file.rpartition("/")[0] if isinstance(manifest.text, TextTower) else ""


def _files(manifest: Manifest, name: str) -> list[str]:
    """The files of an engine, or of a group's engines."""
    return [
        engine.file
        for engine in _all_engines(manifest)
        if engine.id == name or (engine.group is not None and engine.group.id == name)
    ]


def _sha256(manifest: Manifest, name: str) -> str:
    """Of an engine's file; of a group, of the hashes of its engines' files."""
    hashes = [manifest.files[file].sha256 for file in _files(manifest, name)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _float32_graphs(manifest: Manifest) -> list[Graph]:
    """The masked one first; those of operators that are TensorRT's alone are left out."""
    usable = [one for one in manifest.graphs if one.lowering in ("masked", "padded") and one.quantization == "none"]
    usable.sort(key=lambda graph: graph.lowering != "masked")
    if not usable or usable[0].lowering != "masked":
        found = ", ".join(graph.id for graph in manifest.graphs)
        raise BundleError(f"the bundle has the graphs {found}; expected a masked one; export the model again")
    return usable


def _preprocessing(manifest: Manifest) -> Check:
    if not manifest.golden:
        found, expected = "no golden hashes in the manifest", "those that export writes; export the model again"
        return Check(name="preprocessing as at export", holds=False, found=found, expected=expected)
    wrong = mismatches(manifest, manifest.golden)
    return Check(
        name="preprocessing as at export, to the bit",
        holds=not wrong,
        found="; ".join(wrong) or f"{len(manifest.golden)} images",
        expected=f"{len(manifest.golden)} images",
    )


class _Examined(NamedTuple):
    engine: Engine
    certificate: EngineCertificate
    subject: Subject
    grids: list[Grid]


def _save(found: Sequence[_Examined], save_inputs: Path | None, save_outputs: Path | None) -> None:
    """What the reference got and gave, for Polygraphy's commands."""
    engine, certificate, subject, grids = next((one for one in found if one.certificate.worst_layer), found[0])
    packs = pack_each(subject.images, grids, subject.manifest)
    if save_inputs is not None:
        write_file(save_inputs, inputs_json(pack.inputs for pack in packs))
    if save_outputs is not None:
        graph, worst = find_graph(subject.manifest, engine), certificate.worst_layer
        trunk = Trunk(subject, graph)
        around = [] if worst is None else [name for name in (worst.after, worst.value) if name in trunk.cuts]
        names = dict.fromkeys([*(spec.name for spec in graph.outputs), *around])
        write_file(save_outputs, outputs_json(trunk.float32(list(names), packs), runner="float32"))


def _examine(
    subject: Subject, engine: Engine, session: Session, reference: Reference, words: str, step: Progress
) -> _Examined:
    manifest = subject.manifest
    tolerance = tolerance_of(manifest, engine)
    step(engine.id, "alone, packed, in another order, one image changed")
    findings = check_engine(session, manifest, reference, subject.images, tolerance)
    worst = None
    if any(found.relative > tolerance.max_relative for found in findings.distances.values()):
        note = partial(step, engine.id)
        worst = worst_layer(subject, engine, findings.grids, tolerance.max_relative, note)
    made = _certificate(
        manifest,
        engine,
        device=session.device,
        judged="each image alone",
        given=words,
        distances=findings.distances,
        checks=findings.checks,
        worst_layer=worst,
    )
    return _Examined(engine=engine, certificate=made, subject=subject, grids=findings.grids)


def _with_scaled(
    certificate: EngineCertificate, session: Session, pictures: Sequence[Picture], files: Sequence[Path] | None
) -> EngineCertificate:
    """What a scaled decode changes, beside what was found. files: those of the pictures; None: they were drawn."""
    found = check_scaled(session, drawn_files(pictures) if files is None else files)
    return msgspec.structs.replace(certificate, scaled=found.distances, checks=(*certificate.checks, *found.checks))


def _examine_texts(
    bundle: Path, manifest: Manifest, sources: Path, engines: Sequence[Engine], step: Progress
) -> list[EngineCertificate]:
    """Of the text tower's engines. Raises BackendError and MissingPackageError if they cannot be judged here."""
    if not engines or not isinstance(manifest.text, TextTower):
        return []
    step("", "the text graph, by ONNX Runtime")
    graph = sources / manifest.text.file
    weights = check_weights(graph)
    reference = TextReference(bundle, manifest, graph) if weights.holds else None
    found = []
    for engine in engines:
        step(engine.id, "texts alone, together, one changed")
        checks: tuple[Check, ...] = ()
        distances: dict[str, Distance] = {}
        if reference is not None:
            checks, distances = check_text_engine(bundle, engine.id, reference, tolerance_of(manifest, engine))
        made = _certificate(
            manifest,
            engine,
            device="cpu",
            judged="each text alone",
            given=f"{len(TEXTS)} texts",
            distances=distances,
            checks=(weights, *checks),
        )
        found.append(made)
    return found


def tolerance_of(manifest: Manifest, engine: Engine) -> Tolerance:
    """The bundle's own for the engine's precision, else the usual one."""
    return manifest.tolerances.get(engine.precision) or TOLERANCES[engine.precision]


def _certificate(
    manifest: Manifest,
    engine: Engine,
    *,
    device: str,
    judged: str,
    given: str,
    distances: dict[str, Distance],
    checks: tuple[Check, ...],
    worst_layer: WorstLayer | None = None,
) -> EngineCertificate:
    return EngineCertificate(
        engine=engine.id,
        sha256=_sha256(manifest, engine.id),
        precision=engine.precision,
        device=device,
        host=host_description(),
        versions={name: found for name in _PACKAGES if (found := package_version(name)) != "unknown"},
        unix_time=round(time.time(), 3),
        reference=f"onnxruntime {package_version('onnxruntime', 'onnxruntime-gpu')}, float32, {judged}",
        images=given,
        tolerance=tolerance_of(manifest, engine),
        distances=distances,
        checks=checks,
        worst_layer=worst_layer,
    )
