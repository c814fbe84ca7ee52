"""What an evaluation found: a row for each engine, policy and token cap, and how it compares with float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from navit_edge.evaluate.answers import Answers, Bools
from navit_edge.evaluate.metrics import (
    CONFIDENCE,
    Difference,
    Share,
    holm,
    images_needed,
    mcnemar,
    paired_difference,
    share,
    smallest_difference,
)
from navit_edge.evaluate.outputs import Outputs
from navit_edge.evaluate.request import Variant
from navit_edge.text import shown
from navit_edge.vocabulary import Head

#: Of the JSON: raised if a key is renamed or goes away, not if one is added.
SCHEMA_VERSION = 1

#: Images of which the embeddings have this cosine, or a higher one, may be copies of each other.
ALIKE = 0.98
_PAIRS = 10

#: "worse", "better": McNemar's test shows a difference, all rows of the report taken together (Holm). Else "no loss":
#: the interval leaves out a loss of the margin; "too few images": it does not.
Verdict: TypeAlias = Literal["no loss", "worse", "better", "too few images"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A row against another, over the images that both answered."""

    images: int
    agreement: Share  # the same class, right or wrong
    lost: int  # images that only the other row has right
    gained: int  # images that only this row has right
    difference: Difference  # of top-1: this row's minus the other's
    p: float  # McNemar's test, two-sided
    p_holm: float  # adjusted for the number of rows that are compared
    test: Literal["exact", "chi2"]
    smallest: float | None  # difference that so many images show, if so many answers change; None: none
    verdict: Verdict
    images_needed: int | None  # about, for "no loss"; None if the verdict is another, or more images would not show it


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Of decoded images, on this machine. images_per_s: all in one run. p50_ms, p99_ms: one image alone."""

    images: int
    runs: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    pareto: bool = False  # no other row is as right and as fast, and better in one of the two


class Row(msgspec.Struct, frozen=True, kw_only=True):
    engine: str
    precision: str
    device: str
    policy: str
    cap: int | None  # most patches of an image; None: as the bundle says
    images: int  # that count: with outputs, and a class that is known
    failed: int  # without outputs
    first_error: str | None
    not_finite: int  # with outputs that are no finite numbers: answered wrongly
    tokens_per_image: float
    top1: Share
    top5: Share | None  # None with five classes or fewer
    recall: dict[str, Share]  # k -> share of images with one of their class among the k nearest others
    against_reference: Comparison | None
    against_float32: Comparison | None  # of the same policy and cap: what the precision alone costs
    timing: Timing | None


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """Of the data, or of the training images."""

    images: int
    classes: int
    empty_classes: tuple[str, ...]  # folders without images
    unknown_labels: dict[str, int]  # label -> images that do not count
    skipped: dict[str, int]  # entries by the rule that leaves them out


class Similar(msgspec.Struct, frozen=True, kw_only=True):
    """Images of the data that look much like a training image, by the embeddings of one row."""

    row: int
    cosine: float  # at least
    images: int
    pairs: tuple[tuple[str, str, float], ...]  # the most similar ones: image, training image, cosine


class Report(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    bundle: str
    model: str  # hash of what the bundle computes
    head: Head
    neighbors: int | None
    margin: float
    confidence: float
    data: Images
    train: Images | None
    similar: Similar | None  # None without training images
    reference: int | None  # the row that the others are compared with; None: no float32 engine runs here
    rows: tuple[Row, ...]
    not_run: dict[str, str]  # engine -> why, in several lines
    notes: tuple[str, ...]
    host: dict[str, str]
    versions: dict[str, str]
    templates: tuple[str, ...] = ()  # of "zero-shot"


def row_of(
    variant: Variant,
    device: str,
    outputs: Outputs,
    answers: Answers,
    timing: Timing | None,
    *,
    reference: Answers | None,
    float32: Answers | None,
    margin: float,
) -> Row:
    """reference, float32: answers to compare with; None for what would be compared with itself."""
    count = int(answers.counted.sum())
    return Row(
        engine=variant.engine,
        precision=variant.precision,
        device=device,
        policy=variant.policy,
        cap=variant.cap or None,
        images=count,
        failed=int((~outputs.ok).sum()),
        first_error=outputs.errors[0] if outputs.errors else None,
        not_finite=answers.not_finite,
        tokens_per_image=float(outputs.tokens[answers.counted].mean()),
        top1=_share(answers.top1, answers.counted),
        top5=None if answers.top5 is None else _share(answers.top5, answers.counted),
        recall=recall_of(answers),
        against_reference=None if reference is None else compare(reference, answers, margin),
        against_float32=None if float32 is None else compare(float32, answers, margin),
        timing=timing,
    )


def recall_of(answers: Answers) -> dict[str, Share]:
    """k -> recall@k; empty if there is nothing to be found."""
    if answers.asked is None or not answers.asked.any():
        return {}
    return {str(k): _share(hits, answers.asked) for k, hits in answers.recall.items()}


def compare(before: Answers, after: Answers, margin: float) -> Comparison | None:
    """None if they have no image in common. As the only comparison: ``judged`` takes account of others."""
    both = before.counted & after.counted
    images = int(both.sum())
    if not images:
        return None
    lost = int((both & before.top1 & ~after.top1).sum())
    gained = int((both & ~before.top1 & after.top1).sum())
    p, test = mcnemar(lost, gained)
    difference = paired_difference(lost, gained, images)
    verdict = _verdict(p, lost, gained, difference, margin)
    return Comparison(
        images=images,
        agreement=_share(before.predicted == after.predicted, both),
        lost=lost,
        gained=gained,
        difference=difference,
        p=p,
        p_holm=p,
        test=test,
        smallest=smallest_difference(lost + gained, images),
        verdict=verdict,
        images_needed=images_needed(lost, gained, images, margin) if verdict == "too few images" else None,
    )


def judged(comparisons: Sequence[Comparison | None], margin: float) -> list[Comparison | None]:
    """Comparisons that are read together: their p adjusted by Holm's procedure, their verdicts by that."""
    adjusted = iter(holm([one.p for one in comparisons if one is not None]))
    return [None if one is None else _judged(one, next(adjusted), margin) for one in comparisons]


