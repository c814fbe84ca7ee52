"""A tiny SigLIP2-NaFlex with random weights and a trained tokenizer, in the folder layout of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torchvision_operators  # noqa: F401
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

TOKENS = 16
WIDTH = 64
VISION: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_patches": 36,
    "patch_size": 8,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3,
    "max_position_embeddings": TOKENS, "projection_size": WIDTH, "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": 1,
}  # fmt: skip
_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
_CORPUS = ["a photo of a cat", "a photo of a dog", "this is a photo of two birds.", "a drawing of a red car, at night"]


def make_tokenizer() -> tokenizers.Tokenizer:
    """As Gemma's: spaces are "▁", unknown characters become bytes; nothing makes letters lower case."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", 1)]
    )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in _SPECIAL]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def make_folder(folder: Path, *, seed: int = 0, weights: bool = True, **settings: Any) -> nn.Module:
    """Writes the folder, or all of it but the weights; returns the model. settings: further fields of
    tokenizer_config.json; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS, pad_id=0, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False, "add_eos_token": True, "bos_token": "<bos>", "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>", "mask_token": "<mask>", "model_input_names": ["input_ids"], "model_max_length": TOKENS,
        "pad_token": "<pad>", "padding_side": "right", "processor_class": "Siglip2Processor",
        "tokenizer_class": "GemmaTokenizer", "unk_token": "<unk>", **settings,
    }  # fmt: skip
    kept = {name: value for name, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=64)
    processor.save_pretrained(folder)
    text = {**TEXT, "vocab_size": tokenizer.get_vocab_size()}
    model_config = transformers.Siglip2Config(vision_config=VISION, text_config=text)
    model_config.save_pretrained(folder)
    torch.manual_seed(seed)
    model = transformers.Siglip2Model(model_config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "logit_scale":
                parameter.fill_(1.5)
            elif name == "logit_bias":
                parameter.fill_(-1.25)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    if weights:
        model.save_pretrained(folder)
    return model
