"""What every family's test does: export, run one pack of different grids, compare with the family's own model.

    model = import_checkpoint(folder).model
    check_parity(model, oracle, tmp_path)

``oracle`` is the family's own implementation: one image [rows*P, columns*P, C] uint8 in, its outputs by our names out
("tokens" [tokens of the image, D], prefix tokens first, "projected" [.., D], "deepstack" [.., layers, D], "embedding"
[D], "logits" [classes]): all that ``model.outputs()`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx_sessions import open_graph, run_graph
from torch import nn

from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import candidates
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.preprocess import GRAPH_INPUTS, Pack, pack

Image = npt.NDArray[np.uint8]
Outputs = Mapping[str, npt.NDArray[np.float32]]
Oracle = Callable[[Image], Outputs]

#: Rows x columns: wide, one row, tall, small, large, the first once more. torch's antialiased interpolation is wrong
#: where the output is one column wide, so there is no such grid.
GRIDS = ((3, 11), (1, 7), (9, 2), (2, 2), (13, 14), (3, 11))
#: For models that merge 2 x 2 patches.
MERGED_SIZING = "smart-resize:merge=2,min_pixels=1,max_pixels=1000000"
#: Largest difference, over the largest absolute value of that output.
TOLERANCE = 2e-5


def draw_images(grids: Sequence[tuple[int, int]], patch_px: int, channels: int = 3, *, seed: int = 0) -> list[Image]:
    """Random images of whole patches."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (r * patch_px, c * patch_px, channels), np.uint8) for r, c in grids]


def normalize(image: Image, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """What most models take: [C, height, width] float32."""
    pixels = torch.from_numpy(image.copy()).double() / 255  # a copy: torch wants arrays that may be written
    return ((pixels - torch.tensor(mean).double()) / torch.tensor(std).double()).float().permute(2, 0, 1)


def perturb(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Moves every parameter away from its initial value, so that one left out or misplaced shows: matrices get a
    deviation of fan-in^-1/2, tables and tokens one of 1/2, vectors (biases, norms, scales) are moved by about 1/5."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if any(word in name for word in ("pos_embed", "position_embedding", "token", "probe", "latent", "queries")):
                parameter.copy_(0.5 * noise)
            elif parameter.squeeze().ndim >= 2 and not any(word in name for word in ("norm", "gamma")):
                parameter.copy_(noise * parameter.flatten(1).shape[1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return model.eval()


def rollout(attentions: Sequence[torch.Tensor]) -> npt.NDArray[np.float32]:
    """The first token's row of the product of all (A + I) / 2, A the mean of the heads: a library's attentions
    [1, H, tokens, tokens], the first layer's first -> [tokens, 1]."""
    product = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    for weights in attentions:
        mean = weights[0].double().mean(0)
        product = 0.5 * (mean + torch.eye(len(mean), dtype=torch.float64)) @ product
    found: npt.NDArray[np.float32] = product[0, :, None].float().numpy()
    return found


def check_guess(theirs: nn.Module, family: str) -> None:
    """Asserts that the keys alone say which family a model of the library is of."""
    checkpoint = Checkpoint(path=Path("x"), tensors=theirs.state_dict())
    assert [row.name for row in candidates(checkpoint)] == [family]


def export_sessions(
    model: PackedModel, folder: Path, *, outputs: Sequence[str] | None = None
) -> dict[str, onnxruntime.InferenceSession]:
    """The exported graph of each lowering, in ONNX Runtime."""
    side = model.block_side
    sizing = "token-cap" if side == 1 else MERGED_SIZING.replace("merge=2", f"merge={side}")
    chosen = outputs or model.outputs()
    bundle = export_bundle(model, folder / "parity.navit", outputs=chosen, sizing=sizing)
    return {lowering: open_graph(bundle / "graphs" / f"{lowering}.onnx") for lowering in ("masked", "padded")}


def run_pack(session: onnxruntime.InferenceSession, model: PackedModel, images: Sequence[Image]) -> list[Outputs]:
    """One pass over all images, with padding rows and an image that owns none; outputs by image."""
    packed = pack(
        images,
        patch_px=model.config.patch_px,
        prefix_tokens=model.config.prefix_tokens,
        padding_tokens=5,
        padding_images=1,
    )
    found = run_graph(session, packed.inputs())
    return _by_image(found, packed, len(images), model)


def check_parity(
    model: PackedModel,
    oracle: Oracle,
    folder: Path,
    *,
    grids: Sequence[tuple[int, int]] = GRIDS,
    outputs: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Asserts that a packed run of the exported graphs gives what the oracle gives for one image at a time, in both
    lowerings; returns the largest difference of each output, over its largest absolute value."""
    images = draw_images(grids, model.config.patch_px, model.config.channels)
    worst: dict[str, float] = {}
    expected = _ask(oracle, images)
    for lowering, session in export_sessions(model, folder, outputs=outputs).items():
        found = compare(run_pack(session, model, images), expected, grids, lowering, tolerance=tolerance)
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
    return worst


def check_parity_in_pytorch(
    model: PackedModel,
    oracle: Oracle,
    *,
    grids: Sequence[tuple[int, int]] = GRIDS,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """As ``check_parity``, without the export, which takes seconds: the packed model in PyTorch, padded lowering."""
    images = draw_images(grids, model.config.patch_px, model.config.channels)
    packed = pack(images, patch_px=model.config.patch_px, prefix_tokens=model.config.prefix_tokens, padding_tokens=5)
    with torch.no_grad():
        values = model(**{name: torch.from_numpy(packed.inputs()[name]) for name in GRAPH_INPUTS["padded"]})
    found = _by_image({name: value.numpy() for name, value in values.items()}, packed, len(images), model)
    return compare(found, _ask(oracle, images), grids, "PyTorch", tolerance=tolerance)


def compare(
    found: Sequence[Outputs],
    expected: Sequence[Outputs],
    grids: Sequence[tuple[int, int]],
    what: str,
    *,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Asserts that outputs by image are the same; returns the largest difference of each."""
    assert found[0].keys() == expected[0].keys()
    worst = {}
    for name in found[0]:
        scale = max(float(np.abs(one[name]).max()) for one in expected)
        for grid, ours, theirs in zip(grids, found, expected, strict=True):
            assert ours[name].shape == theirs[name].shape, (name, grid)
            difference = float(np.abs(ours[name] - theirs[name]).max()) / scale
            assert difference <= tolerance, f"{name} of {grid}, {what}: {difference:.2e}"
            worst[name] = max(worst.get(name, 0.0), difference)
        assert len({float(np.abs(one[name]).max()) for one in found}) > 1, f"{name} is the same for every image"
    return worst


def _ask(oracle: Oracle, images: Sequence[Image]) -> list[Outputs]:
    with torch.no_grad():
        return [oracle(image) for image in images]


def _by_image(values: Outputs, packed: Pack, images: int, model: PackedModel) -> list[Outputs]:
    def part(name: str, value: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
        if name not in ("tokens", "projected", "deepstack", "attention_map"):
            return value[n]
        start, end = packed.cu_seqlens[n : n + 2] // model.merge_of(name) ** 2
        return value[start:end]

    return [{name: part(name, value, n) for name, value in values.items()} for n in range(images)]
