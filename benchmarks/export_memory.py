"""Peak memory of an export of a vision tower out of a checkpoint of a whole model, whatever the size of the rest.

    python benchmarks/export_memory.py [--rest-gb 3] [--tower-mb 400] [--output benchmarks/export_memory.json]

The checkpoint is a SigLIP2 with a text model whose tensors are holes of a sparse file: it takes the disk of the tower
alone. Each export is a process of its own. What counts is VmHWM of /proc/self/status, the most memory that the process
ever had resident, pages of mapped files among it, less the same of the export of a tower of half a megabyte: that is
Python with torch, torch's exporter and onnx loaded. Also printed: less Python with torch alone. The tower's weights are
those of the bundle, in float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from end_to_end import hardware

#: What this page promises: the peak, over the bytes of the tower's weights.
MOST = 1.3
WIDTH, PATCH_PX, TABLE_SIDE = 1024, 16, 16

EXPORT = """
import json, sys
from pathlib import Path
def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
import torch
start = peak()
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
imported = import_checkpoint(Path(sys.argv[1]))
read = peak()
export_bundle(imported.model, Path(sys.argv[2]), sizing=imported.preprocessing.sizing)
print(json.dumps({"torch_bytes": start, "read_bytes": read, "exported_bytes": peak()}))
"""


def write_checkpoint(folder: Path, *, depth: int, rest_bytes: int, width: int = WIDTH) -> int:
    """A folder with SigLIP2's config and one safetensors file; returns the bytes of the tower's weights."""
    folder.mkdir()
    mlp = 4 * width
    vision = {
        "model_type": "siglip2_vision_model", "hidden_size": width, "intermediate_size": mlp, "patch_size": PATCH_PX,
        "num_hidden_layers": depth, "num_attention_heads": width // 64, "num_patches": TABLE_SIDE**2,
    }  # fmt: skip
    config = {"model_type": "siglip2", "vision_config": vision, "text_config": {"model_type": "siglip2_text_model"}}
    (folder / "config.json").write_text(json.dumps(config))
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name: str) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    def mlp_of(name: str) -> None:
        linear(f"{name}.fc1", mlp, width)
        linear(f"{name}.fc2", width, mlp)

    linear("embeddings.patch_embedding", width, 3 * PATCH_PX**2)
    shapes["embeddings.position_embedding.weight"] = (TABLE_SIDE**2, width)
    for layer in (f"encoder.layers.{n}" for n in range(depth)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", width, width)
        norm(f"{layer}.layer_norm1")
        norm(f"{layer}.layer_norm2")
        mlp_of(f"{layer}.mlp")
    norm("post_layernorm")
    shapes |= {"head.probe": (1, 1, width), "head.attention.in_proj_weight": (3 * width, width)}
    shapes["head.attention.in_proj_bias"] = (3 * width,)
    linear("head.attention.out_proj", width, width)
    norm("head.layernorm")
    mlp_of("head.mlp")
    return _write(folder / "model.safetensors", {f"vision_model.{n}": s for n, s in shapes.items()}, rest_bytes)


def _write(path: Path, shapes: dict[str, tuple[int, ...]], rest_bytes: int) -> int:
    """The tower's tensors, random, after a hole of ``rest_bytes`` that holds the text model's, in float16."""
    generator = torch.Generator().manual_seed(0)
    rows = rest_bytes // 2 // 4096
    header: dict[str, Any] = {}
    if rows:
        place = {"dtype": "F16", "shape": [rows, 4096], "data_offsets": [0, rows * 8192]}
        header["text_model.token_embedding.weight"] = place
    at = rows * 8192
    for name, shape in shapes.items():
        size = 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(rows * 8192, 1)
        for shape in shapes.values():
            file.write((0.02 * torch.randn(shape, generator=generator)).numpy().tobytes())
    return at - rows * 8192


def measure(folder: Path, out: Path) -> dict[str, int]:
    """Peaks of one export, in a process of its own."""
    command = [sys.executable, "-c", EXPORT, str(folder), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rest-gb", type=float, default=3.0, help="bytes of the model around the tower")
    parser.add_argument("--tower-mb", type=float, default=400.0, help="about the bytes of the tower's weights")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("export_memory.json"))
    arguments = parser.parse_args()
    depth = max(1, round(arguments.tower_mb * 1e6 / (4 * 12 * WIDTH**2)) - 1)  # the head is about a block
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        write_checkpoint(Path(scratch) / "none", depth=1, rest_bytes=0, width=64)
        program = measure(Path(scratch) / "none", Path(scratch) / "none.navit")["exported_bytes"]
        for rest in (0.0, arguments.rest_gb):
            folder = Path(scratch) / f"rest-{rest}"
            tower = write_checkpoint(folder, depth=depth, rest_bytes=int(rest * 1e9))
            found = measure(folder, Path(scratch) / f"rest-{rest}.navit")
            peak = found["exported_bytes"]
            ratio, of_torch = (peak - program) / tower, (peak - found["torch_bytes"]) / tower
            row = {"rest_bytes": int(rest * 1e9), "tower_bytes": tower, "program_bytes": program, **found}
            rows.append({**row, "over_tower": ratio, "over_tower_from_torch_alone": of_torch})
            print(
                f"rest {rest:.1f} GB, tower {tower / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB, of it the program "
                f"{program / 1e6:.0f} MB: {ratio:.2f} x the tower ({of_torch:.2f} x from Python with torch alone)"
            )
    arguments.output.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=2) + "\n")
    if max(row["over_tower"] for row in rows) > MOST:
        raise SystemExit(f"more than {MOST} x the tower")


if __name__ == "__main__":
    main()
