"""The families: which there are, which of them a checkpoint is of, and how one is imported."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import AlphaRule, Filter, Orientation, Processor
from navit_edge_export.families.sources import sources_of, unread_of

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


@dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table."""

    name: str
    source: str  # what the checkpoints are of
    keys: tuple[str, ...]  # regular expressions: each is found at the end of some tensor's name
    model_types: tuple[str, ...] = ()  # config.json's model_type
    architectures: tuple[str, ...] = ()  # regular expressions of config.json's architecture(s)
    module: str = ""  # in this package; by default the name, with underscores
    text_module: str = ""  # in this package: its read_text gives the text tower of a checkpoint
    tested: str = "transformers 5.23.0"  # what the tests compare with

    def has_keys(self, names: Iterable[str]) -> bool:
        """Whether tensors of these names look like this family's."""
        known = list(names)
        return all(any(re.search(rf"(^|\.){key}$", name) for name in known) for key in self.keys)

    def has_config(self, config: dict[str, Any]) -> bool:
        """Whether config.json says that it is of this family."""
        several = config.get("architectures")
        found = [config.get("architecture"), *(several if isinstance(several, list) else [])]
        return config.get("model_type") in self.model_types or any(
            isinstance(name, str) and re.fullmatch(pattern, name) for name in found for pattern in self.architectures
        )

    def why(self, checkpoint: Checkpoint) -> str:
        """What in a checkpoint says that it is of this family, in words."""
        config = checkpoint.config
        if config.get("model_type") in self.model_types:
            return f"config.json says model_type {config['model_type']}"
        if self.has_config(config):
            return f"config.json says architecture {config.get('architecture') or config['architectures'][0]}"
        found = (next((n for n in checkpoint.tensors if re.search(rf"(^|\.){key}$", n)), "") for key in self.keys)
        return f"it has the tensors {', '.join(found)}"

    def load_module(self) -> FamilyModule:
        """Imports it."""
        module = self.module or re.sub(r"[-.]", "_", self.name)
        return cast(FamilyModule, importlib.import_module(f"navit_edge_export.families.{module}"))

    def read_text(self, checkpoint: Checkpoint) -> ImportedText:
        """The checkpoint's text tower. Raises InvalidInputError if there is none that can be read."""
        if not self.text_module:
            known = ", ".join(family.name for family in FAMILIES if family.text_module)
            raise InvalidInputError(
                f"the family {self.name} has no text tower; expected one of {known}; leave out what needs texts"
            )
        module = importlib.import_module(f"navit_edge_export.families.{self.text_module}")
        return cast("ImportedText", module.read_text(checkpoint))


