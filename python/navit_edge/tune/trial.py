"""What one process of the tuner is asked to measure, and what it answers: a session opened once, several policies.

A process of its own: an engine that crashes ends no search, and its memory is counted from nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from navit_edge.profile.schema import Setup

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from navit_edge.session import Session

#: A process that answers later than this after what it was asked for is ended.
GRACE_S = 120.0
#: Without the current directory in the path, where a file may bear a module's name.
_MAIN = "import sys; sys.path[:] = filter(None, sys.path); from navit_edge.tune.trial import main; main()"
_FEWEST_ALONE = 5
_FEW = 8
_RUN_LENGTH = 4
_PERCENTILES = (50.0, 90.0, 99.0)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """seconds: of the measurement of each policy, about; slow engines get fewer of the images for it. limit_s: no
    policy is begun after so long. max_memory: of the session, without the images' pixels; 0: no
    limit. together: images a run, each measured with the first policy.
    reference: a file of answers to compare with; written if ``make_reference``."""

    bundle: str
    images: tuple[str, ...]  # files of pixels, .npy
    setup: Setup
    policies: tuple[str, ...]
    seconds: float
    limit_s: float = 3600.0
    max_memory: int = 0
    together: tuple[int, ...] = ()
    reference: str = ""
    make_reference: bool = False


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a policy; the fields are those of ``profile.Trial``. error: why there are none."""

    policy: str
    error: str = ""
    tokens_per_image: float = 0.0
    images_per_s: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    timed: int = 0
    answered: int = 0  # images that were run, whose answers were compared
    memory_bytes: Annotated[int, Meta(ge=0)] | None = None
    agreement: float | None = None
    similarity: float | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """error: why the session did not open, or what became of the process. complete: all policies were measured."""

    error: str = ""
    device: str = ""
    streams: int = 1
    complete: bool = True
    figures: tuple[Figures, ...] = ()
    together: tuple[tuple[int, float], ...] = ()  # (images a run, images/s)


