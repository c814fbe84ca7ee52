"""Reports that other commands wrote into files, and which of two bundles each is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from navit_edge import _core
from navit_edge.bench.suite import BenchReport
from navit_edge.bundle.identity import model_hash
from navit_edge.bundle.manifest import Manifest
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.evaluate.report import Report as Evaluation
from navit_edge.files import read_text
from navit_edge.text import shown

T = TypeVar("T")


def read_bench(path: Path) -> BenchReport:
    """Raises InvalidInputError for what `navit-edge bench --json-file` did not write of one engine."""
    return _read(path, BenchReport, "what `navit-edge bench BUNDLE --engine ID --json-file FILE` wrote of one engine")


def read_evaluation(path: Path) -> Evaluation:
    """Raises InvalidInputError for what `navit-edge evaluate --json-file` did not write."""
    return _read(path, Evaluation, "what `navit-edge evaluate BUNDLE DATA --json-file FILE` wrote")


def _read(path: Path, type_: type[T], expected: str) -> T:
    raw = read_text(path, expected=expected).encode()
    try:
        _core.check_json(raw, source=shown(path), remedy=f"expected {expected}")
        return msgspec.json.decode(raw, type=type_)
    except (BundleError, msgspec.DecodeError) as error:
        raise InvalidInputError(f"{shown(path)} is not what was expected: {error}; expected {expected}") from None


def is_bench_of(report: BenchReport, bundle: Path, manifest: Manifest) -> bool:
    """Whether it names this bundle, and an engine that the bundle has."""
    names = {engine.id for engine in manifest.engines} | {one.group.id for one in manifest.engines if one.group}
    return report.bundle == bundle.resolve().name and report.engine in names


def is_evaluation_of(report: Evaluation, bundle: Path) -> bool:
    """Whether the bundle computes what the evaluated one did."""
    return report.model == model_hash(bundle)


def assigned(
    what: str, found: Sequence[tuple[Path, T]], bundles: Sequence[Path], is_of: Callable[[T, Path], bool]
) -> list[list[T]]:
    """For each bundle its reports. What is of both or of none belongs to a bundle by its place, if there is one each.

    Raises InvalidInputError if nothing says whose a report is.
    """
    if len(bundles) == 1:
        return [[report for _, report in found]]
    owners = [[place for place, bundle in enumerate(bundles) if is_of(report, bundle)] for _, report in found]
    if any(len(one) != 1 for one in owners):
        if len(found) != len(bundles):
            path = next(path for (path, _), one in zip(found, owners, strict=True) if len(one) != 1)
            raise InvalidInputError(
                f"{shown(path)} does not say which of the two bundles it is of; give {what} once for each bundle, in "
                "their order"
            )
        owners = [[place] for place in range(len(bundles))]
    return [
        [report for (_, report), owner in zip(found, owners, strict=True) if owner == [place]]
        for place in range(len(bundles))
    ]
