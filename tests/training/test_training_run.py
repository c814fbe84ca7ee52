"""Whole runs: what is killed goes on to the same numbers; bad recipes and folders are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from stripes import stripes

from navit_edge.errors import InvalidInputError
from navit_edge_export.model import load_checkpoint
from navit_edge_export.training import checkpoint
from navit_edge_export.training.__main__ import main
from navit_edge_export.training.curves import Curve, read_curve
from navit_edge_export.training.loop import accuracy, train
from navit_edge_export.training.monitor import Monitor, TrainingStoppedError
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.step import Stepper, StepReport
from navit_edge_export.training.teacher import main as teach

FIELDS = {
    "data": "images",
    "model": {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64, "patch_px": 8},
    "token_budget": 96,
    "resolution": {"pools": [{"min_px": 24, "max_px": 40}]},
    "packing": {"tokens_per_step": 128, "window_images": 24},
    "rate": {"peak": 3e-3, "steps": 14, "warmup_steps": 3},
    "optimizer": {"ema": 0.9},
    "augment": {"flip": 0.5, "crop": 0.7},
    "mix": {"mixup": 0.2, "probability": 0.5},
    "drop": {"kind": "loss", "min_rate": 0.0, "max_rate": 0.3},
    "drop_path": 0.1,
    "checkpoint_steps": 3,
}
#: A run that ends itself, as by a power cut, in the middle of the step whose number it is given.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from navit_edge_export.training import step
from navit_edge_export.training.loop import train
from navit_edge_export.training.monitor import Monitor, TrainingStoppedError
from navit_edge_export.training.recipe import Recipe
torch.set_num_threads(1)
whole = step.Stepper._accumulate
count = 0
def accumulate(self, packs):
    global count
    count += 1
    if count > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, packs)
step.Stepper._accumulate = accumulate
train(Recipe.from_file(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def write_data(folder: Path, images: int = 40) -> Path:
    """Class folders of stripes, and the recipe beside them."""
    data = stripes(images)
    for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        path = folder / "images" / data.class_names[label]
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{number}.png")
    (folder / "recipe.json").write_text(json.dumps(FIELDS))
    return folder / "recipe.json"


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    path = write_data(tmp_path)
    train(Recipe.from_file(path), tmp_path / "whole")
    expected = read_curve(tmp_path / "whole" / "curve.jsonl")
    assert len(expected) == 14
    kill_at = int(np.random.default_rng(os.getpid()).integers(1, 13))  # any step will do
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(tmp_path / "cut"), str(kill_at)], check=False)
    assert killed.returncode == -signal.SIGKILL, f"killed at step {kill_at}"
    assert len(read_curve(tmp_path / "cut" / "curve.jsonl")) == kill_at
    train(Recipe.from_file(path), tmp_path / "cut")
    assert read_curve(tmp_path / "cut" / "curve.jsonl") == expected, f"killed at step {kill_at}"
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert first == second


def test_the_loss_falls_and_the_model_tells_new_images_apart(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**FIELDS, "rate": {"peak": 3e-3, "steps": 40, "warmup_steps": 4}, "drop": {}, "mix": {}})
    run = train(recipe, tmp_path, data=stripes(96))
    curve = read_curve(tmp_path / "curve.jsonl")
    first, last = (np.mean([line["loss"] for line in part]) for part in (curve[:5], curve[-5:]))
    assert last < 0.5 * first
    measured = accuracy(load_checkpoint(tmp_path / "model.safetensors"), stripes(40, seed=5), max_tokens=25)
    assert measured.images == 40
    assert measured.share >= 0.9
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images_seen"] == sum(line["images"] for line in curve)
    assert run.is_done
    assert 0.5 < report["packs"]["filled"] <= 1
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_run_is_not_taken_up_by_another_recipe(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**FIELDS, "rate": {"steps": 2, "warmup_steps": 0}})
    train(recipe, tmp_path, data=stripes(40))
    train(Recipe.from_dict({**recipe.to_dict(), "workers": 1, "data": "elsewhere"}), tmp_path, data=stripes(40))
    with pytest.raises(InvalidInputError, match="holds a run of another recipe: seed was 0, and is 1"):
        train(Recipe.from_dict({**recipe.to_dict(), "seed": 1}), tmp_path, data=stripes(40))


def test_a_checkpoint_holds_tensors_and_json_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**FIELDS, "rate": {"steps": 2, "warmup_steps": 0}})
    run = train(recipe, tmp_path, data=stripes(40))
    path = checkpoint.newest(tmp_path)
    assert path is not None
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        state = json.loads(file.metadata()[checkpoint.STATE_KEY])
    assert state["place"]["step"] == 2
    for name, _ in run.objective.named_parameters():
        assert f"model/{name}" in names
        assert f"optimizer/exp_avg_sq/{name}" in names
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match="is no checkpoint"):
        train(recipe, tmp_path, data=stripes(40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown field 'sed'"),
        ({"augment": {"flop": 1}}, "recipe.augment has the unknown field 'flop'"),
        ({"resolution": {"pools": [{"minpx": 1}]}}, r"recipe.resolution.pools[0] has the unknown field 'minpx'"),
        ({"token_budget": "many"}, "`$.token_budget`"),
        ({"drop": {"kind": "some"}}, "expected one of none, constant"),
        ({"rate": {"steps": 5, "warmup_steps": 6}}, "do not fit into 5 steps"),
        ({"lowering": "fast"}, "expected one of"),
    ],
)
def test_recipes_with_a_wrong_field_name_it(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Recipe.from_dict({**FIELDS, **change})
    assert message in str(caught.value)


def test_a_recipe_is_the_same_after_json() -> None:
    recipe = Recipe.from_dict(FIELDS)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_command_says_what_is_wrong_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_data(tmp_path, 24)
    path.write_text(json.dumps({**FIELDS, "rate": {"steps": 2, "warmup_steps": 0}}))
    assert main([str(path), str(tmp_path / "run"), "--every", "1"]) == 0
    told = capsys.readouterr().out
    assert "step 1: loss" in told
    assert "navit-edge export --checkpoint" in told
    path.write_text("{}")
    assert main([str(path), str(tmp_path / "other")]) == 1
    assert "missing required field `data`" in capsys.readouterr().err


def test_a_curve_drops_what_came_after_the_checkpoint_and_lines_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    report = StepReport(step=0, loss=0.1, accuracy=1.0, gradient_norm=1.0, rate=1e-3, images=1, tokens=2, packs=1)
    curve = Curve(path, steps=0)
    for step in range(4):
        curve.add(StepReport(**{**vars(report), "step": step}))
    curve.close()
    path.write_text(path.read_text() + '{"step": 4, "lo')
    Curve(path, steps=3).close()
    assert [line["step"] for line in read_curve(path)] == [0, 1, 2]
    assert torch.get_num_threads() == 1


def test_a_teachers_table_is_made_by_a_command_and_learned_from(tmp_path: Path) -> None:
    path = write_data(tmp_path, 12)
    run = train(Recipe.from_dict({**FIELDS, "rate": {"steps": 1, "warmup_steps": 0}}), tmp_path / "t", data=stripes(12))
    del run
    table = tmp_path / "teacher.safetensors"
    checkpoint_path = tmp_path / "t" / "model.safetensors"
    assert teach([str(checkpoint_path), str(tmp_path / "images"), str(table), "--max-tokens", "16"]) == 0
    fields = {**FIELDS, "rate": {"steps": 2, "warmup_steps": 0}, "loss": {"table": table.name}}
    path.write_text(json.dumps(fields))
    train(Recipe.from_file(path), tmp_path / "student")
    plain, taught = (read_curve(tmp_path / name / "curve.jsonl")[0]["loss"] for name in ("t", "student"))
    assert taught > plain, "the distance to the teacher is added"
    assert teach([str(tmp_path / "nothing"), str(tmp_path / "images"), str(table)]) == 1


def test_a_training_that_its_monitor_ends_keeps_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.from_dict({**FIELDS, "monitor": {"action": "stop"}, "checkpoint_steps": 100})
    whole = Monitor.judge

    def judge(self: Monitor, loss: float, norm: float, max_logit: float = 0.0) -> str:
        return "loss spike" if len(self.losses) == 2 else whole(self, loss, norm, max_logit)

    monkeypatch.setattr(Monitor, "judge", judge)
    with pytest.raises(TrainingStoppedError, match="lower the learning rate"):
        train(recipe, tmp_path, data=stripes(40))
    assert checkpoint.newest(tmp_path) == checkpoint.path_of(tmp_path, 2)
    assert len(read_curve(tmp_path / "curve.jsonl")) == 2


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_data(tmp_path, 12)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stepper, "step", interrupted)
    assert main([str(path), str(tmp_path / "run")]) == 130
    assert "run the same command again" in capsys.readouterr().err