def _judged(one: Comparison, p: float, margin: float) -> Comparison:
    verdict = _verdict(p, one.lost, one.gained, one.difference, margin)
    needed = images_needed(one.lost, one.gained, one.images, margin) if verdict == "too few images" else None
    return msgspec.structs.replace(one, p_holm=p, verdict=verdict, images_needed=needed)


def with_adjusted_tests(rows: Sequence[Row], margin: float) -> tuple[Row, ...]:
    """The rows, their comparisons with the reference judged together, and those with float32 of the same tokens."""
    reference = judged([row.against_reference for row in rows], margin)
    float32 = judged([row.against_float32 for row in rows], margin)
    return tuple(
        msgspec.structs.replace(row, against_reference=one, against_float32=other)
        for row, one, other in zip(rows, reference, float32, strict=True)
    )


def _verdict(p: float, lost: int, gained: int, difference: Difference, margin: float) -> Verdict:
    if p <= 1 - CONFIDENCE:
        return "worse" if lost > gained else "better"
    return "no loss" if difference.low >= -margin else "too few images"


def _share(hits: Bools, of: Bools) -> Share:
    return share(int(np.count_nonzero(hits & of)), int(np.count_nonzero(of)))


def with_front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, those on the Pareto front of top-1 and images/s marked."""
    return tuple(
        row
        if row.timing is None
        else msgspec.structs.replace(
            row, timing=msgspec.structs.replace(row.timing, pareto=not any(_beats(other, row) for other in rows))
        )
        for row in rows
    )


def _beats(one: Row, other: Row) -> bool:
    if one.timing is None or other.timing is None:
        return False
    mine = (one.top1.value, one.timing.images_per_s)
    its = (other.top1.value, other.timing.images_per_s)
    return mine != its and all(a >= b for a, b in zip(mine, its, strict=True))


def notes_of(
    data: Images, train: Images | None, rows: Sequence[Row], *, similar: Similar | None, reference: bool
) -> list[str]:
    """What a reader of the table has to know, a sentence each."""
    notes = []
    if not reference:
        notes.append(
            "no float32 engine runs here, so nothing says what a precision or a token cap costs; build one: navit-edge "
            "build-engine BUNDLE --precision fp32"
        )
    for who, images in (("data", data), ("training images", train)):
        if images is not None and images.empty_classes:
            notes.append(f"{who}: class folders without images: {_few(images.empty_classes)}")
    if data.unknown_labels:
        count = sum(data.unknown_labels.values())
        notes.append(
            f"images of a label that is not known, which do not count: {count}: {_few(list(data.unknown_labels))}"
        )
    if data.classes == 1:
        notes.append("the data has one class: top-1 is the share of it that is recognized; recall@k would say nothing")
    counts = {row.images for row in rows}
    if len(counts) > 1:
        notes.append(f"rows count {min(counts)} to {max(counts)} images; a comparison takes those that both rows have")
    if rows and (failed := max(row.failed for row in rows)):
        why = next(row.first_error for row in rows if row.failed == failed)
        notes.append(f"images that failed and do not count: {failed}; the first: {why}")
    notes += [_not_finite(row) for row in rows if row.not_finite]
    if similar is not None and similar.images:
        mine, its, cosine = similar.pairs[0]
        notes.append(
            f"{similar.images} images are {similar.cosine:g} or more alike to a training image (cosine of embeddings); "
            f"if they are copies, top-1 is too good: look at {shown(mine)} and {shown(its)} ({cosine:.4f})"
        )
    return notes


def sample_words(rows: Sequence[Row], margin: float) -> list[str]:
    """Whether there are enough images for what is claimed, a sentence each."""
    compared = [row.against_reference for row in rows if row.against_reference is not None]
    few = [one for one in compared if one.verdict == "too few images"]
    words = []
    if few:
        needed = [one.images_needed for one in few if one.images_needed is not None]
        more = f"; about {about(max(needed))} would" if needed else ""
        words.append(
            f"{few[0].images:,} images do not show whether {len(few)} of {len(compared)} rows lose "
            f"{points_text(margin)} or more{more}"
        )
    shown = [one.smallest for one in compared if one.smallest is not None]
    if shown:
        words.append(
            f"the smallest difference from float32 that {compared[0].images:,} images can show (McNemar, p of 0.05): "
            f"{max(shown) * 100:.2g} points of top-1"
        )
    elif compared:
        words.append("fewer than 6 answers can change, so these images can show no difference at all")
    return words


def about(count: int) -> str:
    """Rounded up to two digits: 18608 -> "19,000"."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"


def points_text(value: float) -> str:
    """Of a share: 0.01 -> "1 point"."""
    return f"{value * 100:g} point{'s' * (value != 0.01)}"


def _not_finite(row: Row) -> str:
    return f"{row.engine}: outputs that are no finite numbers, which count as wrong: {row.not_finite}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def similar_of(
    row: int, names: Sequence[str], training: Sequence[str], found: Sequence[int], cosines: Sequence[float]
) -> Similar:
    """found, cosines: of each image the most similar training image."""
    alike = [place for place, cosine in enumerate(cosines) if cosine >= ALIKE]
    first = sorted(alike, key=lambda place: -cosines[place])[:_PAIRS]
    pairs = tuple((names[place], training[found[place]], float(cosines[place])) for place in first)
    return Similar(row=row, cosine=ALIKE, images=len(alike), pairs=pairs)


def images_of(
    count: int, classes: int, empty: Sequence[str], unknown: Mapping[str, int], skipped: Mapping[str, int]
) -> Images:
    return Images(
        images=count,
        classes=classes,
        empty_classes=tuple(empty),
        unknown_labels=dict(unknown),
        skipped=dict(sorted(skipped.items())),
    )
