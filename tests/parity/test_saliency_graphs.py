"""Saliency: attention rollout by PyTorch's own attention weights and a product of matrices, each image alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx_sessions import open_graph
from test_attention_map_graphs import CONFIG, pytorchs
from torch import nn

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.merging import Merging
from navit_edge.compile.lowering import choose
from navit_edge.errors import BackendError, InvalidInputError
from navit_edge_export.layers.attention import MaskedLowering
from navit_edge_export.layers.pooling import ClsPooling, MaxPooling, MeanMaxPooling
from navit_edge_export.layers.rollout import find_rollout
from navit_edge_export.layers.token_merging import TokenMerging
from navit_edge_export.model import NaViT
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import pack

TOLERANCE = 2e-6  # max abs of weights that sum to 1, float32
DEEP = replace(CONFIG, depth=3, qkv_bias=True)

Images = list[npt.NDArray[np.uint8]]
Array = npt.NDArray[np.float32]


class Rolled:
    """A model that pools in one way, its bundle with saliency beside the embedding, and the oracle."""

    def __init__(self, pooling: str, folder: Path) -> None:
        config = replace(DEEP, pooling=pooling)
        self.model = NaViT(config, seed=3).eval()
        self.bundle = folder / "rolled.navit"
        export_bundle(self.model, self.bundle, outputs=("embedding", "saliency"), max_tokens=96)
        self.prefix = config.prefix_tokens

    def run(self, lowering: str, images: Images, **padding: int) -> list[Array]:
        """Each image's map [patches], out of one pack, by ONNX Runtime."""
        session = open_graph(self.bundle / "graphs" / f"{lowering}.onnx")
        packed = pack(images, patch_px=16, prefix_tokens=self.prefix, **padding)
        inputs = packed.inputs()
        (found,) = session.run(["attention_map"], {one.name: inputs[one.name] for one in session.get_inputs()})
        assert found.shape == (len(packed.segment_ids), 1)
        assert not found[packed.segment_ids == len(packed.grid_hw)].any()
        return [found[packed.segment_ids == n][self.prefix :, 0] for n in range(len(images))]

    def by_pytorch(self, image: npt.NDArray[np.uint8]) -> Array:
        """The product of all (A + I) / 2, of this image alone, and pooling's own weights before it: [patches]."""
        packed = pack([image], patch_px=16, prefix_tokens=self.prefix)
        inputs = {name: torch.from_numpy(value) for name, value in packed.inputs().items()}
        product = np.eye(len(packed.segment_ids))
        with torch.no_grad():
            tokens = self.model.embed_tokens(
                inputs["patches"], inputs["positions"], inputs["grid_hw"].expand(len(product), 2)
            )
            for block in self.model.blocks:
                given = block.attention_norm(tokens)
                _, attention = pytorchs(block.attention)(given, given, given)
                product = 0.5 * (attention.numpy().astype(np.float64) + np.eye(len(product))) @ product
                tokens = block(tokens, MaskedLowering(inputs["segment_ids"]))
            return self.start(tokens).astype(np.float64) @ product[:, self.prefix :]

    def start(self, tokens: torch.Tensor) -> Array:
        """[tokens]"""
        if self.model.config.pooling == "map":
            pool, final = self.model.pooling.attention, self.model.norm(tokens)
            _, weights = pytorchs(pool)(pool.probe[None], final, final)
            return weights[0].numpy()
        if self.model.config.pooling == "mean":
            return np.full(len(tokens), 1 / len(tokens), np.float32)
        return np.eye(len(tokens), dtype=np.float32)[0]


@pytest.fixture(scope="module", params=["cls", "map", "mean"])
def rolled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rolled:
    """Each way to pool."""
    return Rolled(request.param, tmp_path_factory.mktemp("rolled"))


