"""What the evaluations found: a row for each, and how it compares with the row that it is to be judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from accuracy_study.evaluations import NEIGHBORS, Job, folder_of, jobs
from accuracy_study.rows import Spec, specs
from accuracy_study.sample import CAPS, MOST, Sample, native_patches
from navit_edge.evaluate.answers import Answers, answers_of, classes_of, trained_head
from navit_edge.evaluate.data import Examples, read_examples
from navit_edge.evaluate.heads import normalized
from navit_edge.evaluate.metrics import share
from navit_edge.evaluate.outputs import Outputs, read_outputs
from navit_edge.evaluate.report import Comparison, compare, judged
from navit_edge.evaluate.request import Variant
from navit_edge.evaluate.runner import REPORT, VARIANTS
from navit_edge.files import read_json
from navit_edge.vocabulary import Head

HEADS: tuple[Head, ...] = ("knn", "linear")
MARGIN = 0.01
#: An image is elongated if its longer side is at least this many times the other.
ELONGATED = 1.25
_NEAR = (0.9, 0.95, 0.98)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Of a row. tokens: [n] of the test images. embeddings: of length 1."""

    tokens: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]
    answers: dict[Head, Answers]


def findings(sample: Sample, milliseconds: dict[str, float]) -> dict[str, Any]:
    """What the JSON file holds. milliseconds: of rows, by their keys (``evaluations.measure``)."""
    rows = available(sample)
    long = _elongated(sample)
    cache: dict[tuple[str, str, str, int], _Read] = {}
    read: dict[str, _Read] = {}
    for spec in rows:
        job = _job(spec)
        known = (spec.job, spec.precision, spec.policy, 0 if job.prepared else spec.cap)
        if known not in cache:
            cache[known] = _read(sample, job, spec)
        read[spec.key] = _only(cache[known], long) if spec.elongated else cache[known]
    return {
        "schema_version": 1,
        "sample": _sample_words(sample, long),
        "neighbors": NEIGHBORS,
        "margin": MARGIN,
        "near": _near(sample, read[f"fp32-{MOST}"]),
        "rows": list(_rows(rows, read, milliseconds)),
        **_machine(sample),
    }


def available(sample: Sample) -> list[Spec]:
    """The rows whose evaluations are complete, and those that they are compared with."""
    found: dict[str, Spec] = {}
    for spec in specs():
        job = _job(spec)
        record = folder_of(sample, job) / VARIANTS / f"{_variant(job, spec).folder}.json"
        if record.exists() and (not spec.against or spec.against in found):
            found[spec.key] = spec
    return list(found.values())


def _job(spec: Spec) -> Job:
    return next(job for job in jobs() if job.name == spec.job)


def _variant(job: Job, spec: Spec) -> Variant:
    return job.variant(spec.precision, spec.policy, 0 if job.prepared else spec.cap)


def _read(sample: Sample, job: Job, spec: Spec) -> _Read:
    """Answers of both heads, made of the outputs that `navit-edge evaluate` has kept."""
    variant = _variant(job, spec)
    folder = folder_of(sample, job) / VARIANTS
    table = sample.table("train", job.prepared)
    if not table.exists():
        table = sample.table("train", f"exact-{spec.cap}")
    train, test = read_examples(table), read_examples(sample.table("test", job.prepared))
    outputs = read_outputs(folder / variant.folder, test.names)
    training = read_outputs(folder / variant.train_folder(train.digest), train.names)
    assert outputs.embedding is not None
    answers = {head: _answers(head, outputs, training, test, train) for head in HEADS}
    return _Read(tokens=outputs.tokens, embeddings=normalized(outputs.embedding), answers=answers)


def _answers(head: Head, outputs: Outputs, training: Outputs, test: Examples, train: Examples) -> Answers:
    classes = classes_of(head, test, train, (), 0)
    rank = trained_head(head, training, train, classes, neighbors=NEIGHBORS, note=print)
    return answers_of(outputs, classes, rank, of=outputs.embedding, recall=())


