"""The build-engine command that makes an engine again, as it was built, or its like for another target.

What the first build was asked for stands in its report: budgets, lowering, precision, the compiler's options. A command
without them would make another engine than the one that did not fit.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navit_edge import files
from navit_edge.bundle import directory as inside
from navit_edge.bundle.manifest import MOST_BYTES, Engine, Manifest
from navit_edge.errors import BundleError

#: Lowerings that build-engine refuses for a backend.
_REFUSED = {"openvino": ("packed",), "tensorrt": ("padded",), "tensorrt-rtx": ("padded",)}
#: Options that tensorrt-rtx has not.
_TENSORRT_ONLY = ("--hardware-compatibility-level",)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What build-engine is asked for.

    budgets: (tokens, images), ascending. settings: option -> value, "true" for a flag.
    per_budget: one engine for each budget was asked for, or was made by itself.
    """

    backend: str
    precisions: tuple[str, ...]
    target: str | None = None
    budgets: tuple[tuple[int, int], ...] = ()
    lowering: str = ""
    settings: Mapping[str, str]
    per_budget: bool = False

    def command(self, bundle: Path, *, force: bool = True) -> str:
        """To be pasted into a shell."""
        words = ["navit-edge", "build-engine", str(bundle), "--backend", self.backend]
        if self.precisions:
            words += ["--precision", ",".join(self.precisions)]
        if self.target is not None:
            words += ["--target", self.target]
        if self.budgets:
            words += ["--token-budgets", ",".join(str(tokens) for tokens, _ in self.budgets)]
            words += ["--max-images", ",".join(str(images) for _, images in self.budgets)]
        if self.lowering and self.lowering not in _REFUSED.get(self.backend, ()):
            words += ["--lowering", self.lowering]
        if self.per_budget:
            words.append("--engine-per-budget")
        for name, value in self.settings.items():
            if self.backend == "openvino" or (self.backend == "tensorrt-rtx" and name in _TENSORRT_ONLY):
                continue
            words += [name] if value == "true" else [name, _size(value) if name == "--workspace" else value]
        if force:
            words.append("--force")
        return shlex.join(words)


def recipe_of(bundle: Path, manifest: Manifest, engine: Engine) -> Recipe:
    """How ``engine`` was built: from its report, and from the manifest for what the report lacks or where it is gone.

    Engines that share a file were built together, and so were those of one budget each that differ in nothing else.
    """
    report = _report(bundle, engine)
    settings = report.get("settings")
    graph = next((one for one in manifest.graphs if one.id == engine.graph), None)
    lowering = report.get("lowering") or (graph.lowering if graph is not None else "")
    suffixes = {one.id: f"-t{one.budgets[-1].tokens}" for one in manifest.engines if len(one.budgets) == 1}
    stem = engine.id.removesuffix(suffixes[engine.id]) if engine.id in suffixes else engine.id
    per_budget = stem != engine.id
    kin = [one for one in manifest.engines if one.id in suffixes and one.id == stem + suffixes[one.id]]
    budgets = sorted({(b.tokens, b.images) for one in (kin if per_budget else [engine]) for b in one.budgets})
    # OpenVINO's engines of one file differ in precision alone.
    beside = [one.precision for one in manifest.engines if one.file == engine.file and engine.backend == "openvino"]
    return Recipe(
        backend=engine.backend,
        precisions=tuple(dict.fromkeys(beside)) or (engine.precision,),
        target=engine.target.replace("+", ",") if engine.backend == "tensorrt-rtx" else None,
        budgets=tuple(budgets),
        lowering=str(lowering),
        settings={str(k): str(v) for k, v in settings.items()} if isinstance(settings, dict) else {},
        per_budget=per_budget,
    )


def for_target(recipe: Recipe, *, backend: str, precision: str, target: str | None = None) -> Recipe:
    """The same for another backend or GPU. Options that belong to a precision go if the precision changes."""
    settings = dict(recipe.settings)
    if precision != "fp32":
        settings.pop("--strict", None)
    return replace(recipe, backend=backend, precisions=(precision,), target=target, settings=settings)


def for_cpu() -> Recipe:
    """An engine for this CPU with build-engine's own choices: budgets and options of a GPU's mean nothing there."""
    return Recipe(backend="openvino", precisions=(), settings={})


def _report(bundle: Path, engine: Engine) -> dict[str, Any]:
    if engine.report is None:
        return {}
    try:
        folder, _, name = engine.report.rpartition("/")
        with inside.opened(bundle) as directory, directory.folder(folder) as at:
            raw = files.read_regular(name, most_bytes=MOST_BYTES, dir_fd=at)
        return files.decode_json(raw, dict[str, Any], source=engine.report)
    except (OSError, BundleError):
        return {}


def _size(value: str) -> str:
    """ "2147483648B" -> "2048M": what build-engine reads, which takes at most nine digits."""
    digits = value.removesuffix("B")
    if not digits.isdigit():
        return value
    count = int(digits)
    for unit, shift in (("M", 20), ("K", 10)):
        if count % (1 << shift) == 0 or (count >= 10**9 and unit == "K"):
            return f"{count >> shift}{unit}"
    return value
