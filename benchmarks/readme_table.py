"""Writes the figures of end_to_end.json and cold_start.json into README.md, between its benchmark marks.

python benchmarks/readme_table.py [--check]
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN = "<!-- benchmarks: begin (from benchmarks/end_to_end.json and cold_start.json) -->"
END = "<!-- benchmarks: end -->"
ROWS = {
    "navit-edge bf16": "**navit-edge**, bf16",
    "navit-edge fp32": "**navit-edge**, fp32",
    "pytorch alone fp32": "PyTorch, one image at a time, fp32",
    "pytorch alone bf16": "PyTorch, one image at a time, bf16",
    "pytorch padded fp32": "PyTorch, padded batch, fp32",
    "pytorch padded bf16": "PyTorch, padded batch, bf16",
    "onnxruntime masked fp32": "ONNX Runtime, the masked graph, fp32",
    "openvino alone bf16, 1 stream": "OpenVINO, one image at a time, bf16, 1 stream",
    "openvino alone bf16, 2 streams": "OpenVINO, one image at a time, bf16, 2 streams",
    "openvino alone fp32, 1 stream": "OpenVINO, one image at a time, fp32, 1 stream",
    "openvino alone fp32, 2 streams": "OpenVINO, one image at a time, fp32, 2 streams",
}


def render(report: dict[str, Any], cold: dict[str, Any]) -> str:
    """The Markdown between the marks."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {hardware[name]}" for name in ("torch", "onnxruntime", "openvino"))
    sets = {name: report["sets"][name] for name in ("mixed", "small")}
    heads = [f"{name}: {one['images']} images, {one['tokens']} tokens" for name, one in sets.items()]
    lines = [
        f"S/16 on {hardware['cores']} cores of an {hardware['cpu']} ({', '.join(hardware['isa'])});",
        f"{versions}. Images per second, and in brackets how many times",
        f"faster the bf16 session is; medians of {report['rounds']} rounds.",
        "",
        f"| | {' | '.join(heads)} |",
        "|---|---|---|",
    ]
    for key, label in ROWS.items():
        if any(key not in one["contenders"] for one in sets.values()):
            continue
        cells = []
        for one in sets.values():
            row = one["contenders"][key]
            ratio = "" if key == report["session"] else f" ({row['navit_edge_speedup']:.2f} ×)"
            cells.append(f"{row['images_per_second']:.1f}{ratio}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines.append("")
    for precision, seconds in cold["seconds"].items():
        median = {name: statistics.median(values) for name, values in seconds.items()}
        lines.append(
            f"Cold start, {precision}: import {median['import']:.2f} s, then opening the bundle and one image of 1,014 "
            f"tokens {median['session and one image']:.2f} s."
        )
    return "\n".join(lines)


def updated(readme: str) -> str:
    """``readme`` with the figures of the JSON files."""
    report = json.loads((HERE / "end_to_end.json").read_text())
    cold = json.loads((HERE / "cold_start.json").read_text())
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{render(report, cold)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if README.md is out of date")
    arguments = parser.parse_args()
    path = HERE.parent / "README.md"
    text = path.read_text()
    new = updated(text)
    if arguments.check:
        raise SystemExit(0 if new == text else "README.md is out of date: python benchmarks/readme_table.py")
    path.write_text(new)


if __name__ == "__main__":
    main()
