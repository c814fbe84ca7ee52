"""What a user would pick instead, each as good as its tool makes it.

All have the same weights, and their patches are cut beforehand, untimed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from navit_edge_export.layers.attention import ABSENT
from navit_edge_export.layers.embed import CENTRE, FoldedPatchEmbed
from navit_edge_export.layers.pooling import Segments
from navit_edge_export.model.navit import NaViT
from navit_edge_export.positions import grid_of_tokens
from navit_edge_export.preprocess import pack

Images = list[npt.NDArray[np.uint8]]
Run = Callable[[], list[npt.NDArray[np.float32]]]  # one pass over a set -> logits [classes] of each image


class _Dense:
    """Attention of a dense batch [B, L] as PyTorch users write it, with a key mask if padded."""

    def __init__(self, batch: int, mask: Tensor | None) -> None:
        self.batch = batch
        self.mask = mask

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows = (self.batch, -1, *query.shape[1:])
        q, k, v = (x.reshape(rows).transpose(1, 2) for x in (query, key, value))  # [B, H, L, dh]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=scale)
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1)


class DenseNaViT(nn.Module):
    """The reference model on a dense batch, one row per image: what people have before they pack."""

    def __init__(self, model: NaViT) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.model.embed = self.model.embed.for_graph()

    def forward(
        self, patches: Tensor, positions: Tensor, segment_ids: Tensor, grid_hw: Tensor, padded: bool = False
    ) -> Tensor:
        """patches [B*L, F] uint8, positions [B*L, 2], segment_ids [B*L] (B if there is no token), grid_hw [B, 2]
        -> logits [B, classes]"""
        model = self.model
        embed = model.embed
        assert isinstance(embed, FoldedPatchEmbed)
        assert model.positions is not None
        assert model.pooling is not None
        assert model.head is not None
        batch = grid_hw.shape[0]
        mask = None
        if padded:
            mask = torch.where(segment_ids.reshape(batch, -1) < batch, 0.0, ABSENT)[:, None, None, :]
            mask = mask.to(embed.weight.dtype)
        token_grid = grid_of_tokens(grid_hw, segment_ids) if model.positions.uses_grid else None
        dtype = embed.weight.dtype
        tokens = functional.linear(patches.to(dtype) - CENTRE, embed.weight, embed.bias)
        tokens = tokens + model.positions(positions, token_grid).to(dtype)
        for block in model.blocks:
            tokens = block(tokens, _Dense(batch, mask))
        tokens = model.norm(tokens)
        logits: Tensor = model.head(model.pooling(tokens, Segments(segment_ids, positions, batch)))
        return logits


def _alone(image: npt.NDArray[np.uint8], patch_px: int) -> dict[str, Tensor]:
    inputs = pack([image], patch_px=patch_px).inputs()
    return {name: torch.from_numpy(inputs[name]) for name in ("patches", "positions", "segment_ids", "grid_hw")}


def _padded(images: Images, patch_px: int) -> dict[str, Tensor]:
    alone = [_alone(image, patch_px) for image in images]
    longest = max(one["patches"].shape[0] for one in alone)
    batch: dict[str, list[Tensor]] = {"patches": [], "positions": [], "segment_ids": []}
    for index, one in enumerate(alone):
        short = longest - one["patches"].shape[0]
        batch["patches"].append(functional.pad(one["patches"], (0, 0, 0, short)))
        batch["positions"].append(functional.pad(one["positions"], (0, 0, 0, short)))
        batch["segment_ids"].append(functional.pad(one["segment_ids"] + index, (0, short), value=len(images)))
    out = {name: torch.cat(parts) for name, parts in batch.items()}
    out["grid_hw"] = torch.cat([one["grid_hw"] for one in alone])
    return out


def pytorch_alone(model: NaViT, images: Images, dtype: torch.dtype) -> Run:
    """(a) PyTorch eager, one image at a time."""
    dense = DenseNaViT(model).to(dtype)
    inputs = [_alone(image, model.config.patch_px) for image in images]

    def run() -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [dense(**one)[0].float().numpy() for one in inputs]

    return run


def pytorch_padded(model: NaViT, images: Images, dtype: torch.dtype) -> Run:
    """(b) PyTorch eager, one batch padded to its longest image, with a key-padding mask."""
    dense = DenseNaViT(model).to(dtype)
    batch = _padded(images, model.config.patch_px)

    def run() -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return list(dense(**batch, padded=True).float().numpy())

    return run


def pytorch_compiled(model: NaViT, images: Images, dtype: torch.dtype, *, padded: bool) -> Run:
    """(a) and (b) by torch.compile: one graph for images of any size alone, or one of the batch's own shape. The first
    pass compiles, which takes a C++ compiler and a minute."""
    dense = DenseNaViT(model).to(dtype)
    compiled = torch.compile(dense, dynamic=not padded)
    patch_px = model.config.patch_px
    inputs = [_padded(images, patch_px)] if padded else [_alone(image, patch_px) for image in images]

    def run() -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [row for one in inputs for row in compiled(**one, padded=padded).float().numpy()]

    return run


def onnxruntime_masked(bundle: Path, images: Images, packs: list[list[int]], patch_px: int, threads: int) -> Run:
    """(c) ONNX Runtime on the bundle's masked graph, in packs planned first-fit-decreasing."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(bundle / "graphs" / "masked.onnx", options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    feeds = []
    for members in packs:
        inputs = pack([images[i] for i in members], patch_px=patch_px).inputs()
        feeds.append({name: inputs[name] for name in names})

    def run() -> list[npt.NDArray[np.float32]]:
        logits: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(images)
        for members, feed in zip(packs, feeds, strict=True):
            for member, row in zip(members, session.run(["logits"], feed)[0], strict=True):
                logits[member] = row
        return logits

    return run


def export_dense(model: NaViT, path: Path) -> Path:
    """A plain graph for one image, as torch.onnx.export makes it."""
    patch_px = model.config.patch_px
    sample = _alone(np.zeros((4 * patch_px, 5 * patch_px, 3), np.uint8), patch_px)
    tokens = torch.export.Dim("T")
    per_token = {name: {0: tokens} for name in ("patches", "positions", "segment_ids")}
    shapes: dict[str, Any] = {**per_token, "grid_hw": {}}
    program = torch.onnx.export(
        DenseNaViT(model), kwargs=sample, dynamic_shapes=shapes, output_names=["logits"], dynamo=True, verbose=False
    )
    assert program is not None
    program.save(path, external_data=True)
    return path


def openvino_alone(graph: Path, images: Images, precision: str, streams: int, patch_px: int, threads: int) -> Run:
    """(d) OpenVINO, one image at a time on the plain graph, with one or two streams."""
    import openvino as ov

    config = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
    }
    core = ov.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", config)
    feeds = []
    for image in images:
        one = _alone(image, patch_px)
        names = [port.get_any_name() for port in compiled.inputs]
        feeds.append({name: one[name].numpy() for name in names})
    # Longest first: with two streams the last image to finish is then a short one.
    order = sorted(range(len(images)), key=lambda i: -images[i].size)
    logits: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(images)

    def keep(request: Any, index: int) -> None:
        logits[index] = request.get_output_tensor(0).data[0].copy()

    queue = ov.AsyncInferQueue(compiled, streams)
    queue.set_callback(keep)

    def run() -> list[npt.NDArray[np.float32]]:
        for index in order:
            queue.start_async(feeds[index], index, share_inputs=True)
        queue.wait_all()
        return logits

    return run
