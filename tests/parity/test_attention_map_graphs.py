"""The output attention_map: PyTorch's own attention weights, the same alone and packed, no image reaching another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx_sessions import open_graph
from torch import nn

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.merging import Merging
from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import MaskedLowering, SelfAttention
from navit_edge_export.layers.token_merging import TokenMerging
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import Pack, pack

TOLERANCE = 2e-6  # max abs of weights that sum to 1, float32
CONFIG = NaViTConfig(width=64, depth=2, heads=4, mlp_width=96, num_classes=7, qk_norm="off")
#: Pooling and outputs; a CLS token, a probe.
CASES = {
    "cls": (replace(CONFIG, pooling="cls", qkv_bias=True), "attention-map@heads"),
    "map": (replace(CONFIG, pooling="map", qkv_bias=True), "attention-map"),
}

Images = list[npt.NDArray[np.uint8]]
Array = npt.NDArray[np.float32]


class Mapped:
    """A model, its bundle with an attention map beside the embedding, and what PyTorch's own attention gives."""

    def __init__(self, name: str, folder: Path) -> None:
        config, output = CASES[name]
        self.model = NaViT(config, seed=3).eval()
        self.bundle = folder / "mapped.navit"
        export_bundle(self.model, self.bundle, outputs=("embedding", output), max_tokens=96)
        self.prefix = config.prefix_tokens
        self.maps = config.heads if output.endswith("@heads") else 1

    def run(self, lowering: str, images: Images, **padding: int) -> list[Array]:
        """Each image's map [patches, maps], out of one pack, by ONNX Runtime."""
        session = open_graph(self.bundle / "graphs" / f"{lowering}.onnx")
        packed = pack(images, patch_px=16, prefix_tokens=self.prefix, **padding)
        inputs = packed.inputs()
        (found,) = session.run(["attention_map"], {one.name: inputs[one.name] for one in session.get_inputs()})
        assert found.shape == (len(packed.segment_ids), self.maps)
        assert not found[packed.segment_ids == len(packed.grid_hw)].any()
        return [found[packed.segment_ids == n][self.prefix :] for n in range(len(images))]

    def by_pytorch(self, image: npt.NDArray[np.uint8]) -> Array:
        """torch.nn.MultiheadAttention's weights, with the model's own, of this image alone: [patches, maps]."""
        packed = pack([image], patch_px=16, prefix_tokens=self.prefix)
        with torch.no_grad():
            tokens = inside(self.model, packed)
            attention = self.model.blocks[-1].attention
            if self.model.config.pooling == "map":
                attention = self.model.pooling.attention
                tokens, query = self.model.forward_images([image])["tokens"], attention.probe[None]
            else:
                tokens = self.model.blocks[-1].attention_norm(tokens)
                query = tokens[:1]
            _, weights = pytorchs(attention)(query, tokens, tokens, average_attn_weights=self.maps == 1)
        return weights.reshape(-1, tokens.shape[0])[:, self.prefix :].T.numpy()


def inside(model: NaViT, packed: Pack) -> torch.Tensor:
    """What goes into the last block, of one image."""
    inputs = {name: torch.from_numpy(value) for name, value in packed.inputs().items()}
    grid = inputs["grid_hw"].expand(len(packed.segment_ids), 2)
    tokens = model.embed_tokens(inputs["patches"], inputs["positions"], grid)
    for block in model.blocks[:-1]:
        tokens = block(tokens, MaskedLowering(inputs["segment_ids"]))
    return tokens


def pytorchs(attention: nn.Module) -> nn.MultiheadAttention:
    """The same attention as a module of PyTorch's."""
    parts = (attention.qkv,) if isinstance(attention, SelfAttention) else (attention.query, attention.key_value)
    made = nn.MultiheadAttention(attention.proj.weight.shape[0], attention.heads, bias=True)
    with torch.no_grad():
        made.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        made.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    return made.eval()


@pytest.fixture(scope="module", params=sorted(CASES))
def mapped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    """Each case."""
    return Mapped(request.param, tmp_path_factory.mktemp("mapped"))


