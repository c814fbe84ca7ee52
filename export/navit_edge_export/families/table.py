"""The table of families: a row each, which says how a checkpoint of the family is recognized."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge_export.families.checkpoint import Checkpoint
    from navit_edge_export.families.registry import FamilyModule
    from navit_edge_export.text.tower import ImportedText


@dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table."""

    name: str
    source: str  # what the checkpoints are of
    keys: tuple[str, ...]  # regular expressions: each is found at the end of some tensor's name
    without: tuple[str, ...] = ()  # the same: found at the end of no tensor's name
    model_types: tuple[str, ...] = ()  # config.json's model_type
    architectures: tuple[str, ...] = ()  # regular expressions of config.json's architecture(s)
    module: str = ""  # in this package; by default the name, with underscores
    text_module: str = ""  # in this package: its read_text gives the text tower of a checkpoint
    tested: str = "transformers 5.23.0"  # what the tests compare with

    def has_keys(self, names: Iterable[str]) -> bool:
        """Whether tensors of these names look like this family's."""
        known = list(names)

        def there(key: str) -> bool:
            return any(re.search(rf"(^|\.){key}$", name) for name in known)

        return all(map(there, self.keys)) and not any(map(there, self.without))

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
        return cast("FamilyModule", importlib.import_module(f"navit_edge_export.families.{module}"))

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
        without=(r"multi_modal_projector\.linear_1\.weight", r"(projector|mlp_AR)\.linear_1\.weight"),
        text_module="siglip2_text",
        model_types=("siglip2", "siglip2_vision_model"),
        architectures=(r"Siglip2\w*",),
    ),
    Family(
        name="lfm2-vl",
        source="transformers: vision tower and projector of LFM2-VL",
        keys=(
            r"vision_tower\.(vision_model\.)?embeddings\.patch_embedding\.weight",
            r"post_layernorm\.weight",
            r"multi_modal_projector\.linear_1\.weight",
        ),
        model_types=("lfm2_vl", "lfm2-vl"),
        architectures=(r"Lfm2Vl\w*",),
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
        without=(r"patch_merger\.merging_layer\.weight",),
        model_types=("pixtral",),
        architectures=(r"PixtralVision\w*",),
    ),
    Family(
        name="mistral3",
        source="transformers: vision tower and projector of Mistral3, Ministral-3, LightOnOCR",
        keys=(r"patch_conv\.weight", r"ln_pre\.weight", r"patch_merger\.merging_layer\.weight"),
        model_types=("mistral3", "lighton_ocr", "lightonocr"),
        architectures=(r"Mistral3\w*", r"LightOnO(cr|CR)\w*"),
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
        name="gemma4",
        source="transformers: Gemma4VisionModel, the vision tower of Gemma 4 and of EmbeddingGemma 2",
        keys=(
            r"patch_embedder\.input_proj\.weight",
            r"patch_embedder\.position_embedding_table",
            r"encoder\.layers\.0\.pre_feedforward_layernorm\.weight",
        ),
        model_types=("gemma4", "gemma4_vision", "embedding_gemma2"),
        architectures=(r"Gemma4(?!Unified)\w*", r"EmbeddingGemma2\w*"),
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
        source="transformers: Kimi_K25VisionModel (MoonViT), vision tower and projector of Kimi K2.5; Kimi-VL's",
        keys=(
            r"patch_embed\.pos_emb\.(position_embeddings|weight)",
            r"final_layernorm\.weight",
            r"(layers\.0\.attn\.q_proj|blocks\.0\.wqkv)\.weight",
        ),
        model_types=("kimi_k25", "kimi_k25_vision", "kimi_vl", "moonvit"),
        architectures=(r"Kimi_?K25\w*", r"KimiVL\w*", r"MoonVit\w*"),
    ),
    Family(
        name="paddleocr-vl",
        source="transformers: PaddleOCRVisionModel, vision tower and projector of PaddleOCR-VL",
        keys=(
            r"embeddings\.patch_embedding\.weight",
            r"embeddings\.position_embedding\.weight",
            r"(projector|mlp_AR)\.linear_1\.weight",
        ),
        model_types=("paddleocr_vl", "paddleocr_vl_vision"),
        architectures=(r"PaddleOCR\w*",),
    ),
)
