"""From a bundle and what other commands found out to a report of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from navit_edge.bench.suite import BenchReport
from navit_edge.bench.workload import grid_of, mixed_sizes
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import MANIFEST, Engine, Manifest
from navit_edge.errors import BackendError, InvalidInputError
from navit_edge.evaluate.report import Report as Evaluation
from navit_edge.inputs.images import image_files
from navit_edge.page.cards import make_card
from navit_edge.planning import PlanLimits, plan_packs
from navit_edge.report.content import (
    MOST_EXAMPLES,
    BundleReport,
    EngineFacts,
    Examples,
    Missing,
    Planned,
    PlannedPack,
    Tuned,
)
from navit_edge.report.given import is_bench_of, is_evaluation_of
from navit_edge.report.recorded import engine_of, model_of, quantized_of
from navit_edge.report.use import ways_to_use
from navit_edge.session import Session
from navit_edge.verify import certificate


def report_of(
    bundle: Path,
    *,
    bench: Sequence[BenchReport] = (),
    evaluation: Evaluation | None = None,
    tuned: Tuned | None = None,
    images: Path | None = None,
    on_session: Callable[[Session], None] = lambda _: None,
) -> BundleReport:
    """Everything that is known of a bundle. Opens an engine only if there are ``images``: a folder of them.

    Raises BundleError, and InvalidInputError for a folder without images or two measurements of one engine.
    """
    manifest = manifests.load(bundle)
    name = bundle.resolve().name
    ids = [one.engine for one in bench]
    if len(set(ids)) != len(ids):
        raise InvalidInputError(f"two measurements of one engine among {', '.join(ids)}; give --bench once an engine")
    found = certificate.load(bundle, manifest)
    engines = tuple(engine_of(bundle, manifest, engine, found) for engine in manifest.engines)
    examples = None if images is None else _examples(bundle, manifest, images, on_session)
    notes = []
    notes += [
        f"the measurement of {one.engine} is of a bundle named {one.bundle}, or of an engine that this one has not"
        for one in bench
        if not is_bench_of(one, bundle, manifest)
    ]
    if evaluation is not None and not is_evaluation_of(evaluation, bundle):
        notes.append(f"the evaluation is of another model than this bundle holds: it names {evaluation.bundle}")
    return BundleReport(
        name=name,
        bytes=sum(file.bytes for file in manifest.files.values()) + (bundle / MANIFEST).stat().st_size,
        model=model_of(manifest),
        engines=engines,
        certificate=found if found.engines or found.bundle else None,
        quantized=quantized_of(bundle, manifest),
        bench=tuple(bench),
        evaluation=evaluation,
        tuned=tuned,
        planned=_planned(bundle, manifest),
        examples=examples,
        use=ways_to_use(name, manifest),
        missing=_missing(name, manifest, engines, found, bench, evaluation, tuned, examples),
        notes=tuple(notes),
    )


def _planned(bundle: Path, manifest: Manifest) -> Planned | None:
    """How the set that bench has built in would share packs; None without an engine, or if no image fits it."""
    if not manifest.engines:
        return None
    engine = manifest.engines[0]
    try:
        sizes = mixed_sizes(manifest, engine)
    except InvalidInputError:
        return None
    tokens = [rows * cols + manifest.model.prefix_tokens for rows, cols in (grid_of(manifest, one) for one in sizes)]
    limits = PlanLimits.of(bundle, engine)
    made = plan_packs(tokens, limits)
    packs = tuple(
        PlannedPack(
            images=tuple(tokens[image] for image in pack.images),
            capacity=_capacity(engine, pack.tokens, pack.budget),
            predicted_ms=pack.predicted_ms if limits.cost.measured else None,
        )
        for pack in made.packs
    )
    return Planned(
        engine=engine.id,
        source=f"the built-in set of bench: {len(sizes)} images of sizes drawn at random, seed 0",
        strategy=made.strategy,
        images=len(tokens),
        tokens=sum(tokens),
        capacity=sum(pack.capacity for pack in packs),
        packs=packs,
    )


def _capacity(engine: Engine, tokens: int, budget: int) -> int:
    return tokens if engine.dynamic_tokens else engine.budgets[budget].tokens


def _examples(bundle: Path, manifest: Manifest, folder: Path, on_session: Callable[[Session], None]) -> Examples | None:
    """Runs the first images of a folder; None if no engine of the bundle runs here."""
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder; expected a folder of images")
    files = image_files([folder], recursive=True).files
    try:
        session = Session(bundle, overflow="downscale")
    except BackendError:
        return None
    with session:
        on_session(session)
        shown = files[:MOST_EXAMPLES]
        session.run(list(shown), on_error="return")  # so that the times below are not those of a first run
        results = session.run(list(shown), on_error="return")
        cards = []
        for file, result in zip(shown, results, strict=True):
            name = file.relative_to(folder).as_posix()
            card = make_card(name, file, result, manifest.preprocess, decoder=session.decoder)
            cards.append(replace(card, error=card.error.replace(str(file), name)))  # no paths of this machine
        return Examples(
            engine=session.engine, device=session.device, cards=tuple(cards), left_out=len(files) - len(shown)
        )


def _missing(
    name: str,
    manifest: Manifest,
    engines: Sequence[EngineFacts],
    found: certificate.Certificate,
    bench: Sequence[BenchReport],
    evaluation: Evaluation | None,
    tuned: Tuned | None,
    examples: Examples | None,
) -> tuple[Missing, ...]:
    """What no report says, and the command that would."""
    quoted = shlex.quote(name)
    if not engines:
        build = f"navit-edge build-engine {quoted} --backend openvino"
        return (Missing(what="an engine, without which nothing runs", command=build),)
    lacking = []
    certified = [one for one in engines if one.standing]
    if not found.engines:
        lacking.append(("whether the numbers are right: no certificate", f"navit-edge verify {quoted}"))
    elif len(certified) < len(engines):
        without = ", ".join(one.id for one in engines if not one.standing)
        lacking.append((f"a certificate of what {without} is now", f"navit-edge verify {quoted}"))
    timed = {one.engine for one in bench}
    lacking += [
        (
            f"how fast {one.id} is",
            f"navit-edge bench {quoted} --engine {shlex.quote(one.id)} --json-file bench-{one.precision}.json",
        )
        for one in engines
        if one.id not in timed and (not bench or one.target == "cpu")
    ]
    if not any(one.cost is not None for one in engines):
        lacking.append(("a measured cost model, which plans and latency targets use",
                        f"navit-edge bench {quoted} --calibrate"))  # fmt: skip
    if evaluation is None and _is_judged(manifest):
        lacking.append(("how good the answers are", f"navit-edge evaluate {quoted} DATA --json-file evaluate.json"))
    if tuned is None:
        lacking.append(("which settings suit this machine", f"navit-edge tune {quoted} --images DIR -o profile.json"))
    if examples is None:
        lacking.append(("examples", f"navit-edge report {quoted} --images DIR"))
    return tuple(Missing(what=what, command=command) for what, command in lacking)


def _is_judged(manifest: Manifest) -> bool:
    outputs = {spec.name for graph in manifest.graphs for spec in graph.outputs}
    return bool(outputs & {"logits", "embedding"})
