"""What the tests of policies share."""

from __future__ import annotations

import json
from pathlib import Path

from navit_edge.bundle.sizing_rule import Sizing, to_json

ENGINE = "openvino-cpu-fp32"


def under_rule(bundle: Path, sizing: Sizing, path: Path) -> Path:
    """The bundle under another sizing rule, for choosing only: its graphs and engines are left out."""
    path.mkdir()
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"]["sizing"] = json.loads(to_json(sizing))
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path
