"""A text tower: a transformer over texts of one length, whose last token is the embedding.

Letters: N texts, S tokens of each (padding included), D width, E width of the embedding, H heads, dh = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from navit_edge_export.layers.attention import ABSENT, Lowering, SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.mlps import Mlp


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """What a family's config says of its text tower."""

    vocabulary: int
    tokens: int  # S
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: str  # one of mlps.ACTIVATIONS
    norm_eps: float
    embedding_width: int

    def parameters(self) -> int:
        """Weights, about."""
        block = self.width * (4 * self.width + 2 * self.mlp_width)
        return self.width * (self.vocabulary + self.tokens + self.embedding_width) + self.depth * block


class TextTower(nn.Module):
    """Token and position tables, pre-norm blocks without a causal mask, a norm, a linear layer on the last token."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(width, eps=config.norm_eps)

        def block() -> Block:
            attention = SelfAttention(width, config.heads, qkv_bias=True, proj_bias=True)
            return Block(norm(), attention, norm(), Mlp(width, config.mlp_width, gelu=config.activation))

        self.token = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(config.tokens, width))
        self.blocks = nn.ModuleList(block() for _ in range(config.depth))
        self.norm = norm()
        self.head = nn.Linear(width, config.embedding_width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids [N, S] int32, attention_mask [N, S] int32 (0: a key that is not there) -> [N, E]"""
        lowering = TextLowering(self.config.tokens, attention_mask)
        words = self.token.weight.index_select(0, input_ids.flatten())  # [N*S, D]
        texts = words.view(-1, self.config.tokens, self.config.width) + self.positions  # [N, S, D]
        tokens = texts.flatten(0, 1)
        for block in self.blocks:
            tokens = block(tokens, lowering)
        last = tokens.view(-1, self.config.tokens, self.config.width)[:, -1]
        embedding: Tensor = self.head(self.norm(last))
        return embedding


class TextLowering:
    """Attention inside each of N texts of S tokens, which lie one after another."""

    def __init__(self, tokens: int, attention_mask: Tensor | None) -> None:
        self._tokens = tokens
        self._mask = None  # [N, 1, 1, S]
        if attention_mask is not None:
            self._mask = torch.where(attention_mask > 0, 0.0, ABSENT)[:, None, None, :]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query, key, value [N*S, H, dh] -> [N*S, H*dh]"""
        q, k, v = (x.view(-1, self._tokens, *x.shape[1:]).transpose(1, 2) for x in (query, key, value))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._mask, scale=scale)  # [N, H, S, dh]
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1)

    def within(self, ids: Tensor) -> Lowering:
        """Texts have no windows."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ImportedText:
    """A text tower with a checkpoint's weights. tokenizer: the content of tokenizer.json, which pads and cuts texts to
    the tower's tokens. masks_padding: the tower gets the tokenizer's attention mask."""

    tower: TextTower
    tokenizer: bytes
    masks_padding: bool
    logit_scale: float  # logit of an image and a text: logit_scale * cosine + logit_bias
    logit_bias: float