def _only(read: _Read, chosen: npt.NDArray[np.bool_]) -> _Read:
    answers = {
        head: Answers(
            counted=one.counted & chosen, predicted=one.predicted, top1=one.top1 & chosen, top5=None, asked=None,
            recall={}, not_finite=0,
        )
        for head, one in read.answers.items()
    }  # fmt: skip
    return _Read(tokens=read.tokens[chosen], embeddings=read.embeddings[chosen], answers=answers)


def _rows(specs: list[Spec], read: dict[str, _Read], milliseconds: dict[str, float]) -> Iterator[dict[str, Any]]:
    """All comparisons of both heads are one family of tests."""
    compared: list[Comparison | None] = [
        compare(read[spec.against].answers[head], read[spec.key].answers[head], MARGIN) if spec.against else None
        for spec in specs
        for head in HEADS
    ]
    tests = iter(judged(compared, MARGIN))
    for spec in specs:
        mine = read[spec.key]
        row: dict[str, Any] = {
            "key": spec.key,
            "group": spec.group,
            "name": spec.name,
            "precision": spec.precision,
            "cap": spec.cap,
            "tokens": float(mine.tokens.mean()),
            "ms": milliseconds.get(spec.key),
            "against": spec.against or None,
            "cosine": _cosine(read[spec.against], mine) if spec.against else None,
        }
        for head in HEADS:
            answers = mine.answers[head]
            test = next(tests)
            row[head] = {
                "top1": msgspec.to_builtins(share(int(answers.top1.sum()), int(answers.counted.sum()))),
                "test": None if test is None else msgspec.to_builtins(test),
            }
        yield row


def _cosine(before: _Read, after: _Read) -> dict[str, float]:
    """Of the embeddings of each test image in two rows."""
    found = np.einsum("nd,nd->n", before.embeddings, after.embeddings, dtype=np.float64)
    return {"mean": float(found.mean()), "low": float(np.percentile(found, 1)), "least": float(found.min())}


def _elongated(sample: Sample) -> npt.NDArray[np.bool_]:
    """Of each test image."""
    sides = [_size(Path(one.path)) for one in read_examples(sample.table("test")).examples]
    return np.array([max(sizes) >= ELONGATED * min(sizes) for sizes in sides], np.bool_)


def _size(path: Path) -> tuple[int, int]:
    """Height and width in pixels."""
    with Image.open(path) as image:
        return image.height, image.width


def _near(sample: Sample, read: _Read) -> list[dict[str, Any]]:
    """Test images with a training image that is at least so similar, and how many of them neighbours get right."""
    folder = sample.folder / "evaluations" / "fp32" / VARIANTS
    train = read_examples(sample.table("train"))
    training = read_outputs(
        folder / Job(name="fp32", bundle="fp32").variant().train_folder(train.digest), train.names
    ).embedding
    assert training is not None
    best = (read.embeddings @ normalized(training).T).max(axis=1)
    right = read.answers["knn"].top1
    return [
        {
            "cosine": limit,
            "images": int((best >= limit).sum()),
            "others": msgspec.to_builtins(share(int(right[best < limit].sum()), int((best < limit).sum()))),
        }
        for limit in _NEAR
    ]


def _sample_words(sample: Sample, long: npt.NDArray[np.bool_]) -> dict[str, Any]:
    test, train = (read_examples(sample.table(part)) for part in ("test", "train"))
    sizes = [_size(Path(one.path)) for one in test.examples]
    patches = np.array([native_patches(*size) for size in sizes])
    return {
        "test": test.count(),
        "train": train.count(),
        "classes": test.classes,
        "most_of_one_class": max(test.labels.count(name) for name in test.classes),
        "elongated": int(long.sum()),
        "within_cap": {str(cap): int((patches <= cap).sum()) for cap in CAPS},
    }


def _machine(sample: Sample) -> dict[str, Any]:
    report = read_json(sample.folder / "evaluations" / "fp32" / REPORT)
    packages = ("navit-edge", "openvino", "numpy", "scikit-learn", "pillow", "opencv-python-headless", "torch")
    return {"host": report["host"], "versions": {name: version(name) for name in packages}}
