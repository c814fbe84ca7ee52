"""The properties that an engine must have, each measured on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from navit_edge._core import Result
from navit_edge.bundle.manifest import Manifest, Tolerance, find_engine
from navit_edge.errors import InvalidInputError
from navit_edge.oracle.reference import Grid, Image, Outputs, Reference
from navit_edge.policy import Policy
from navit_edge.session import Session
from navit_edge.verify.certificate import Check
from navit_edge.verify.compare import Distance, all_finite, distances, largest_relative, outputs_of, same_bits
from navit_edge.verify.images import altered

#: float32 on the CPU, in another order of summation.
_FLOAT32 = 1e-4


@dataclass(frozen=True, kw_only=True)
class Findings:
    checks: tuple[Check, ...]
    distances: dict[str, Distance]
    grids: list[Grid]


def check_graphs(references: dict[str, Reference], images: Sequence[Image], grids: Sequence[Grid]) -> list[Check]:
    """Whether the graphs themselves give the same numbers alone, packed, in another order, beside padding and in every
    lowering. ``references``: lowering -> graph; the first is what the others are compared with."""
    checks = []
    first, *others = references
    reference = references[first]
    alone = reference.alone(images, grids)
    backwards = reference.run(images[::-1], grids[::-1])[::-1]
    padded = reference.run(images, grids, padding_tokens=37, padding_images=3)
    packed = reference.run(images, grids)
    for name, found in (("packed", packed), ("in another order", backwards), ("beside padding", padded)):
        checks.append(_close(f"graph {first}: {name} as alone", largest_relative(found, alone), _FLOAT32))
    for lowering in others:
        found = references[lowering].run(images, grids, padding_images=1)
        checks.append(_close(f"graph {lowering} as graph {first}", largest_relative(found, alone), _FLOAT32))
    return checks


def check_engine(
    session: Session, manifest: Manifest, reference: Reference, images: Sequence[Image], tolerance: Tolerance
) -> Findings:
    """Everything that is asked of one engine."""
    results = [session.run([image])[0] for image in images]
    grids: list[Grid] = [(int(result.grid[0]), int(result.grid[1])) for result in results]
    alone = outputs_of(results)
    checks: list[Check] = []
    packed = outputs_of(session.run(images))
    finite = all_finite(alone) and all_finite(packed)
    checks.append(_true("every output is a finite number", finite))
    if not finite:
        return Findings(checks=tuple(checks), distances={}, grids=grids)  # nothing else can be told

    found = distances(alone, reference.alone(images, grids))
    for name, distance in found.items():
        checks.append(_close(f"{name} as in float32", distance.relative, tolerance.max_relative))
        least = f"{distance.least_cosine:.6f}"
        expected = f"{tolerance.min_cosine:g} at least"
        holds = distance.least_cosine >= tolerance.min_cosine
        checks.append(Check(name=f"{name}: least cosine to float32", holds=holds, found=least, expected=expected))
        if distance.top1_agreement is not None and tolerance.min_top1 > 0:
            share = distance.top1_agreement
            checks.append(
                Check(
                    name="same class as in float32",
                    holds=share >= tolerance.min_top1,
                    found=f"{share:.1%} of the images",
                    expected=f"{tolerance.min_top1:.1%} at least",
                )
            )
    run = _packing_run(session, manifest, images)
    if run.policy is not None:
        alone = outputs_of([run([image])[0] for image in images])
        packed = outputs_of(run(images))
    backwards = outputs_of(run(images[::-1]))[::-1]
    for name, other in (("packed as alone", packed), ("in another order as alone", backwards)):
        checks.append(_close(name, largest_relative(other, alone), tolerance.max_relative, note=f"; {run.found}"))
    checks.append(_true("the same run twice, the same bits", same_bits(outputs_of(run(images)), packed)))
    checks.append(_leaks(run, images, packed))
    return Findings(checks=tuple(checks), distances=found, grids=grids)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Runs images under a policy. found: how many of them share a pack."""

    session: Session
    policy: Policy | None
    found: str

    def __call__(self, images: Sequence[Image]) -> list[Result]:
        return self.session.run(images, policy=self.policy)


def _packing_run(session: Session, manifest: Manifest, images: Sequence[Image]) -> _Run:
    """A run in which images share packs: with as many tokens as the sizing rule gives, or with fewer if the planner
    sends such images alone, which is no fault of the engine. Without a policy if none helps: a rule of one size."""
    budget = find_engine(manifest, session.engine).budgets[-1]
    largest = min(budget.tokens, budget.target_tokens)
    for policy in (None, *(Policy.token_cap(max(1, largest // share)) for share in (4, 8, 16))):
        try:
            session.run(images, policy=policy)
        except InvalidInputError:  # of a rule of one size
            break
        most = max(int(pack["images"]) for pack in session.last_report["packs"])
        if most > 1:
            cap = "" if policy is None else f" of at most {policy.max_tokens} tokens"
            return _Run(session=session, policy=policy, found=f"{most} in a pack{cap}")
    return _Run(session=session, policy=None, found="each alone, as the planner chooses for these sizes")


def _leaks(run: _Run, images: Sequence[Image], packed: Sequence[Outputs]) -> Check:
    """Changes one image at a time: no bit of another may change, and its own must."""
    name = "one image changed, the others bit-equal"
    for index in sorted({0, len(images) // 2, len(images) - 1}):
        changed = outputs_of(run([*images[:index], altered(images[index]), *images[index + 1 :]]))
        others = [i for i in range(len(images)) if i != index]
        touched = [i for i in others if not same_bits([changed[i]], [packed[i]])]
        if touched:
            return Check(name=name, holds=False, found=f"image {index} reached image {touched[0]}", expected="no bit")
        if same_bits([changed[index]], [packed[index]]):
            found = f"image {index} itself gave the same outputs"
            return Check(name=name, holds=False, found=found, expected="other outputs for another image")
    return Check(name=name, holds=True, found="bit-equal", expected="bit-equal")


def _close(name: str, relative: float, limit: float, *, note: str = "") -> Check:
    return Check(
        name=name,
        holds=relative <= limit,  # false for NaN
        found=f"{relative:.1e} of the largest value{note}",
        expected=f"{limit:g} at most",
    )


def _true(name: str, holds: bool) -> Check:
    return Check(name=name, holds=holds, found="yes" if holds else "no", expected="yes")
