"""An import takes the memory of the tower, whatever lies around it in the checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import Siglip2VisionConfig, Siglip2VisionModel

MIB = 1 << 20
#: Of the rest of the checkpoint. What an import may take beside the tower is far less, and far more than noise.
REST_BYTES, MOST_NOISE_BYTES = 400 * MIB, 130 * MIB

IMPORT = """
import sys
from pathlib import Path
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
from navit_edge_export.families.registry import import_checkpoint
import_checkpoint(Path(sys.argv[1]))  # loads what an import needs
before = peak()
model = import_checkpoint(Path(sys.argv[2])).model
print(peak() - before, sum(p.nbytes for p in model.parameters()))
"""


def save_tower(folder: Path, width: int, depth: int) -> dict[str, torch.Tensor]:
    """config.json, and the tower's tensors by their names in a whole SigLIP2."""
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth, "patch_size": 8}
    config = Siglip2VisionConfig(**sizes, num_attention_heads=2, num_patches=16)
    folder.mkdir()
    config.save_pretrained(folder)
    return {f"vision_model.{name}": value for name, value in Siglip2VisionModel(config).state_dict().items()}


def write_hole(path: Path, tower: dict[str, torch.Tensor]) -> None:
    """A safetensors file with a text model that is a hole of REST_BYTES, and the tower behind it."""
    header: dict[str, Any] = {
        "text_model.weight": {"dtype": "F16", "shape": [REST_BYTES // 2], "data_offsets": [0, REST_BYTES]}
    }
    end = REST_BYTES
    for name, value in tower.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(REST_BYTES, 1)
        for value in tower.values():
            file.write(value.numpy().tobytes())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of /proc")
@pytest.mark.parametrize("form", ["one file", "shards"])
def test_an_import_takes_the_memory_of_the_tower_and_not_of_the_model_around_it(form: str, tmp_path: Path) -> None:
    tiny = save_tower(tmp_path / "tiny", 32, 1)
    save_file(tiny, tmp_path / "tiny" / "model.safetensors")
    folder = tmp_path / "whole"
    tower = save_tower(folder, 512, 6)
    if form == "one file":
        write_hole(folder / "model.safetensors", tower)
    else:
        save_file(tower, folder / "1.safetensors")
        write_hole(folder / "2.safetensors", {"text_model.more": torch.zeros(8)})
        places = {**dict.fromkeys(tower, "1.safetensors"), "text_model.weight": "2.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "tiny"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, weights = map(int, done.stdout.split())
    assert weights > 70 * MIB
    assert grown < weights + MOST_NOISE_BYTES < 2 * REST_BYTES // 3, f"{grown} bytes for {weights} of weights"
