"""What our back end says of a plan that its TensorRT cannot open: which it is, and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import navit_edge as ne
from proof.engines import copy_with_engines
from proof.results import Results

#: Of another version than any library that is opened here.
OLD_VERSION = "10.3.0"
NO_PLAN, OLD_PLAN = "no plan of TensorRT's", "a plan of another version"


def refusals(
    bundle: Path, target: Path, *, version: str, target_name: str, options: Mapping[str, str],
    backend_dirs: Sequence[Path],
) -> dict[str, str]:  # fmt: skip
    """Case -> the error, or "opened". version: of the library. target: where a copy of the bundle may lie meanwhile."""
    said = {}
    for case, built_by in ((NO_PLAN, version), (OLD_PLAN, OLD_VERSION)):
        plans = {"foreign": b"no plan of TensorRT's"}
        copy_with_engines(bundle, target, plans, budgets=((256, 8),), target_name=target_name, version=built_by)
        try:
            ne.Session(target, engine="foreign", options=options, backend_dirs=backend_dirs).close()
            said[case] = "opened"
        except ne.BackendError as error:
            said[case] = str(error)
        finally:
            shutil.rmtree(target, ignore_errors=True)
    return said


def judge(said: Mapping[str, str], version: str, library: str, results: Results, *, lean: bool = False) -> None:
    """library: for the names of the checks."""
    for case, words in (
        (NO_PLAN, f"TensorRT {version} cannot open the engine"),
        (NO_PLAN, "rebuild it here"),
        (OLD_PLAN, f"the engine was built by TensorRT {OLD_VERSION}; this is {version}{' (lean' if lean else ''}"),
        (OLD_PLAN, "rebuild it here"),
    ):
        results.check(f"{library}, {case}: says {words!r}", words in said[case])
