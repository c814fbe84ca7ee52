"""The families: which there are, which of them a checkpoint is of, and how one is imported."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import AlphaRule, Filter, Orientation, Processor
from navit_edge_export.families.sources import sources_of, unread_of
from navit_edge_export.families.table import FAMILIES as FAMILIES
from navit_edge_export.families.table import Family as Family

if TYPE_CHECKING:
    from navit_edge_export.families.checkpoint import Checkpoint
    from navit_edge_export.families.state_map import StateMap
    from navit_edge_export.packed_model import ModelConfig, PackedModel
    from navit_edge_export.text.tower import ImportedText


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the family's own processor prepares an image; mean and std lie in the config."""

    sizing: Sizing
    filter: Filter
    alpha: AlphaRule = "drop"  # "composite": over white
    orientation: Orientation = "apply"
    labels: tuple[str, ...] = ()  # names of the classes
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of fields that lie in no file of fields
    processor: Processor = "pillow"  # whose pixels they are; import_family sets it


DEFAULT_PREPROCESSING = Preprocessing(sizing=Sizing(rule="token-cap", max_tokens=1024), filter="bilinear")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A model with a checkpoint's weights.

    sources: Field of the preprocessing, or of ``model.config``'s mean and std -> where it came from.
    notes: Fields of the checkpoint's files that were not asked for.
    doubts: What is wrong with the weights, though the model can be exported.
    """

    family: str
    model: PackedModel
    preprocessing: Preprocessing
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    text: ImportedText | None = None  # if it was asked for
    doubts: tuple[str, ...] = ()
    reason: str = ""  # why the checkpoint was taken for one of this family; empty if the caller named it
    record: Mapping[str, str] = dataclasses.field(default_factory=dict)  # where the weights came from (created_by)


class FamilyModule(Protocol):
    """What a family's module holds: four functions. Each may raise InvalidInputError."""

    def read_config(self, checkpoint: Checkpoint) -> ModelConfig:
        """The family's config, from config.json or the tensors' shapes. What can't be represented is refused."""

    def make_model(self, config: Any) -> PackedModel:
        """The packed model, of shared parts; its weights are of no meaning yet."""

    def state_map(self, config: Any, checkpoint: Checkpoint) -> StateMap:
        """Which tensors each of the model's parameters is made of."""

    def read_preprocessing(self, config: Any, checkpoint: Checkpoint) -> Preprocessing:
        """Sizing rule, filter, alpha, orientation, labels."""