def ask_a_process(ask: Ask) -> Answer:
    """Starts the process, and waits for it. Never raises for what an engine does."""
    count = len(ask.policies) + len(ask.together)
    timeout = GRACE_S + min(ask.limit_s, 10 * count * (ask.seconds + 1))
    try:
        done = subprocess.run(
            [sys.executable, "-c", _MAIN],
            input=msgspec.json.encode(ask),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(error=f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Answer(error=f"a process for it could not be started ({error.strerror})")
    lines = done.stdout.splitlines()
    try:
        return msgspec.json.decode(lines[-1], type=Answer)
    except (IndexError, msgspec.DecodeError):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        return Answer(error=f"the process ended with code {done.returncode}: {last[0]}")


def main() -> None:
    """Reads an ``Ask`` from standard input; the last line of standard output is the ``Answer``."""
    import navit_edge as ne

    ask = msgspec.json.decode(sys.stdin.buffer.read(), type=Ask)
    try:
        answer = answer_to(ask)
    except ne.NavitEdgeError as error:
        answer = Answer(error=str(error))
    sys.stdout.write("\n" + json.dumps(msgspec.to_builtins(answer)) + "\n")


def answer_to(ask: Ask) -> Answer:
    """Measures, in this process. Raises what opening a session raises."""
    import numpy as np

    import navit_edge as ne

    images = [np.load(path) for path in ask.images]
    pixels = sum(image.nbytes for image in images)
    setup = ask.setup
    limit = ask.max_memory + pixels if ask.max_memory else 0
    with ne.Session(
        ask.bundle, engine=setup.engine, threads=setup.threads, slots=setup.slots, max_memory=limit
    ) as session:
        begin = time.perf_counter()
        figures: list[Figures] = []
        together: list[tuple[int, float]] = []
        for policy in ask.policies:
            if figures and time.perf_counter() - begin > ask.limit_s:
                break
            figures.append(_figures(session, images, pixels, policy, ask))
        for count in ask.together if not figures[0].error else ():
            if time.perf_counter() - begin > ask.limit_s:
                break
            chosen = ne.Policy.parse(ask.policies[0])
            together.append((count, _throughput(session, images, chosen, ask.seconds, at_once=count)))
        return Answer(
            device=session.device,
            streams=max(1, session.slots),
            complete=len(figures) == len(ask.policies) and (len(together) == len(ask.together) or not figures),
            figures=tuple(figures),
            together=tuple(together),
        )


def _figures(session: Session, images: Sequence[npt.NDArray[np.uint8]], pixels: int, policy: str, ask: Ask) -> Figures:
    import navit_edge as ne
    from navit_edge.bench.measure import summary
    from navit_edge.machine.process_memory import PeakMemory

    chosen = ne.Policy.parse(policy)
    memory = PeakMemory()
    try:
        count = _how_many(session, images, chosen, ask.seconds)
        results = session.run(images[:count], policy=chosen)  # the first run of these shapes, which is not timed
        images_per_s = _throughput(session, images[:count], chosen, ask.seconds / 2)
        alone: list[float] = []
        start = time.perf_counter()
        while len(alone) < _FEWEST_ALONE or time.perf_counter() - start < ask.seconds / 2:
            begin = time.perf_counter()
            session.run([images[len(alone) % len(images)]], policy=chosen)
            alone.append((time.perf_counter() - begin) * 1e3)
    except ne.NavitEdgeError as error:
        return Figures(policy=policy, error=str(error))
    peak = memory.peak_bytes()
    percentiles = summary(alone, _PERCENTILES)
    agreement, similarity = _against_reference(results, ask)
    return Figures(
        policy=policy,
        tokens_per_image=sum(result.token_count for result in results) / len(results),
        images_per_s=images_per_s,
        p50_ms=percentiles["p50"],
        p90_ms=percentiles["p90"],
        p99_ms=percentiles["p99"],
        timed=len(alone),
        answered=len(results),
        memory_bytes=None if peak is None else max(0, peak - pixels),
        agreement=agreement,
        similarity=similarity,
    )


def _how_many(session: Session, images: Sequence[Any], policy: Any, seconds: float) -> int:
    """Of the images, so many as run once in a few times ``seconds``: they are in no order that means anything."""
    few = images[:_FEW]
    session.run(few, policy=policy)
    each = []
    for _ in range(2):  # the faster one: another program may have had the machine
        begin = time.perf_counter()
        session.run(few, policy=policy)
        each.append((time.perf_counter() - begin) / len(few))
    return min(len(images), max(len(few), int(_RUN_LENGTH * seconds / max(1e-6, min(each)))))


def _throughput(session: Session, images: Sequence[Any], policy: Any, seconds: float, *, at_once: int = 0) -> float:
    """images/s of all in one run, or of groups of ``at_once`` of them, one after the other."""
    count = at_once or len(images)
    done = 0
    start = time.perf_counter()
    while done == 0 or time.perf_counter() - start < seconds:
        session.run([images[(done + place) % len(images)] for place in range(count)], policy=policy)
        done += count
    return done / (time.perf_counter() - start)


def _against_reference(results: Sequence[Any], ask: Ask) -> tuple[float | None, float | None]:
    """(share of the same classes, mean cosine of embeddings): None for what the bundle does not give."""
    import numpy as np

    if not ask.reference:
        return None, None
    found = {
        name: np.stack([np.asarray(getattr(result, name), np.float32) for result in results])
        for name in ("logits", "embedding")
        if getattr(results[0], name) is not None
    }
    if ask.make_reference:
        np.savez(ask.reference, **found)  # type: ignore[arg-type]
        reference: dict[str, Any] = found
    else:
        with np.load(ask.reference) as kept:
            reference = {name: kept[name] for name in kept.files}
    both = min(len(rows) for rows in (*found.values(), *reference.values()))
    found = {name: rows[:both] for name, rows in found.items()}
    reference = {name: rows[:both] for name, rows in reference.items()}
    agreement = similarity = None
    if "logits" in found and "logits" in reference:
        agreement = float(np.mean(found["logits"].argmax(axis=1) == reference["logits"].argmax(axis=1)))
    if "embedding" in found and "embedding" in reference:
        one, other = found["embedding"].astype(np.float64), reference["embedding"].astype(np.float64)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
        similarity = min(1.0, max(-1.0, float(cosines.mean())))
    return agreement, similarity


def reference_path(folder: Path) -> Path:
    """Where the answers of the reference are kept; numpy adds the suffix if it is missing."""
    return folder / "reference.npz"
