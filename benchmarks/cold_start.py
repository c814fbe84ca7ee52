"""Seconds from a fresh process to the first result: import, opening an S/16 bundle (hashes checked), one image.

    python benchmarks/cold_start.py [--runs 7] [--bundle DIR] [--output benchmarks/cold_start.json]

Every run is a process of its own, so nothing is warm but the operating system's file cache. The image is a photograph
of 427 x 640 pixels, which the bundle's cap of 1024 tokens takes to 26 x 39 patches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import images as image_sets
import numpy as np
from end_to_end import hardware
from rich.console import Console
from rich.table import Table

from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.onnx_export import export_bundle

TARGETS = {"import": 0.150, "session and one image": 1.5}

PROBE = """
import json, sys, time
start = time.perf_counter()
import navit_edge
imported = time.perf_counter()
import numpy
image = numpy.load(sys.argv[2])
ready = time.perf_counter()
session = navit_edge.Session(sys.argv[1], device="cpu", precision=sys.argv[3])
opened = time.perf_counter()
session.run([image])
done = time.perf_counter()
print(json.dumps({"import": imported - start, "session": opened - ready, "one image": done - opened,
                  "session and one image": done - ready}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--bundle", type=Path, help="an S/16 bundle with OpenVINO engines; made if not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("cold_start.json"))
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if bundle is None:
            with console.status("exporting S/16 and building its engines"):
                bundle = export_bundle(NaViTConfig(), Path(scratch) / "s16.navit", seed=0)
                build_engines(bundle, BuildRequest(backend="openvino"))
        image = Path(scratch) / "image.npy"
        np.save(image, image_sets.photograph())
        manifest = json.loads((bundle / "manifest.json").read_text())
        precisions = [engine["precision"] for engine in manifest["engines"] if engine["backend"] == "openvino"]
        report = {"hardware": hardware(), "runs": arguments.runs, "seconds": {}}
        for precision in precisions:
            command = [sys.executable, "-c", PROBE, str(bundle), str(image), precision]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(arguments.runs + 1)  # the first warms the file cache
            ]
            report["seconds"][precision] = {name: [run[name] for run in runs[1:]] for name in runs[0]}

    table = Table(title="cold start, S/16, seconds: median (min to max)")
    for column in ("", *precisions, "target"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name in ("import", "session", "one image", "session and one image"):
        cells = []
        for precision in precisions:
            values = report["seconds"][precision][name]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        table.add_row(name, *cells, f"<= {TARGETS[name]}" if name in TARGETS else "")
    console.print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
