"""Which precision is worth building on this CPU, in one sentence: by its instructions, and what the bundle records."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from navit_edge.bundle import edit, hashing
from navit_edge.bundle.manifest import Engine, Manifest
from navit_edge.errors import BundleError
from navit_edge.files import decode_json
from navit_edge.machine.host import Host, native_precisions
from navit_edge.quantize.report import QuantizeReport

#: Speed over fp32 of S/16 on a CPU with the instructions, one thread (docs/quantize.md, "Engines").
_OVER_FP32 = {"bf16": 1.8, "int8 beside bf16": 2.3, "int8 beside fp32": 1.7}
#: As in csrc/src/engine/measured_choice.h: from here on `auto` takes an int8 engine that is faster.
LEAST_COSINE = 0.99


@dataclass(frozen=True, kw_only=True)
class Advice:
    """best: the fastest precision for this CPU's instructions. text: a sentence with the reason. command: what to do
    next, or "" if the bundle has it all."""

    best: str
    text: str
    command: str


def advise(bundle: Path, manifest: Manifest, flags: tuple[str, ...] | None = None) -> Advice:
    """flags: of the processor, as `machine.host.FLAGS` names them; None: of this one's."""
    flags = Host.read().flags if flags is None else flags
    native = native_precisions(flags)
    have = [engine for engine in manifest.engines if engine.backend == "openvino" and engine.target == "cpu"]
    base = "bf16" if "bf16" in native else "fp32"
    if "int8" not in native:
        return Advice(best=base, text=f"{base} is the fastest on this CPU: it has no int8 products", command="")
    gain = _OVER_FP32[f"int8 beside {base}"] / _OVER_FP32.get(base, 1.0)
    why = f"int8 is worth it on this CPU ({', '.join(flags)}): about {gain:.1f} x as fast as {base} with S/16"
    command = f"navit-edge {{}} {shlex.quote(str(bundle))}"
    loses = least_cosine(bundle, manifest)
    if not any(graph.quantization == "int8" for graph in manifest.graphs):
        return Advice(best="int8", text=why, command=command.format("quantize") + " --calibration DIR")
    if loses is not None:
        why += f"; this bundle's int8 graphs have a least cosine of {loses:.4f} to float32"
        if loses < LEAST_COSINE:
            text = f"{base} for this bundle: {why}, below {LEAST_COSINE}"
            return Advice(
                best=base, text=text, command=command.format("quantize") + " --calibration DIR --skip-layers auto"
            )
    if not any(engine.precision == "int8" for engine in have):
        return Advice(best="int8", text=why, command=command.format("build-engine") + " --precision int8")
    if any(engine.cost is None for engine in have):
        text = f"{why}; auto takes the fastest engine once each is measured here"
        first = next(engine for engine in have if engine.cost is None)
        return Advice(
            best="int8", text=text, command=command.format("bench") + f" --calibrate --engine {_id_of(first)}"
        )
    return Advice(best="int8", text=f"{why}; all engines are measured, and auto takes the fastest", command="")


def least_cosine(bundle: Path, manifest: Manifest) -> float | None:
    """Of the worst output of the int8 graphs, on held-out images if there were any; None: not recorded."""
    name = next((name for name in manifest.files if edit.is_version_of(name, "reports/quantize-int8.json")), None)
    if name is None:
        return None
    try:
        report = decode_json(hashing.read_file(bundle, manifest, name), QuantizeReport, source=name)
    except BundleError:
        return None
    rows = report.accuracy.get("held out") or report.accuracy.get("calibration") or ()
    return min((row.cosine_min for row in rows), default=None)


def _id_of(engine: Engine) -> str:
    return shlex.quote(engine.id)
