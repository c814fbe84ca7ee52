"""Every variant over the data, one after the other, into a folder that an interrupted evaluation goes on from."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.identity import hashes_of
from navit_edge.bundle.manifest import Manifest
from navit_edge.compile.common import package_version
from navit_edge.compile.report import host_description
from navit_edge.decode import Decoder, Recorded
from navit_edge.errors import BackendError, InvalidInputError, import_or_explain
from navit_edge.evaluate.answers import Answers, Classes, answers_of, classes_of, trained_head
from navit_edge.evaluate.data import Examples, calibration_notes, read_examples, shared_files
from navit_edge.evaluate.heads import Rank, classifier_head, nearest, text_head
from navit_edge.evaluate.metrics import CONFIDENCE
from navit_edge.evaluate.outputs import Outputs, read_outputs, run_into
from navit_edge.evaluate.report import (
    SCHEMA_VERSION,
    Images,
    Report,
    Row,
    Similar,
    Timing,
    images_of,
    notes_of,
    row_of,
    similar_of,
    with_adjusted_tests,
    with_front,
)
from navit_edge.evaluate.request import (
    EvaluateRequest,
    Variant,
    chosen_head,
    engines_of,
    reference_engines,
)
from navit_edge.evaluate.timing import TimedImages, measure_timing
from navit_edge.files import read_json
from navit_edge.place import write_file
from navit_edge.policy import Policy
from navit_edge.run.durable import publish
from navit_edge.run.journal import fingerprint
from navit_edge.run.rows import VECTORS, layout_of, offered_shapes
from navit_edge.run.sinks import claim_folder
from navit_edge.session import Session
from navit_edge.text import safe_json, shown
from navit_edge.text_encoder import TextEncoder
from navit_edge.vocabulary import Head
from navit_edge.zero_shot import ZeroShotClassifier

if TYPE_CHECKING:
    from rich.console import Console

#: In the folder of an evaluation.
REPORT = "report.json"
VARIANTS = "variants"
_PACKAGES = ("navit-edge", "numpy", "openvino", "tensorrt", "tensorrt-rtx-cu12", "scikit-learn")

#: Called with each session that is opened, what it runs, which row that is, and how many there will be.
OnSession = Callable[[Session, Variant, int, int], None]


class _Record(msgspec.Struct, kw_only=True):
    """Of a variant that is complete."""

    job: dict[str, Any]
    device: str
    asked: tuple[int, float]
    timing: Timing | None


def evaluate(
    bundle: Path,
    data: Path,
    request: EvaluateRequest | None = None,
    *,
    train: Path | None = None,
    folder: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    on_session: OnSession | None = None,
) -> Report:
    """Runs engines of a bundle over labelled images and compares their answers with float32's (docs/evaluate.md).

    data, train: a folder of class folders, or a CSV or Parquet file with the columns path and label.
    folder: keeps every output and the report, for ``resume``; None: nothing is kept.
    resume: goes on with what the folder has. overwrite: replaces it.
    console: shows progress; None: nothing is shown.

    Raises InvalidInputError, BundleError, BackendError, MissingPackageError, and InterruptedEvaluation after a signal.
    """
    return _Evaluation(bundle, data, request or EvaluateRequest(), train, console, on_session).run(
        folder, resume=resume, overwrite=overwrite
    )


@dataclass(kw_only=True)
class _Found:
    """What the variants gave so far."""

    rows: list[Row] = field(default_factory=list)
    answers: dict[Variant, Answers] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    similar: Similar | None = None
    reference: Variant | None = None


class _Evaluation:
    def __init__(
        self,
        bundle: Path,
        data: Path,
        request: EvaluateRequest,
        train: Path | None,
        console: Console | None,
        on_session: OnSession | None,
    ) -> None:
        from rich.console import Console

        self._bundle = bundle
        self._request = request
        self._manifest: Manifest = manifests.load(bundle)
        self._asked = engines_of(self._manifest, request)
        self._widths = {name: shape[-1] for name, shape in offered_shapes(bundle).items() if name in VECTORS}
        self._head: Head = chosen_head(request, self._widths, train=train is not None)
        if self._head == "linear":
            import_or_explain("sklearn", purpose="--head linear", remedy='pip install "navit-edge[evaluate]"')
        self._examples = read_examples(data, formats=request.decode.formats)
        self._train = None if train is None else read_examples(train, formats=request.decode.formats)
        if self._train is not None and (shared := shared_files(self._examples, self._train)):
            raise InvalidInputError(
                f"{len(shared)} images of {shown(data)} are among the training images, too, the first "
                f"{shown(shared[0])}; leave them out of one of the two"
            )
        if self._head == "linear" and self._train is not None and len(self._train.classes) < 2:
            raise InvalidInputError(
                f"{shown(self._train.given)} has one class; a linear head needs two or more: give more classes"
            )
        self._classes: Classes = classes_of(
            self._head,
            self._examples,
            self._train,
            self._manifest.labels,
            self._widths.get("logits", 0),
            request.classes,
        )
        self._by_text: Rank | None = None
        if self._head == "zero-shot":
            encoder = TextEncoder(bundle, threads=request.threads)
            named = ZeroShotClassifier(encoder, list(self._classes.index), templates=request.templates)
            self._by_text = text_head(named.embeddings)
        self._console = console or Console(stderr=True, quiet=True)
        self._quiet = console is None
        self._total = 0  # rows, if all engines run
        self._on_session = on_session or (lambda session, variant, number, of: None)
        decoder = Decoder(request.decode, Recorded.of(self._manifest.preprocess))
        self._timed = TimedImages(self._examples, request.timed_images, decoder)
        self._job = fingerprint(
            bundle,
            overflow=request.overflow,
            orientation=request.decode.orientation or "",
            icc=request.decode.icc or "",
            decode=request.decode.jpeg or "",
        )

    def run(self, folder: Path | None, *, resume: bool, overwrite: bool) -> Report:
        with ExitStack() as held:
            if folder is None:
                root = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="navit-edge-evaluate-")))
            else:
                root = folder
                journal = claim_folder(root, resume=resume, overwrite=overwrite)
                held.callback(journal.close)
                if overwrite:
                    shutil.rmtree(root / VARIANTS, ignore_errors=True)
                    (root / REPORT).unlink(missing_ok=True)
                else:
                    journal.require_same(self._job)
                journal.write(self._job)
            (root / VARIANTS).mkdir(exist_ok=True)
            report = self._report(self._found(root / VARIANTS))
            if folder is not None:
                write_file(root / REPORT, report_json(report).encode())
        return report

    def _found(self, place: Path) -> _Found:
        found = _Found()
        references = [
            Variant(engine=engine, precision="fp32", policy=str(Policy.native()), cap=0)
            for engine in reference_engines(self._manifest, self._asked)
        ]
        self._total = len({*references[:1], *self._variants()})
        for variant in references:
            if self._add(place, variant, found, must_run=variant.engine in self._request.engines):
                found.reference = variant
                break
        for variant in self._variants():
            if variant not in found.answers and variant.engine not in found.not_run:
                self._add(place, variant, found, must_run=variant.engine in self._request.engines)
        if not found.rows:
            reasons = "; ".join(f"{name}: {why}" for name, why in found.not_run.items())
            raise BackendError(f"no engine of {self._bundle} can run on this machine, so none was evaluated: {reasons}")
        return found

    def _variants(self) -> Iterator[Variant]:
        for engine, precision in self._asked:
            for policy in dict.fromkeys(str(Policy.parse(text)) for text in self._request.policies):
                for cap in dict.fromkeys(self._request.caps):
                    yield Variant(engine=engine, precision=precision, policy=policy, cap=cap)

    def _add(self, place: Path, variant: Variant, found: _Found, *, must_run: bool) -> bool:
        """Whether it could be run: a row more."""
        here = place / variant.folder
        try:
            record = self._complete(here, variant, len(found.rows) + 1)
        except BackendError as error:
            if must_run:
                raise
            found.not_run[variant.engine] = str(error)
            return False
        outputs = read_outputs(here, self._examples.names)
        answers = self._answers(here, variant, outputs, found.notes)
        if found.similar is None and self._train is not None:
            found.similar = self._similar(here, variant, outputs)
        if not answers.counted.any():
            why = outputs.errors[0] if outputs.errors else "no label of theirs is known"
            raise InvalidInputError(f"none of {len(outputs.ok)} images can be evaluated with {variant.engine}: {why}")
        float32 = next(
            (
                theirs
                for other, theirs in found.answers.items()
                if other.precision == "fp32" and (other.policy, other.cap) == (variant.policy, variant.cap)
            ),
            None,
        )
        reference = None if found.reference is None else found.answers[found.reference]
        found.answers[variant] = answers
        found.rows.append(
            row_of(
                variant,
                record.device,
                outputs,
                answers,
                record.timing,
                reference=reference,
                float32=float32,
                margin=self._request.margin,
            )
        )
        return True

    def _complete(self, here: Path, variant: Variant, number: int) -> _Record:
        """Runs what is missing of a variant. Raises BackendError if its engine cannot run."""
        asked = (self._request.timed_images, float(self._request.duration_s))
        jobs = self._jobs(variant)
        job: dict[str, Any] = {**jobs, "train": jobs.get("train")}
        record = _read_record(here.with_name(f"{here.name}.json"))
        if record is not None and (record.job, record.asked) == (job, asked):
            return record
        request = self._request
        with Session(
            self._bundle,
            engine=variant.engine,
            device=request.device,
            threads=request.threads,
            slots=request.slots,
            max_tokens_per_image=variant.cap,
            overflow=request.overflow,
            policy=Policy.parse(variant.policy),
            decode=request.decode,
            decoders=request.decoders,
            options=request.options,
        ) as session:
            self._on_session(session, variant, number, self._total)
            layout = layout_of(
                self._bundle, labels=[], top_k=1, save=[name for name in VECTORS if name in self._widths]
            )
            for name, examples in (("data", self._examples), ("train", self._train)):
                if examples is not None:
                    run_into(
                        here if name == "data" else here.with_name(variant.train_folder(examples.digest)),
                        examples,
                        session,
                        layout,
                        jobs[name],
                        console=self._console,
                        quiet=self._quiet,
                    )
            timing = None
            if request.timed_images:
                ok = read_outputs(here, self._examples.names).ok
                timing = measure_timing(session, self._timed.of(ok), request.duration_s)
            made = _Record(job=job, device=session.device, asked=asked, timing=timing)
        publish(here.with_name(f"{here.name}.json"), msgspec.json.encode(made))
        return made

    def _jobs(self, variant: Variant) -> dict[str, dict[str, Any]]:
        """What outputs are of, of the data and of the training images."""
        same = {
            "engine": hashes_of(self._manifest, variant.engine),
            "policy": variant.policy,
            "max_tokens": variant.cap,
            "device": self._request.device,
            "options": dict(sorted(self._request.options.items())),
        }
        jobs = {"data": self._examples, "train": self._train}
        return {name: {"images": one.digest, **same} for name, one in jobs.items() if one is not None}

    def _answers(self, here: Path, variant: Variant, outputs: Outputs, notes: list[str]) -> Answers:
        recall = tuple(dict.fromkeys(self._request.recall))
        if self._head == "retrieval":
            return answers_of(outputs, self._classes, None, of=None, recall=recall)
        if self._by_text is not None:
            return answers_of(outputs, self._classes, self._by_text, of=outputs.embedding, recall=recall)
        if self._train is None:
            head = classifier_head(self._manifest.labels, self._widths["logits"])
            return answers_of(outputs, self._classes, head, of=outputs.logits, recall=recall)
        head = trained_head(
            self._head,
            read_outputs(here.with_name(variant.train_folder(self._train.digest)), self._train.names),
            self._train,
            self._classes,
            neighbors=self._request.neighbors,
            note=lambda words: notes.append(f"{here.name}: {words}"),
        )
        return answers_of(outputs, self._classes, head, of=outputs.embedding, recall=recall)

    def _similar(self, here: Path, variant: Variant, outputs: Outputs) -> Similar:
        assert self._train is not None
        training = read_outputs(here.with_name(variant.train_folder(self._train.digest)), self._train.names)
        assert outputs.embedding is not None
        assert training.embedding is not None
        there = [place for place, ok in enumerate(training.ok) if ok]
        found, cosines = nearest(outputs.embedding[outputs.ok], training.embedding[there])
        names = [name for name, ok in zip(self._examples.names, outputs.ok, strict=True) if ok]
        return similar_of(0, names, [self._train.names[place] for place in there], found.tolist(), cosines.tolist())

    def _report(self, found: _Found) -> Report:
        data = _images(self._examples, self._classes.unknown)
        train = None if self._train is None else _images(self._train, {})
        notes = [
            *calibration_notes(self._bundle, self._examples),
            *notes_of(data, train, found.rows, similar=found.similar, reference=found.reference is not None),
            *found.notes,
        ]
        return Report(
            schema_version=SCHEMA_VERSION,
            bundle=self._manifest.name,
            model=self._job["model"],
            head=self._head,
            neighbors=self._request.neighbors if self._head == "knn" else None,
            templates=tuple(self._request.templates) if self._head == "zero-shot" else (),
            margin=self._request.margin,
            confidence=CONFIDENCE,
            data=data,
            train=train,
            similar=found.similar,
            reference=None if found.reference is None else list(found.answers).index(found.reference),
            rows=with_front(with_adjusted_tests(found.rows, self._request.margin)),
            not_run=found.not_run,
            notes=tuple(notes),
            host=host_description(),
            versions={name: version for name in _PACKAGES if (version := package_version(name)) != "unknown"},
        )


def report_json(report: Report) -> str:
    """As it is written and printed."""
    text: str = msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
    return safe_json(text) + "\n"


def _images(examples: Examples, unknown: dict[str, int]) -> Images:
    return images_of(examples.count(), len(examples.classes), examples.empty, unknown, examples.skipped)


def _read_record(path: Path) -> _Record | None:
    if not path.exists():
        return None
    try:
        return msgspec.convert(read_json(path), _Record)
    except msgspec.ValidationError:  # of another version: measured again
        return None