def find(name: str) -> Family:
    """The family of a name. Raises InvalidInputError."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise InvalidInputError(f'family "{name}" is unknown; expected one of {known}')


def candidates(checkpoint: Checkpoint) -> list[Family]:
    """The families that a checkpoint may be of: by its config if that says, else by its keys."""
    if named := [family for family in FAMILIES if family.has_config(checkpoint.config)]:
        return named
    return [family for family in FAMILIES if family.has_keys(checkpoint.tensors)]


def guess(checkpoint: Checkpoint) -> Family:
    """The one family that a checkpoint is of. Raises InvalidInputError if none or several fit."""
    found = candidates(checkpoint)
    if len(found) == 1:
        return found[0]
    names = ", ".join(list(checkpoint.tensors)[:5])
    if not found:
        known = ", ".join(family.name for family in FAMILIES)
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} is of no family that is known by its config or its keys ({names}, ...); "
            f"expected one of {known}; name it with --family"
        )
    several = ", ".join(family.name for family in found)
    raise InvalidInputError(
        f"the checkpoint {checkpoint.path} looks like {several} (keys: {names}, ...); name one with --family"
    )


def import_checkpoint(
    path: Path,
    *,
    family: str | None = None,
    config: Path | None = None,
    processor: dict[str, Any] | None = None,
    text: bool = False,
    frames: int = 1,
) -> Imported:
    """Reads a checkpoint into a packed model.

    path: A safetensors file, a Hugging Face folder, a file of torch.save that holds tensors only, or
        ``hf:ORG/NAME[@REVISION]``, of which the files that are needed are downloaded (hub.py).
    family: One of FAMILIES; guessed if it is not given.
    config: A JSON file in place of the folder's config.json.
    processor: Fields that go before those of the folder's preprocessor_config.json.
    text: Read the text tower as well.
    frames: Of a film that a patch holds: 2 for videos, of the families that have them (Qwen).

    Raises InvalidInputError: the weights do not fit, or the config can't be represented.
    """
    from navit_edge_export.families.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path, config=config, processor=processor, frames=frames)
    row = guess(checkpoint) if family is None else find(family)
    imported = import_family(row, checkpoint, text=text)
    return dataclasses.replace(imported, reason="" if family else row.why(checkpoint))


def import_family(row: Family, checkpoint: Checkpoint, *, text: bool = False) -> Imported:
    """Reads a checkpoint of a given family. Raises InvalidInputError."""
    from navit_edge_export.families.processors import choose_processor

    module = row.load_module()
    config = module.read_config(checkpoint)
    if getattr(config, "frames", 1) != checkpoint.frames:
        raise InvalidInputError(
            f"frames is {checkpoint.frames}, and the family {row.name} takes images; expected 1, or a checkpoint of "
            "Qwen2-VL, Qwen2.5-VL or Qwen3-VL; leave out --frames"
        )
    _check_size(config, checkpoint)
    model = module.make_model(config)
    mapping = module.state_map(config, checkpoint)
    if problems := mapping.misfit(checkpoint.tensors, model):
        _refuse_prefix(row, config, checkpoint, model)
        others = [family.name for family in FAMILIES if family.has_keys(checkpoint.tensors)]
        looks = f"its keys look like {' or '.join(others)}" if others else "its keys look like no family that is known"
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} does not fit the family {row.name}: {problems}; {looks}; export it with "
            "the config it was trained with"
        )
    broken = mapping.load(checkpoint.tensors, model)
    preprocessing = module.read_preprocessing(config, checkpoint)
    processor, source = choose_processor(row.name, checkpoint, preprocessing.filter)
    folder = checkpoint.folder
    return Imported(
        family=row.name,
        model=model.eval(),
        preprocessing=dataclasses.replace(preprocessing, processor=processor),
        sources={**sources_of(checkpoint, row.name), **preprocessing.sources, "processor": source},
        notes=unread_of(checkpoint),
        text=row.read_text(checkpoint) if text else None,
        doubts=(*(folder.doubts if folder else ()), *_doubts(checkpoint, broken)),
        record=folder.record() if folder else {},  # last: it names what was read
    )


def _doubts(checkpoint: Checkpoint, broken: Sequence[str]) -> tuple[str, ...]:
    """Weights that are no numbers: a training that diverged, or a damaged file."""
    if not broken:
        return ()
    more = ", ..." if len(broken) > 3 else ""
    return (
        f"the checkpoint {checkpoint.path} holds NaN or infinity in {len(broken)} of its tensors "
        f"({', '.join(broken[:3])}{more}); outputs that depend on them are NaN, and `navit-edge build-engine` "
        "refuses those; take a checkpoint from before the training diverged",
    )


def _refuse_prefix(row: Family, config: ModelConfig, checkpoint: Checkpoint, model: PackedModel) -> None:
    """Raises InvalidInputError if the checkpoint fits without what a trainer put in front of its names."""
    from navit_edge_export.families.checkpoint import without_prefix

    found = (re.search(rf"(^|\.){row.keys[0]}$", name) for name in checkpoint.tensors)
    prefix = next((match.string[: match.end(1)] for match in found if match), "")
    if not prefix:
        return
    stripped = dataclasses.replace(checkpoint, tensors=without_prefix(checkpoint.tensors, prefix))
    if not row.load_module().state_map(config, stripped).misfit(stripped.tensors, model):
        raise InvalidInputError(
            f"the names in the checkpoint {checkpoint.path} have {prefix!r} in front, which the family {row.name} does "
            f"not have; save {{name.removeprefix({prefix!r}): tensor for name, tensor in state_dict.items()}}"
        )


def _check_size(config: ModelConfig, checkpoint: Checkpoint) -> None:
    """Before a model is made: one that is much larger than the weights would only take memory."""
    if config.width % config.heads:
        raise InvalidInputError(
            f"the config of {checkpoint.path} says a width of {config.width} and {config.heads} heads; expected heads "
            "that divide the width"
        )
    mlp_width, table_side = (getattr(config, name, 0) for name in ("mlp_width", "table_side"))
    block = 2 * (config.width + mlp_width)
    needed = config.width * (config.depth * block + config.patch_px**2 * config.channels + table_side**2)
    if needed > 8 * (there := checkpoint.count_elements()):
        raise InvalidInputError(
            f"the config of {checkpoint.path} says a model of at least {needed:,} weights (width {config.width}, depth "
            f"{config.depth}, MLP {mlp_width}, patches of {config.patch_px} px); the checkpoint holds {there:,}; "
            "export it with the config that it was trained with"
        )
