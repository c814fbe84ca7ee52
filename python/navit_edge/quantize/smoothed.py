"""A bundle's graphs smoothed: which values, how much, folded into every graph and proved on the one that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from navit_edge.oracle.graph import run_graph
from navit_edge.oracle.packs import Pack
from navit_edge.quantize.channels import Channels
from navit_edge.quantize.fold import Folding, fold
from navit_edge.quantize.layers import Constants
from navit_edge.quantize.report import SmoothedValue
from navit_edge.quantize.smoothing import Group, Transform, find_groups
from navit_edge.quantize.strength import Choice, choose
from navit_edge.quantize.variant import Variant

#: What a folded graph may differ by, relative to an output's largest magnitude: sums in another order.
_SAME = 1e-4


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """What came of it."""

    variant: Variant | None  # None: no value gains by it
    values: tuple[SmoothedValue, ...]  # all that layers read, in graph order


def smooth(
    plain: Variant,
    channels: Mapping[str, Channels],
    packs: Sequence[Pack],
    *,
    strength: float | None,
    skipped: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Smoothed:
    """The graphs of ``plain`` with smoothed values.

    strength: Of every value; None chooses one for each by what ``channels`` holds.
    packs: The first proves that the graph that runs computes what it computed.
    skipped: Layers that stay in float; what only they read stays as it is.
    """
    groups_of = {graph: find_groups(model, plain.layers_of[graph]) for graph, model in plain.models.items()}
    groups = [group for group in _common(groups_of, plain.judge) if not set(group.layers) <= set(skipped)]
    choices = choose(groups, plain.layers, channels, plain.weights, plain.precision, strength, progress)
    # What attention and gates compute is read off the graph's shape: if that misleads, they stay as they are.
    for kinds in (("norm", "factor", "values", "gate"), ("norm", "factor")):
        kept = {g.name: choices[g.name] for g in groups if g.kind in kinds and g.name in choices}
        transforms = {name: choice.transform for name, choice in kept.items() if choice.transform is not None}
        variant = _fold(plain, groups_of, transforms) if transforms else None
        if variant is None or _same(plain, variant, packs[0]):
            break
    else:
        variant, transforms = None, {}
    return Smoothed(
        variant=variant,
        values=tuple(_report(group, choices.get(group.name), group.name in transforms) for group in groups),
    )


def _common(groups_of: Mapping[str, Sequence[Group]], judge: str) -> list[Group]:
    """Those of the graph that runs that every graph has, taken over by the same."""
    known = [{_identity(group) for group in groups} for groups in groups_of.values()]
    return [group for group in groups_of[judge] if all(_identity(group) in others for others in known)]


def _identity(group: Group) -> tuple[object, ...]:
    return group.layers, group.kind, group.source, group.shifts


def _fold(plain: Variant, groups_of: Mapping[str, Sequence[Group]], transforms: Mapping[str, Transform]) -> Variant:
    folding = Folding(plain.layers, groups_of[plain.judge], transforms, plain.weights)
    models, layers_of = {}, {}
    for graph, model in plain.models.items():
        constants = Constants(model, plain.directory)
        models[graph], layers_of[graph] = fold(model, plain.layers_of[graph], groups_of[graph], folding, constants)
    return Variant(
        judge=plain.judge,
        directory=plain.directory,
        models=models,
        layers_of=layers_of,
        weights={name: folding.weight(name) for name in plain.weights},
        precision=plain.precision,
    )


def _same(plain: Variant, smoothed: Variant, pack: Pack) -> bool:
    """Whether both compute the same for a pack, but for rounding."""
    reference, found = (
        next(run_graph(variant.model, variant.directory, [pack.inputs])) for variant in (plain, smoothed)
    )
    used = pack.used_rows()
    for name, value in reference.items():
        rows = used if len(value) == len(used) else slice(None)
        one, other = value[rows], found[name][rows]
        if not np.allclose(one, other, rtol=0, atol=_SAME * float(np.abs(one).max())):
            return False
    return True


def _report(group: Group, choice: Choice | None, folded: bool) -> SmoothedValue:
    return SmoothedValue(
        layers=group.layers,
        taken_over_by=group.kind if folded else "",
        strength=choice.strength if choice is not None and folded else None,
        shifted=choice is not None and folded and choice.shifted,
        error_before=0.0 if choice is None else choice.before,
        error_after=0.0 if choice is None else choice.after if folded else choice.before,
    )
