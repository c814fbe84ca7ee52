"""Checkpoints of a training: everything that the next step depends on, in one safetensors file. Never pickle.

Tensors: model/…, average/… (EMA), optimizer/NAME/PARAMETER, table/… . Metadata: the rest as JSON, floats in full.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge import files
from navit_edge.errors import InvalidInputError
from navit_edge.text import shown

STATE_KEY = "navit_edge.training"
SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """values: JSON's types: where the training stands, and what the monitor, the scaler and the budget remember.
    tensors: tables, such as the losses of all images."""

    values: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None, state: TrainingState
) -> None:
    """Writes the file whole or not at all, and on the disk when it returns."""
    from safetensors.torch import save as to_bytes

    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
    for name, parameter in _named(optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
    tensors |= {f"table/{name}": value for name, value in state.tensors.items()}
    raw = to_bytes(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
        metadata={STATE_KEY: json.dumps(state.values)},
    )
    files.write_whole(path, raw, beside=f".{path.name}.partial")


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None) -> TrainingState:
    """The inverse of ``save``, into a module and an optimizer made as they were then.

    Raises InvalidInputError: no such checkpoint, or one of another model or recipe.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(f"{shown(path)} is no checkpoint: {error}; remove it to begin anew") from error
    if STATE_KEY not in metadata:
        raise InvalidInputError(f"{shown(path)} has weights and no training state; expected a checkpoint of a training")
    parts = {kind: _below(tensors, kind) for kind in ("model/", "average/", "optimizer/", "table/")}
    try:
        module.load_state_dict(parts["model/"])
        if average is not None:
            average.load_state_dict(parts["average/"])
    except (RuntimeError, KeyError) as error:
        raise InvalidInputError(
            f"{shown(path)} is of another model: {str(error)[:500]}; train in another folder, or with the same recipe"
        ) from error
    for name, parameter in _named(optimizer):
        found = _states_of(parts["optimizer/"], name)
        if found:
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in found.items()
            }
    return TrainingState(values=json.loads(metadata[STATE_KEY]), tensors=parts["table/"])


def newest(folder: Path) -> Path | None:
    """The checkpoint of the most steps in a folder."""
    found = sorted(folder.glob(f"step-*{SUFFIX}"))
    return found[-1] if found else None


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return folder / f"step-{step:09d}{SUFFIX}"


def keep_newest(folder: Path, count: int) -> None:
    """Removes all but the newest ``count`` checkpoints."""
    for old in sorted(folder.glob(f"step-*{SUFFIX}"))[:-count]:
        old.unlink(missing_ok=True)


def _named(optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    return [pair for group in optimizer.param_groups for pair in zip(group["names"], group["params"], strict=True)]


def _below(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _states_of(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.partition("/")[0]: value for key, value in tensors.items() if key.partition("/")[2] == name}
