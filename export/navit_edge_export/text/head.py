"""A classifier from names: the text tower's embeddings of them, folded into the graph as its head.

So a bundle has logits and labels like any other, and no runtime needs the texts.
Letters: N images, K classes, D width of an embedding.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.text import shown
from navit_edge.text_encoder import Array, unit
from navit_edge.zero_shot import TEMPLATES, checked_classes, class_embeddings, sentences_of
from navit_edge_export.packed_model import PackedModel

if TYPE_CHECKING:
    from navit_edge_export.text.tower import ImportedText

_BATCH = 32
#: Below the square of any embedding's length: what has none, as padding may, is divided by this and not by 0.
_LEAST = 1e-24


class CosineHead(nn.Module):
    """logits = scale * cosine + bias. weight [K, D]: scale * embeddings of length 1; bias [K]."""

    def __init__(self, embeddings: Tensor, *, scale: float, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(embeddings * scale)
        self.bias = nn.Parameter(torch.full((len(embeddings),), bias))

    def forward(self, embedding: Tensor) -> Tensor:
        """[N, D] -> [N, K]"""
        length = embedding.square().sum(dim=-1, keepdim=True).clamp_min(_LEAST).sqrt()
        return functional.linear(embedding / length, self.weight, self.bias)


def fold_classes(
    model: PackedModel, text: ImportedText, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES
) -> PackedModel:
    """Gives ``model`` a head of these classes, in place; returns it. The score of a class is the sigmoid of its logit.

    classes, templates: as of ``navit_edge.ZeroShotClassifier``.

    Raises InvalidInputError: the model has no embedding, or a classifier of its own; no names. MissingPackageError
    without the package tokenizers.
    """
    if model.pooling is None or model.head is not None:
        found = "has a classifier of its own" if model.head is not None else "gives no embedding of an image"
        raise InvalidInputError(f"the model {found}; classes of texts need an image's embedding and no classifier")
    names = checked_classes(classes)
    embeddings = class_embeddings(embed_texts(text, sentences_of(names, templates)), len(names))
    model.head = CosineHead(torch.from_numpy(embeddings), scale=text.logit_scale, bias=text.logit_bias)
    config: Any = model.config
    model.config = dataclasses.replace(config, num_classes=len(names))
    model.scores = "sigmoid"
    return model


def embed_texts(text: ImportedText, texts: Sequence[str]) -> Array:
    """[texts, D], of length 1. Warns (RuntimeWarning) of a text that is cut."""
    tokenizers: Any = import_or_explain(
        "tokenizers", purpose="export --classes", remedy='pip install "navit-edge[export,text]"'
    )
    encodings = tokenizers.Tokenizer.from_str(text.tokenizer.decode()).encode_batch(list(texts))
    for given, one in zip(texts, encodings, strict=True):
        if one.overflowing:
            warnings.warn(
                f"the text {shown(given)} has more than {len(one.ids)} tokens; the rest of it is left out",
                RuntimeWarning,
                stacklevel=2,
            )
    parts: list[Array] = []
    with torch.inference_mode():
        for start in range(0, len(encodings), _BATCH):
            some = encodings[start : start + _BATCH]
            ids = torch.tensor([one.ids for one in some], dtype=torch.int32)
            mask = torch.tensor([one.attention_mask for one in some], dtype=torch.int32)
            parts.append(text.tower(ids, mask if text.masks_padding else None).numpy())
    return unit(np.concatenate(parts), "text embeddings")
