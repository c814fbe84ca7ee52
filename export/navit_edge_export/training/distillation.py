"""Learning from a frozen teacher's embeddings, which are computed once.

An image's teacher embedding is that of the whole image at one resolution, whatever the student sees of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge.text import shown
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.preprocess import prepare
from navit_edge_export.training.augment import over
from navit_edge_export.training.dataset import Dataset
from navit_edge_export.training.losses import cosine_distance

WHITE = np.full(3, 255)


@torch.no_grad()
def teacher_embeddings(
    teacher: PackedModel, dataset: Dataset, *, max_tokens: int, images_per_pack: int = 8
) -> npt.NDArray[np.float32]:
    """[images, D] of a whole dataset; NaN where an image cannot be decoded. ``max_tokens``: of the rule token-cap."""
    patch_px = teacher.config.patch_px
    table = np.full((len(dataset.labels), teacher.config.width), np.nan, np.float32)
    teacher.eval()
    for start in range(0, len(table), images_per_pack):
        numbers, images = [], []
        for index in range(start, min(start + images_per_pack, len(table))):
            try:
                image = dataset.read(index)
            except InvalidInputError:
                continue
            opaque = over(image, WHITE) if image.shape[2] == 4 else image
            images.append(prepare(opaque, patch_px=patch_px, max_tokens=max_tokens))
            numbers.append(index)
        if images:
            found = teacher.forward_images(images, lowering="padded")["embedding"]
            if found.shape[1] != table.shape[1]:
                table = np.full((len(table), found.shape[1]), np.nan, np.float32)
            table[numbers] = found.float().cpu().numpy()
    return table


def save_embeddings(table: npt.NDArray[np.float32], path: Path) -> None:
    """One safetensors file."""
    from safetensors.numpy import save_file

    save_file({"embedding": np.ascontiguousarray(table)}, path)


def load_embeddings(path: Path, images: int) -> npt.NDArray[np.float32]:
    """The inverse. Raises InvalidInputError if the file is no such table, or one of another number of images."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        table: npt.NDArray[np.float32] = load_file(path)["embedding"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InvalidInputError(
            f"{shown(path)} is no table of embeddings: {error}; make one: python -m navit_edge_export.training.teacher"
        ) from error
    if table.ndim != 2 or len(table) != images:
        raise InvalidInputError(f"{shown(path)} has embeddings of {len(table)} images; expected {images}: make it anew")
    return table


class Distillation(nn.Module):
    """A linear layer from the student's embedding to the teacher's; it is thrown away after training."""

    table: Tensor

    def __init__(self, width: int, table: npt.NDArray[np.float32], *, seed: int = 0) -> None:
        """``table`` [images, D'] of the dataset; rows with NaN do not count."""
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.projection = nn.Linear(width, table.shape[1])
        with torch.no_grad():
            rng = torch.Generator().manual_seed(seed)
            nn.init.trunc_normal_(self.projection.weight, std=width**-0.5, generator=rng)
            nn.init.zeros_(self.projection.bias)

    def forward(self, embedding: Tensor, indices: Sequence[int]) -> Tensor:
        """embedding [N, D] of the dataset's images ``indices`` -> [N]: 1 - cos to the teacher's"""
        teacher = self.table[torch.as_tensor(list(indices), device=self.table.device)]
        known = ~teacher.isnan().any(1)
        distance = cosine_distance(self.projection(embedding), teacher.nan_to_num())
        return torch.where(known, distance, 0.0)
