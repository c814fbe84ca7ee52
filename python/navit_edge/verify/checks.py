"""The properties that an engine must have, each measured on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from navit_edge.bundle.manifest import Manifest, Tolerance, find_engine
from navit_edge.oracle.reference import Grid, Image, Outputs, Reference
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
    most = max(int(pack["images"]) for pack in session.last_report["packs"])
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
    if max(budget.images for budget in find_engine(manifest, session.engine).budgets) > 1:
        checks.append(
            Check(name="images share packs", holds=most > 1, found=f"{most} in a pack", expected="2 at least")
        )
    backwards = outputs_of(session.run(images[::-1]))[::-1]
    for name, other in (("packed as alone", packed), ("in another order as alone", backwards)):
        checks.append(_close(name, largest_relative(other, alone), tolerance.max_relative))
    checks.append(_true("the same run twice, the same bits", same_bits(outputs_of(session.run(images)), packed)))
    checks.append(_leaks(session, images, packed))
    return Findings(checks=tuple(checks), distances=found, grids=grids)


def _leaks(session: Session, images: Sequence[Image], packed: Sequence[Outputs]) -> Check:
    """Changes one image at a time: no bit of another may change, and its own must."""
    name = "one image changed, the others bit-equal"
    for index in sorted({0, len(images) // 2, len(images) - 1}):
        changed = outputs_of(session.run([*images[:index], altered(images[index]), *images[index + 1 :]]))
        others = [i for i in range(len(images)) if i != index]
        touched = [i for i in others if not same_bits([changed[i]], [packed[i]])]
        if touched:
            return Check(name=name, holds=False, found=f"image {index} reached image {touched[0]}", expected="no bit")
        if same_bits([changed[index]], [packed[index]]):
            found = f"image {index} itself gave the same outputs"
            return Check(name=name, holds=False, found=found, expected="other outputs for another image")
    return Check(name=name, holds=True, found="bit-equal", expected="bit-equal")


def _close(name: str, relative: float, limit: float) -> Check:
    return Check(
        name=name,
        holds=relative <= limit,  # false for NaN
        found=f"{relative:.1e} of the largest value",
        expected=f"{limit:g} at most",
    )


def _true(name: str, holds: bool) -> Check:
    return Check(name=name, holds=holds, found="yes" if holds else "no", expected="yes")