FAMILIES = (
    Family(
        name="navit",
        source="this project's reference model",
        keys=(
            r"embed\.weight",
            r"positions\.(row|column)\..+|blocks\.0\.attention\.qkv\.weight",
            r"blocks\.0\.mlp\.up\.weight",
        ),
        tested="navit-edge",
    ),
    Family(
        name="vit-pytorch",
        source="vit-pytorch: na_vit.NaViT, na_vit_nested_tensor.NaViT",
        keys=(r"attn_pool_queries", r"pos_embed_height", r"transformer\.layers\.0\.0\.(to_q|to_queries)\.weight"),
        tested="vit-pytorch 1.26.11",
    ),
    Family(
        name="timm-naflexvit",
        module="timm.naflexvit",
        source="timm: NaFlexVit, every registered variant",
        keys=(r"embeds\.proj\.weight", r"blocks\.0\.attn\.proj\.weight"),
        architectures=(r"naflexvit_\w+",),
        tested="timm 1.0.31",
    ),
    Family(
        name="siglip2",
        source="transformers: Siglip2VisionModel, the vision tower of Siglip2Model, Siglip2ForImageClassification",
        keys=(
            r"embeddings\.patch_embedding\.weight",
            r"embeddings\.position_embedding\.weight",
            r"post_layernorm\.weight",
        ),
        text_module="siglip2_text",
        model_types=("siglip2", "siglip2_vision_model"),
        architectures=(r"Siglip2\w*",),
    ),
    Family(
        name="dinov2",
        source="transformers: Dinov2Model, Dinov2WithRegistersModel, and both ForImageClassification",
        keys=(
            r"embeddings\.cls_token",
            r"embeddings\.patch_embeddings\.projection\.weight",
            r"encoder\.layer\.0\.layer_scale1\.lambda1",
        ),
        model_types=("dinov2", "dinov2_with_registers"),
        architectures=(r"Dinov2\w*",),
    ),
    Family(
        name="dinov3",
        source="transformers: DINOv3ViTModel, DINOv3ViTBackbone",
        keys=(r"embeddings\.patch_embeddings\.weight", r"layer\.0\.layer_scale1\.lambda1"),
        model_types=("dinov3_vit",),
        architectures=(r"DINOv3ViT\w*",),
    ),
    Family(
        name="pixtral",
        source="transformers: PixtralVisionModel, the vision tower of LlavaForConditionalGeneration with it",
        keys=(r"patch_conv\.weight", r"ln_pre\.weight", r"transformer\.layers\.0\.feed_forward\.gate_proj\.weight"),
        model_types=("pixtral",),
        architectures=(r"PixtralVision\w*",),
    ),
    Family(
        name="qwen2-vl",
        source="transformers: the vision tower of Qwen2-VL",
        keys=(r"patch_embed\.proj\.weight", r"merger\.ln_q\.bias", r"blocks\.0\.mlp\.fc1\.weight"),
        model_types=("qwen2_vl", "qwen2_vl_vision"),
        architectures=(r"Qwen2VL\w*", r"Qwen2VisionTransformer\w*"),
    ),
    Family(
        name="qwen2.5-vl",
        source="transformers: the vision tower of Qwen2.5-VL",
        keys=(r"patch_embed\.proj\.weight", r"merger\.ln_q\.weight", r"blocks\.0\.mlp\.gate_proj\.weight"),
        model_types=("qwen2_5_vl", "qwen2_5_vl_vision"),
        architectures=(r"Qwen2_5_VL\w*", r"Qwen2_5_VisionTransformer\w*"),
    ),
    Family(
        name="qwen3-vl",
        source="transformers: the vision tower of Qwen3-VL (dense, MoE and Embedding), and of Qwen3.5 and later, which "
        "is it without deepstack",
        keys=(
            r"patch_embed\.proj\.weight",
            r"pos_embed\.weight",
            r"merger\.norm\.weight",
            r"merger\.linear_fc1\.weight",
        ),
        model_types=("qwen3_vl", "qwen3_vl_vision", "qwen3_vl_moe", "qwen3_vl_moe_vision"),
        architectures=(r"Qwen3VL\w*",),
    ),
    Family(
        name="glm4v",
        source="transformers: the vision towers of GLM-4.1V, 4.5V and 4.6V, and of GLM-OCR",
        keys=(
            r"downsample\.weight",
            r"merger\.post_projection_norm\.weight",
            r"blocks\.0\.mlp\.gate_proj\.weight",
            r"post_layernorm\.weight",
        ),
        model_types=("glm4v", "glm4v_vision", "glm4v_moe", "glm4v_moe_vision", "glm46v", "glm_ocr", "glm_ocr_vision"),
        architectures=(r"Glm4v\w*", r"Glm46V\w*", r"GlmOcr\w*"),
    ),
    Family(
        name="hunyuan-vl",
        source="transformers: HunYuanVLVisionTransformer, the vision tower of HunyuanOCR",
        keys=(
            r"(patch_merger|perceive)\.image_newline",
            r"(patch_merger|perceive)\.before_rms\.weight",
            r"embeddings\.position_embedding\.weight",
        ),
        model_types=("hunyuan_vl", "hunyuan_vl_vision"),
        architectures=(r"HunYuanVL\w*",),
    ),
    Family(
        name="radio",
        source="transformers: RadioModel (C-RADIO), also as the vision tower of Nemotron Omni",
        keys=(
            r"(embeddings\.cls_register_token|patch_generator\.cls_token\.token)",
            r"(embeddings\.patch_projection|patch_generator\.embedder)\.weight",
        ),
        model_types=("radio", "nemotron_h_omni", "NemotronH_Omni_Reasoning_V3"),
        architectures=(r"Radio\w*", r"RADIO\w*", r"NemotronH_Omni\w*"),
    ),
    Family(
        name="moonvit",
        source="transformers: Kimi_K25VisionModel (MoonViT), the vision tower of Kimi K2.5",
        keys=(
            r"patch_embed\.pos_emb\.position_embeddings",
            r"final_layernorm\.weight",
            r"layers\.0\.attn\.q_proj\.weight",
        ),
        model_types=("kimi_k25", "kimi_k25_vision"),
        architectures=(r"Kimi_K25\w*",),
    ),
    Family(
        name="paddleocr-vl",
        source="transformers: PaddleOCRVisionModel, the vision tower of PaddleOCR-VL",
        keys=(
            r"embeddings\.patch_embedding\.weight",
            r"embeddings\.position_embedding\.weight",
            r"(projector|mlp_AR)\.linear_1\.weight",
        ),
        model_types=("paddleocr_vl", "paddleocr_vl_vision"),
        architectures=(r"PaddleOCR\w*",),
    ),
)


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
