"""From uint8 patches to tokens, with the normalization of pixels folded into the linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Taken off every pixel before the linear layer: -128..127 is exact in 8 bits of mantissa, and products of centred
#: pixels lose a quarter as much to 16-bit weights as products of 0..255.
CENTRE = 128.0


class PatchLayer(nn.Module):
    """From patches [T, F] uint8 to [T, D]."""

    def for_graph(self) -> PatchLayer:
        """What an exported graph holds in this one's place: itself, if there is nothing to fold."""
        return self


class PatchEmbed(PatchLayer):
    """A linear layer on normalized pixels, (x / 255 - mean) / std, computed on u = x - 128.

    With the layer W, b: W' = W / (255 std), b' = b + sum over F of W (128 / 255 - mean) / std; the folding is done in
    float64.
    """

    inverse_std: Tensor
    shift: Tensor

    def __init__(self, features: int, width: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, features))
        self.bias = nn.Parameter(torch.zeros(width))
        pixels = features // len(mean)
        mean_f = torch.tensor(mean, dtype=torch.float64).repeat(pixels)  # [F], the channel runs fastest
        std_f = torch.tensor(std, dtype=torch.float64).repeat(pixels)
        self.register_buffer("inverse_std", 1 / (255 * std_f), persistent=False)
        self.register_buffer("shift", (CENTRE / 255 - mean_f) / std_f, persistent=False)

    def folded(self) -> tuple[Tensor, Tensor]:
        """(weight [D, F], bias [D]) for patches of centred pixel values, float32."""
        weight = self.weight.double()
        bias = self.bias.double() + weight @ self.shift
        return (weight * self.inverse_std).float(), bias.float()

    def for_graph(self) -> PatchLayer:
        """The folded layer."""
        return FoldedPatchEmbed(self)

    def forward(self, patches: Tensor) -> Tensor:
        """patches [T, F] uint8 -> [T, D]"""
        weight, bias = self.folded()
        return functional.linear(patches.float() - CENTRE, weight, bias)


class FoldedPatchEmbed(PatchLayer):
    """A PatchEmbed whose folding is done: what the graph holds."""

    def __init__(self, embed: PatchEmbed | FoldedPatchEmbed) -> None:
        super().__init__()
        weight, bias = embed.folded()
        self.weight = nn.Parameter(weight.detach())
        self.bias = nn.Parameter(bias.detach())

    def folded(self) -> tuple[Tensor, Tensor]:
        """(weight [D, F], bias [D]), as they are."""
        return self.weight, self.bias

    def forward(self, patches: Tensor) -> Tensor:
        """patches [T, F] uint8 -> [T, D]"""
        return functional.linear(patches.float() - CENTRE, self.weight, self.bias)


class NormedPatchEmbed(PatchLayer):
    """A norm over each patch's normalized pixels, then a linear layer: nothing to fold.

    A norm does not see a factor and an offset that are the same for all its values, so if all channels have one mean
    and one std it is computed on u = x - 128, with an eps in those units.
    """

    factor: Tensor
    offset: Tensor

    def __init__(
        self, features: int, width: int, *, mean: Sequence[float], std: Sequence[float], eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.uniform = len(set(mean)) == len(set(std)) == 1
        self.norm = nn.LayerNorm(features, eps=eps * (255 * std[0]) ** 2 if self.uniform else eps)
        self.proj = nn.Linear(features, width)
        pixels = features // len(mean)
        mean_f = torch.tensor(mean, dtype=torch.float64).repeat(pixels)
        std_f = torch.tensor(std, dtype=torch.float64).repeat(pixels)
        self.register_buffer("factor", (1 / (255 * std_f)).float(), persistent=False)
        self.register_buffer("offset", ((CENTRE / 255 - mean_f) / std_f).float(), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """patches [T, F] uint8 -> [T, D]"""
        x = patches.float() - CENTRE
        if not self.uniform:
            x = x * self.factor + self.offset
        projected: Tensor = self.proj(self.norm(x))
        return projected


class PrefixTokens(nn.Module):
    """Puts the learned prefix tokens into the rows that are no patches (row = -1-k)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count, width))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """tokens [T, D], positions [T, 2] int32 -> [T, D]"""
        row = positions[:, 0]
        prefix = self.table.index_select(0, (-1 - row).clamp(0, self.table.shape[0] - 1))
        return torch.where((row < 0).unsqueeze(1), prefix, tokens)
