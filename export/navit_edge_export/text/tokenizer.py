"""tokenizer.json as a family's processor uses it: with its lower-casing, padding and cutting written into the file.

So whoever reads the bundle's file, in any language, gets the ids that the model was trained on and needs no other rule.
Only JSON is edited here: the tokenizers library is not needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navit_edge.errors import InvalidInputError
from navit_edge.files import read_json

_WHOLE = "expected the folder of the whole model, with tokenizer.json and tokenizer_config.json"
#: What transformers' Siglip2Tokenizer makes of spaces, whatever the file says: Gemma's, and lower case.
_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}],
}
_PRE_TOKENIZER = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
#: Of Siglip2Processor, if neither tokenizer.json nor tokenizer_config.json says another length.
_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """content: of tokenizer.json. tokens: of every text. gives_mask: the processor gives an attention mask, too."""

    content: bytes
    tokens: int
    gives_mask: bool


def siglip2_tokenizer(folder: Path) -> TokenizerFile:
    """What ``Siglip2Processor`` of transformers makes of a folder's tokenizer. Raises InvalidInputError.

    It takes vocabulary, merges, added tokens and what stands around a text from tokenizer.json; the rest is its own.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidInputError(f"there is no {path}; {_WHOLE}")
    content = _object(path)
    config = _object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise InvalidInputError(f"{path}: model is no BPE with a vocabulary, as Siglip2Tokenizer needs; {_WHOLE}")
    unknown, pad = (_token(config, path, name) for name in ("unk_token", "pad_token"))
    flags = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": True, "dropout": None}
    content["model"] = {**model, **flags}
    content["normalizer"], content["pre_tokenizer"] = _NORMALIZER, _PRE_TOKENIZER
    ids = _ids(content, path)
    cutting, padding = _settings(content, "truncation"), _settings(content, "padding")
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else None
    tokens = config.get("max_length") or cutting.get("max_length") or fixed or _TOKENS
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise InvalidInputError(f"{path}: texts are cut to {tokens!r} tokens; expected a whole number from 1 up")
    content["truncation"] = {
        "direction": _side(config.get("truncation_side") or cutting.get("direction") or "right", path),
        "max_length": tokens,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": tokens},
        "direction": _side(config.get("padding_side") or padding.get("direction") or "left", path),
        "pad_to_multiple_of": None,
        "pad_id": _id(ids, pad, path),
        "pad_type_id": 0,
        "pad_token": pad,
    }
    inputs = config.get("model_input_names", ["input_ids", "attention_mask"])
    return TokenizerFile(
        content=json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
        tokens=tokens,
        gives_mask=isinstance(inputs, list) and "attention_mask" in inputs,
    )


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} is a JSON {type(value).__name__}; expected an object of fields")
    return value


def _settings(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _token(config: dict[str, Any], path: Path, name: str) -> str:
    """A token as tokenizer_config.json has it: text, or an object with its content. "<pad>" of pad_token by default."""
    value = config.get(name, f"<{name.removesuffix('_token')}>")
    found = value.get("content") if isinstance(value, dict) else value
    if not isinstance(found, str) or not found:
        raise InvalidInputError(f"{path.with_name('tokenizer_config.json')}: {name} is {value!r}; expected a token")
    return found


def _side(value: object, path: Path) -> str:
    word = str(value).lower()
    if word not in ("left", "right"):
        raise InvalidInputError(f"{path}: texts are padded or cut at the side {value!r}; expected left or right")
    return word.capitalize()


def _ids(content: dict[str, Any], path: Path) -> dict[str, int]:
    """Token -> id, added ones among them."""
    ids = dict(content["model"]["vocab"])
    for added in content.get("added_tokens") or []:
        if not isinstance(added, dict) or not isinstance(added.get("content"), str):
            raise InvalidInputError(f"{path}: added_tokens has {added!r}; expected tokens with their content and id")
        ids[added["content"]] = added.get("id")
    return ids


def _id(ids: dict[str, int], token: str, path: Path) -> int:
    found = ids.get(token)
    if not isinstance(found, int):
        raise InvalidInputError(f"{path} has no token {token!r}, which tokenizer_config.json names; {_WHOLE}")
    return found