def test_a_packed_rollout_is_the_product_of_pytorchs_attention_of_each_image_alone(
    rolled: Rolled, lowering: str, sized_photographs: Images
) -> None:
    expected = [rolled.by_pytorch(image) for image in sized_photographs]
    for padding in ({}, {"padding_tokens": 37, "padding_images": 3, "min_longest": 130}):
        found = rolled.run(lowering, sized_photographs, **padding)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= TOLERANCE
            assert other.std() > 10 * TOLERANCE
            assert rolled.prefix or one.sum() == pytest.approx(1, abs=1e-5)


def test_changing_one_image_leaves_every_other_rollout_bit_equal(
    rolled: Rolled, lowering: str, sized_photographs: Images
) -> None:
    before = rolled.run(lowering, sized_photographs, padding_tokens=5)
    inverted = [255 - image if n == 2 else image for n, image in enumerate(sized_photographs)]
    after = rolled.run(lowering, inverted, padding_tokens=5)
    for n in range(len(sized_photographs)):
        assert np.array_equal(before[n], after[n]) == (n != 2), n


def test_the_padded_graph_has_no_table_of_all_tokens_and_no_product_of_matrices(rolled: Rolled) -> None:
    """Of the layers' attention once more the scores and a softmax, then a vector times it."""
    graph = onnx.load(rolled.bundle / "graphs" / "padded.onnx", load_external_data=False).graph
    softmax = [node for node in graph.node if node.op_type == "Softmax"]
    assert len(softmax) == 2 * DEEP.depth + (rolled.model.config.pooling == "map")
    shapes = {
        one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.value_info
    }
    assert not [name for name, shape in shapes.items() if shape.count("T") > 1]
    once_more = {node.output[0] for node in softmax[-DEEP.depth :]}
    uses = [node for node in graph.node if once_more & set(node.input)]
    assert [node.op_type for node in uses] == ["MatMul"] * DEEP.depth
    assert {shapes[node.input[0]][-2] for node in uses} == {1}


def test_behind_a_merge_a_tokens_weight_is_shared_and_none_is_lost(sized_photographs: Images) -> None:
    for pooling in ("mean", "map"):
        model = NaViT(replace(DEEP, pooling=pooling), seed=3).eval().requires_grad_(False)
        model.merging = TokenMerging(Merging(layer=1, kept=1, of=2, group=96, method="tome"), DEEP.depth)
        model.with_rollout()
        found = {
            name: model.forward_images(sized_photographs[:3], lowering=name)["attention_map"]
            for name in ("masked", "padded")
        }
        torch.testing.assert_close(found["masked"], found["padded"], atol=TOLERANCE, rtol=0)
        assert float(found["padded"].sum()) == pytest.approx(3, abs=1e-4)


def test_what_has_no_rollout_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "no.navit"
    blocks = [*NaViT(CONFIG, seed=3).blocks]
    for pooling in (None, MaxPooling(), MeanMaxPooling()):
        with pytest.raises(InvalidInputError, match="vit does not pool by attention, by a CLS token or by the mean"):
            find_rollout("vit", pooling, blocks)
    with pytest.raises(InvalidInputError, match=r"vit has blocks \(Identity\) that do not give their queries"):
        find_rollout("vit", ClsPooling(), [*blocks, nn.Identity()])
    with pytest.raises(InvalidInputError, match="expected one of them"):
        export_bundle(CONFIG, out, outputs=("embedding", "saliency", "attention-map"))
    with pytest.raises(InvalidInputError, match=r"lowering packed .* saliency needs them; expected masked or padded"):
        export_bundle(CONFIG, out, outputs=("embedding", "saliency"), lowerings=("masked", "padded", "packed"))
    assert not out.exists()


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_backend_that_would_make_a_table_of_all_tokens_refuses(rolled: Rolled, backend: str) -> None:
    manifest = manifests.load(rolled.bundle)
    assert manifest.model.config["attention_map"] == "rollout"
    for wanted in ("auto", "masked", "packed"):
        with pytest.raises(BackendError, match=rf"gives saliency, which {backend} would compute .* build for the"):
            choose(manifest, wanted, backend=backend, probe=lambda: "")
