"""A training as data: one JSON file with the fields of these classes, every one of them checked."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from navit_edge import files
from navit_edge.errors import InvalidInputError
from navit_edge.text import shown
from navit_edge.vocabulary import LOWERINGS
from navit_edge_export.training.augment import Augment
from navit_edge_export.training.mix import Mix
from navit_edge_export.training.monitor import MonitorOptions
from navit_edge_export.training.packing import PackingOptions
from navit_edge_export.training.resolution import ResolutionPools
from navit_edge_export.training.schedules import LearningRate
from navit_edge_export.training.token_drop import TokenDrop


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """AdamW (arXiv:1711.05101). clip: largest norm of the gradients, 0: any. ema: decay of the average of the weights;
    0: none is kept."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float = 1.0
    ema: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """table: a safetensors file with the teacher's embeddings of the dataset (distillation.py); empty: no teacher."""

    kind: str = "softmax"
    smoothing: float = 0.0
    weight: float = 1.0
    table: str = ""
    distillation_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the numbers of a training, and where its data is.

    data: a folder with a folder of images for each class. test: another; empty: none is measured.
    model: fields of NaViTConfig, and "size"; the number of classes is the data's.
    token_budget: most tokens of a pack. least_budget: below this, running out of memory ends the training.
    rate: its ``steps`` are those of the training.
    lowering: of attention: "padded" is the fastest on a CPU.
    threads: of PyTorch; 0: as it chooses. The numbers depend on it, in their last bits.
    deterministic: only operators that give the same bits each time; slower on a GPU, where a run needs it to resume to
        the bit.
    workers: processes that make packs; 0: none.
    """

    data: str
    test: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    token_budget: int = 1024
    least_budget: int = 64
    resolution: ResolutionPools = field(default_factory=ResolutionPools)
    drop: TokenDrop = field(default_factory=TokenDrop)
    packing: PackingOptions = field(default_factory=PackingOptions)
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    rate: LearningRate = field(default_factory=LearningRate)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    drop_path: float = 0.0
    monitor: MonitorOptions = field(default_factory=MonitorOptions)
    precision: str = "fp32"
    lowering: str = "padded"
    device: str = "cpu"
    threads: int = 0
    deterministic: bool = False
    workers: int = 0
    checkpoint_steps: int = 100
    checkpoints_kept: int = 2

    def __post_init__(self) -> None:
        if self.lowering not in LOWERINGS:
            raise InvalidInputError(f'lowering "{self.lowering}" is unknown; expected one of {", ".join(LOWERINGS)}')
        if self.checkpoint_steps < 1 or self.checkpoints_kept < 1:
            raise InvalidInputError("checkpoint_steps and checkpoints_kept: expected 1 or more")
        if self.threads < 0 or self.workers < 0:
            raise InvalidInputError("threads and workers: expected 0 or more")

    @staticmethod
    def from_file(path: Path) -> Recipe:
        """Reads a JSON file; paths in it are relative to its folder. Raises InvalidInputError."""
        values = files.read_json(path)
        try:
            recipe = Recipe.from_dict(values)
        except InvalidInputError as error:
            raise InvalidInputError(f"{shown(path)}: {error}") from error

        def beside(name: str) -> str:
            return str(path.parent / name) if name else ""

        loss = dataclasses.replace(recipe.loss, table=beside(recipe.loss.table))
        return dataclasses.replace(recipe, loss=loss, data=beside(recipe.data), test=beside(recipe.test))

    @staticmethod
    def from_dict(values: object) -> Recipe:
        """From JSON's types; fields left out take their defaults. Raises InvalidInputError with the field's path."""
        _refuse_unknown(values, Recipe, "recipe")
        try:
            return msgspec.convert(values, type=Recipe)
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"recipe: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types."""
        built: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return built


def _refuse_unknown(values: object, kind: Any, where: str) -> None:
    """msgspec passes over fields that a dataclass does not have; a misspelt option must not."""
    if not isinstance(values, dict):
        return
    known = {one.name: one for one in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise InvalidInputError(f"{where} has the unknown field {name!r}; known are {', '.join(known)}")
        one = known[name]
        default: Any = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if isinstance(default, tuple) and default and isinstance(value, list):
            for number, element in enumerate(value):
                if dataclasses.is_dataclass(default[0]):
                    _refuse_unknown(element, type(default[0]), f"{where}.{name}[{number}]")
        elif dataclasses.is_dataclass(default):
            _refuse_unknown(value, type(default), f"{where}.{name}")
