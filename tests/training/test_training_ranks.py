"""Two processes over gloo against one: the same weights, the same curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from test_training_run import FIELDS, write_data

from navit_edge_export.training.curves import read_curve
from navit_edge_export.training.distributed import Rank, device_of
from navit_edge_export.training.loop import train
from navit_edge_export.training.recipe import Recipe

#: One process that becomes two before PyTorch has done anything, so that it is imported once. They meet in a file.
PAIR = """
import os, sys
from pathlib import Path
import torch
from navit_edge_export.training.loop import train
from navit_edge_export.training.recipe import Recipe
recipe, folder = map(Path, sys.argv[1:])
child = os.fork()
os.environ.update(WORLD_SIZE="2", GLOO_SOCKET_IFNAME="lo")
torch.distributed.init_process_group("gloo", f"file://{folder}.meet", rank=0 if child else 1, world_size=2)
train(Recipe.from_file(recipe), folder)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)
"""


def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    fields = {**FIELDS, "threads": 1, "rate": {"peak": 1e-3, "steps": 4, "warmup_steps": 0}, "drop": {"kind": "loss"}}
    path.write_text(json.dumps(fields))
    train(Recipe.from_file(path), tmp_path / "alone")
    command = [sys.executable, "-c", PAIR, str(path), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, two = (read_curve(tmp_path / name / "curve.jsonl") for name in ("alone", "two"))
    for one, other in zip(alone, two, strict=True):
        for name in ("step", "images", "tokens", "packs", "rate"):
            assert one[name] == other[name], name
        assert abs(one["loss"] - other["loss"]) < 1e-3
        assert abs(one["gradient_norm"] - other["gradient_norm"]) < 1e-2 * one["gradient_norm"]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("alone", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-3, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_a_rank_on_the_cpu_and_a_process_alone_have_the_device_that_is_named() -> None:
    assert device_of("cpu", Rank(1, 2, 1)) == torch.device("cpu")
    assert device_of("cuda", Rank()) == torch.device("cuda")