def test_a_packed_map_is_pytorchs_attention_of_each_image_alone(
    mapped: Mapped, lowering: str, sized_photographs: Images
) -> None:
    expected = [mapped.by_pytorch(image) for image in sized_photographs]
    for padding in ({}, {"padding_tokens": 37, "padding_images": 3, "min_longest": 130}):
        found = mapped.run(lowering, sized_photographs, **padding)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= TOLERANCE
            assert other.std() > 10 * TOLERANCE
    whole = {"map": 1.0}.get(mapped.model.config.pooling)  # of CLS attention some is of the CLS token itself
    assert whole is None or all(abs(one.sum() - whole) < 1e-5 for one in found)


def test_changing_one_image_leaves_every_other_map_bit_equal(
    mapped: Mapped, lowering: str, sized_photographs: Images
) -> None:
    before = mapped.run(lowering, sized_photographs, padding_tokens=5)
    inverted = [255 - image if n == 2 else image for n, image in enumerate(sized_photographs)]
    after = mapped.run(lowering, inverted, padding_tokens=5)
    for n in range(len(sized_photographs)):
        assert np.array_equal(before[n], after[n]) == (n != 2), n


def test_the_graph_has_the_map_without_a_table_of_all_tokens_and_computes_nothing_twice(mapped: Mapped) -> None:
    """One product more than the plain graph for the queries of the prefix token, one for the scores."""
    manifest = manifests.load(mapped.bundle)
    assert [(one.name, one.shape) for one in manifest.graphs[0].outputs][1:] == [("attention_map", ("T", mapped.maps))]
    graph = onnx.load(mapped.bundle / "graphs" / "padded.onnx", load_external_data=False).graph
    softmax = [node for node in graph.node if node.op_type == "Softmax"]
    assert len(softmax) == mapped.model.config.depth + 1
    shapes = {
        one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.value_info
    }
    assert not [name for name, shape in shapes.items() if shape.count("T") > 1]


@pytest.mark.parametrize("lowering", ["masked"])
def test_behind_a_merge_the_map_is_shared_among_the_patches_of_a_token(
    lowering: str, sized_photographs: Images, pytorch_merged: Callable[[str], NaViT]
) -> None:
    for pooling in ("cls", "map"):
        model = pytorch_merged(pooling)
        for image in sized_photographs[:3]:
            found = model.forward_images([image], lowering=lowering)
            looked = found["attention_map"][model.config.prefix_tokens :, 0]
            tokens = found["tokens"][model.config.prefix_tokens :]
            alike = (tokens[:, None] == tokens[None]).all(-1)  # patches of one token
            assert alike.sum() > len(tokens)
            assert torch.equal((looked[:, None] == looked[None])[alike], torch.ones(int(alike.sum()), dtype=torch.bool))
            total = float(looked.sum())
            assert total == pytest.approx(1, abs=1e-5) if pooling == "map" else 0.5 < total < 1


@pytest.fixture
def pytorch_merged() -> Callable[[str], NaViT]:
    """A model that merges in its first block, without a graph."""

    def make(pooling: str) -> NaViT:
        model = NaViT(replace(CONFIG, pooling=pooling), seed=3).eval().requires_grad_(False)
        model.merging = TokenMerging(Merging(layer=0, kept=1, of=2, group=96, method="tome"), CONFIG.depth)
        model.with_attention_map()
        return model

    return make


@pytest.mark.parametrize(
    ("pooling", "outputs", "message"),
    [
        ("mean", ("embedding", "attention-map"), "navit pools neither by attention nor by a CLS token"),
        ("cls", ("attention-map", "attention_map@heads"), "expected one of them"),
        ("cls", ("attention-maps",), "outputs are attention-maps; expected one or more of"),
    ],
)
def test_what_has_no_map_is_refused(tmp_path: Path, pooling: str, outputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        export_bundle(replace(CONFIG, pooling=pooling), tmp_path / "no.navit", outputs=outputs)
    assert not (tmp_path / "no.navit").exists()
