"""Which parameters decay, and how fast each layer learns: groups for an optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn

#: Last parts of the names of parameters that are added to tokens and do not decay, as biases and norms do not.
ADDED = ("table", "probe", "residual")


def layer_of(name: str, depth: int) -> int:
    """0 for what comes before the first block, k + 1 for block k, depth + 1 for what comes after the last."""
    parts = name.split(".")
    if parts[0] == "blocks":
        return int(parts[1]) + 1
    return 0 if parts[0] in ("embed", "embed_norm", "positions", "rotary", "prefix", "pre_norm") else depth + 1


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: matrices, but for tables and probes."""
    return parameter.ndim > 1 and name.rpartition(".")[2] not in ADDED


def param_groups(
    model: nn.Module, *, depth: int, weight_decay: float, layer_decay: float = 1.0, prefix: str = ""
) -> list[dict[str, Any]]:
    """Groups of the trainable parameters, for torch's optimizers.

    layer_decay: the rate of layer k is multiplied with layer_decay^(depth + 1 - k) (arXiv:2106.08254, BEiT).
    prefix: of the model's own names in ``model``, such as "model."; parameters beside it are behind the last block.

    Each group has "lr_scale", "weight_decay", "params" and "names"; the loop sets "lr" to the schedule's rate times
    "lr_scale".
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = name.startswith(prefix)
        layer = layer_of(name.removeprefix(prefix), depth) if own else depth + 1
        key = (layer, decays(name, parameter))
        group = groups.setdefault(
            key,
            {
                "lr_scale": layer_decay ** (depth + 1 - layer),
                "weight_decay": weight_decay if key[1] else 0.0,
                "params": [],
                "names": [],
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups)]
