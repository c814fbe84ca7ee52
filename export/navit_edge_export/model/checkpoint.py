"""Checkpoints: safetensors with the config as JSON in the metadata. Never pickle."""

from __future__ import annotations

from pathlib import Path

from navit_edge.errors import InvalidInputError
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT

CONFIG_KEY = "navit_edge.config"
NAMES_SHOWN = 5


def save_checkpoint(model: NaViT, path: Path) -> None:
    """Writes the model's parameters and config to one ``.safetensors`` file."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={CONFIG_KEY: model.config.to_json()})


def load_checkpoint(path: Path, config: NaViTConfig | None = None) -> NaViT:
    """Reads a checkpoint. ``config`` is for files without one; where both are there, they must agree.

    Raises InvalidInputError: not a safetensors file, no config, or keys or shapes that do not fit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(
            f"cannot read the checkpoint {path}: {error}; expected a .safetensors file (pickle is never read)"
        ) from error
    if CONFIG_KEY in metadata:
        stored = NaViTConfig.from_json(metadata[CONFIG_KEY])
        if config is not None and config != stored:
            raise InvalidInputError(
                f"the checkpoint {path} holds another config than the one given; leave the config out to use the "
                f"stored one: {stored.to_json()}"
            )
        config = stored
    elif config is None:
        raise InvalidInputError(
            f'the checkpoint {path} has no "{CONFIG_KEY}" in its metadata; pass the config with --model or --config'
        )
    model = NaViT(config)
    expected = model.state_dict()
    problems = [
        _listed("missing {}", sorted(set(expected) - set(tensors))),
        _listed("unexpected {}", sorted(set(tensors) - set(expected))),
        _listed(
            "{} of another shape",
            [
                f"{name} {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
                for name in sorted(set(tensors) & set(expected))
                if tensors[name].shape != expected[name].shape
            ],
        ),
    ]
    if any(problems):
        raise InvalidInputError(
            f"the checkpoint {path} does not fit its config: {'; '.join(filter(None, problems))}; "
            "export it with the config it was trained with"
        )
    model.load_state_dict(tensors)
    return model.eval()


def _listed(what: str, names: list[str]) -> str:
    """'3 missing keys (a, b, c)', or nothing."""
    if not names:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return f"{len(names)} {what.format('keys' if len(names) > 1 else 'key')} ({shown})"
