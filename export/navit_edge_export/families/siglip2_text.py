"""The text tower of SigLIP2: ``Siglip2TextModel`` of transformers, with its tokenizer and the scale of its scores."""

from __future__ import annotations

import torch

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import map_siglip_block
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields, vision_values
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.text.tokenizer import siglip2_tokenizer
from navit_edge_export.text.tower import ImportedText, TextConfig, TextTower

NAME = "siglip2"
_PREFIX = "text_model."
_SCALE, _BIAS = "logit_scale", "logit_bias"


def read_text(checkpoint: Checkpoint) -> ImportedText:
    """The text tower of a folder of ``Siglip2Model``. Raises InvalidInputError."""
    if not any(name.startswith(_PREFIX) for name in checkpoint.tensors):
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} has no text tower: no tensor's name begins with {_PREFIX}; expected a "
            "Siglip2Model, not its vision tower alone; leave out what needs texts"
        )
    if checkpoint.folder is None:
        raise InvalidInputError(
            f"{checkpoint.path} is a file, and a text tower needs the tokenizer beside it; expected the checkpoint's "
            "folder, with config.json, the weights, tokenizer.json and tokenizer_config.json"
        )
    tokenizer = siglip2_tokenizer(checkpoint.folder.gather("tokenizer.json", "tokenizer_config.json"))
    config = read_config(checkpoint, tokens=tokenizer.tokens)
    if config.parameters() > 8 * (there := checkpoint.count_elements()):
        raise InvalidInputError(
            f"the text_config of {checkpoint.path} says a model of about {config.parameters():,} weights; the "
            f"checkpoint holds {there:,}; export it with the config that it was trained with"
        )
    with torch.device("meta"):  # its weights are read next
        tower = TextTower(config)
    tower = tower.to_empty(device="cpu")
    mapping = state_map(config)
    if problems := mapping.misfit(checkpoint.tensors, tower):
        raise InvalidInputError(
            f"the text tower of {checkpoint.path} does not fit its text_config: {problems}; export it with the config "
            "that it was trained with"
        )
    mapping.load(checkpoint.tensors, tower)
    return ImportedText(
        tower=tower.eval(),
        tokenizer=tokenizer.content,
        masks_padding=tokenizer.gives_mask,
        logit_scale=float(_number(checkpoint, _SCALE).exp()),
        logit_bias=float(_number(checkpoint, _BIAS)),
    )


def read_config(checkpoint: Checkpoint, *, tokens: int) -> TextConfig:
    """From text_config of config.json; the tokenizer gives ``tokens`` a text."""
    values = Fields(NAME, checkpoint.config).section("text_config")
    fields = Fields(NAME, values, where="config.json, text_config")
    positions = fields.integer("max_position_embeddings", 64)
    if tokens > positions:
        raise InvalidInputError(
            f"the tokenizer of {checkpoint.path} gives {tokens} tokens a text, and the text tower takes "
            f"{positions} (max_position_embeddings); set max_length in tokenizer_config.json to {positions}"
        )
    width = fields.integer("hidden_size", 768)
    vision = Fields(NAME, vision_values(NAME, checkpoint), where="config.json, vision_config")
    embedding_width = width if values.get("projection_size") is None else fields.integer("projection_size")
    if embedding_width != (images := vision.integer("hidden_size", 768)):
        fields.refuse("projection_size", f"the width of the images' embeddings, {images}")
    heads = fields.integer("num_attention_heads", 12)
    if width % heads:
        fields.refuse("num_attention_heads", f"numbers that divide hidden_size, {width}")
    return TextConfig(
        vocabulary=fields.integer("vocab_size", 32000),
        tokens=tokens,
        width=width,
        depth=fields.integer("num_hidden_layers", 12),
        heads=heads,
        mlp_width=fields.integer("intermediate_size", 3072),
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        norm_eps=fields.number("layer_norm_eps", 1e-6, above=0),
        embedding_width=embedding_width,
    )


def state_map(config: TextConfig) -> StateMap:
    """Names of transformers."""
    found = StateMap(_PREFIX)
    found.ignore("vision_model.*", _SCALE, _BIAS)
    found.copy("token.weight", "embeddings.token_embedding.weight")
    found.make("positions", "embeddings.position_embedding.weight", by=lambda table: table[: config.tokens])
    for n in range(config.depth):
        map_siglip_block(found, n)
    found.layer("norm", "final_layer_norm")
    found.layer("head", "head")
    return found


def _number(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    tensor = checkpoint.tensors[name].float() if name in checkpoint.tensors else None
    if tensor is None or tensor.numel() != 1 or not bool(tensor.isfinite().all()):
        found = "missing" if tensor is None else f"{tensor.tolist()}"
        raise InvalidInputError(f"{name} of {checkpoint.path} is {found}; expected one finite number of Siglip2Model")
    return tensor
