"""Graphs that merge tokens give what PyTorch gives for each image alone, and no image reaches another."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx_sessions import open_graph
from typer.testing import CliRunner

from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.merging import MERGE_INPUTS, Merging, merge_inputs
from navit_edge.cli.main import app
from navit_edge.compile import precision
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.planning.plan import CostModel
from navit_edge_export.layers.token_merging import TokenMerging
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import graph_inputs, pack

TOLERANCE = 2e-5  # max abs, float32
CONFIG = NaViTConfig(width=64, depth=3, heads=2, mlp_width=96, num_classes=7)
#: Of a cls token and pitome; of a probe and tome; kept: fewer than a half and more.
CASES = {
    "pitome": (replace(CONFIG, pooling="cls"), "1:0.35"),
    "tome": (CONFIG, "0:0.75:tome"),
    "last-block": (replace(CONFIG, pooling="multi"), "2:0.5"),
}
OUTPUTS = ("logits", "embedding", "tokens")

Images = list[npt.NDArray[np.uint8]]
Arrays = dict[str, npt.NDArray[np.float32]]


class MergingModel:
    """A model that merges, and its bundle."""

    def __init__(self, name: str, folder: Path) -> None:
        config, merge = CASES[name]
        self.model = NaViT(config, seed=3).eval()
        self.bundle = folder / "merging.navit"
        if not self.bundle.exists():
            export_bundle(self.model, self.bundle, outputs=OUTPUTS, merge=merge, max_tokens=96)
        self.manifest = manifests.load(self.bundle)
        merging = self.manifest.model.merging
        assert isinstance(merging, Merging)
        self.merging = merging
        self.model.merging = TokenMerging(merging, config.depth)
        self.prefix = config.prefix_tokens

    def session(self, lowering: str) -> ort.InferenceSession:
        return open_graph(self.bundle / "graphs" / f"{lowering}.onnx")

    def run(self, session: ort.InferenceSession, images: Images, **padding: int) -> list[Arrays]:
        """Each image's outputs, out of one pack."""
        packed = pack(images, patch_px=16, prefix_tokens=self.prefix, **padding)
        inputs = packed.inputs(self.merging, prefix_tokens=self.prefix)
        found = session.run(list(OUTPUTS), {one.name: inputs[one.name] for one in session.get_inputs()})
        values = dict(zip(OUTPUTS, found, strict=True))
        assert all(np.isfinite(value).all() for value in values.values())
        return [
            {
                name: value[packed.segment_ids == n] if name == "tokens" else value[n : n + 1]
                for name, value in values.items()
            }
            for n in range(len(images))
        ]

    def alone(self, image: npt.NDArray[np.uint8]) -> Arrays:
        return {name: value.detach().numpy() for name, value in self.model.forward_images([image]).items()}


@pytest.fixture(scope="module", params=sorted(CASES))
def merging(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MergingModel:
    """Each case."""
    return MergingModel(request.param, tmp_path_factory.mktemp("merging"))


def test_packed_images_give_what_pytorch_gives_for_each_alone(
    merging: MergingModel, lowering: str, sized_photographs: Images
) -> None:
    expected = [merging.alone(image) for image in sized_photographs]
    for padding in ({}, {"padding_tokens": 37, "padding_images": 3, "min_longest": 130}):
        found = merging.run(merging.session(lowering), sized_photographs, **padding)
        for one, other in zip(found, expected, strict=True):
            for name in OUTPUTS:
                scale = max(1.0, float(np.abs(other[name]).max()))
                assert one[name].shape == other[name].shape
                assert float(np.abs(one[name] - other[name]).max()) <= TOLERANCE * scale, name


def test_changing_one_image_leaves_every_other_bit_equal(
    merging: MergingModel, lowering: str, sized_photographs: Images
) -> None:
    session = merging.session(lowering)
    before = merging.run(session, sized_photographs, padding_tokens=5)
    inverted = [255 - image if n == 2 else image for n, image in enumerate(sized_photographs)]
    after = merging.run(session, inverted, padding_tokens=5)
    for n in range(len(sized_photographs)):
        for name in OUTPUTS:
            assert np.array_equal(before[n][name], after[n][name]) == (n != 2), (n, name)


def test_merging_changes_what_comes_out(merging: MergingModel, sized_photographs: Images) -> None:
    plain = NaViT(merging.model.config, seed=3).eval()
    for image in sized_photographs[:2]:
        merged, whole = merging.alone(image)["embedding"], plain.forward_images([image])["embedding"].detach().numpy()
        assert np.abs(merged - whole).max() > 100 * TOLERANCE


def test_16_bits_leave_the_choice_and_the_sums_of_merged_tokens_in_float32(merging: MergingModel) -> None:
    model = onnx.load(merging.bundle / "graphs" / "masked.onnx", load_external_data=False)
    found = precision.Conversion(model, "bf16").precision_map()
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    names = [node.name for node in model.graph.node]
    trunk = names[: names.index(next(norm.name for norm in norms if norm.input[1] == "norm.weight"))]
    weights = {tensor.name for tensor in model.graph.initializer}
    weighted = {node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights}
    kinds = Counter(
        found[name][1] for name in trunk if name in found and found[name][0] == "MatMul" and name not in weighted
    )
    assert kinds == {"bf16": 2 * CONFIG.depth, "fp32": 3}  # attention; similarities, places of what stays, sums
    compared = [kind for operator, kind in found.values() if operator in ("Greater", "Equal", "ReduceMax")]
    assert len(compared) >= 3
    assert set(compared) == {"fp32"}

    # The sum through all layers, in front of the merge and behind it.
    converted = precision.Conversion(model, "bf16").convert().graph.node
    casts = {node.output[0] for node in converted if node.op_type == "Cast"}
    summed = {node.name: node.input[0] for node in converted if node.op_type == "LayerNormalization"}
    of_blocks = [norm for norm in norms if norm.input[1].endswith(("attention_norm.weight", "mlp_norm.weight"))]
    assert len(of_blocks) == 2 * CONFIG.depth
    assert not any(summed[norm.name] in casts for norm in of_blocks)


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_packer_fills_what_python_fills(merging: MergingModel, sized_photographs: Images, dynamic: bool) -> None:
    packer = _core.Packer(
        os.fspath(merging.bundle),
        "padded",
        max_tokens=512,
        max_images=12,
        target_tokens=512,
        strategy="fifo",
        dynamic_tokens=dynamic,
        threads=1,
    )
    (found,) = packer.pack(sized_photographs)
    lengths = [tokens for _, _, tokens in found["segments"]]
    assert lengths == [merging.prefix + image.size // 768 for image in sized_photographs]
    expected = merge_inputs(
        merging.merging,
        lengths + [0] * (0 if dynamic else 12 - len(lengths)),
        prefix_tokens=merging.prefix,
        tokens=len(found["inputs"]["patches"]),
        longest=found["inputs"]["attention_index"].shape[1],
    )
    for name in listed(merging):
        assert np.array_equal(found["inputs"][name], expected[name]), name


def listed(merging: MergingModel) -> tuple[str, ...]:
    """What the padded graph takes for the merge: behind the last block nothing attends any more."""
    return MERGE_INPUTS[:5] if merging.merging.layer == CONFIG.depth - 1 else MERGE_INPUTS


def test_the_manifest_says_it_and_has_a_schema_that_older_readers_refuse(merging: MergingModel) -> None:
    assert merging.manifest.schema_version == 3
    shapes = {spec.name: spec.shape for spec in merging.manifest.graphs[1].inputs}
    assert set(shapes) == {*graph_inputs("padded"), *listed(merging)}
    words = merging.merging.shapes(merging.prefix)
    assert shapes["merge_rows"] == (words["M"],)
    assert shapes["merge_groups"] == (words["G"], merging.merging.group)
    assert shapes.get("merge_attention_index", ("N", words["A"])) == ("N", words["A"])


@pytest.mark.parametrize(
    ("merge", "lowerings", "message"),
    [
        ("3:0.5", ("masked",), "merge names block 3; navit has the blocks 0 to 2"),
        ("-1:0.5", ("masked",), "merge names block -1"),
        ("1:1.5", ("masked",), "merge keeps 1.5"),
        ("1:0.5", ("masked", "packed"), "merge and the lowering packed"),
    ],
)
def test_what_cannot_be_merged_is_refused(tmp_path: Path, merge: str, lowerings: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        export_bundle(CONFIG, tmp_path / "no.navit", merge=merge, lowerings=lowerings)
    assert not (tmp_path / "no.navit").exists()


def test_a_manifest_with_other_shapes_is_refused(merging: MergingModel, tmp_path: Path) -> None:
    text = (merging.bundle / "manifest.json").read_text()
    word = merging.merging.shapes(merging.prefix)["M"]
    for wrong in ("T", "T*1/7+1N", merging.merging.shapes(merging.prefix)["G"]):
        with pytest.raises(BundleError, match=r"shape"):
            manifests.parse(text.replace(f'"{word}"', f'"{wrong}"').encode(), source="it")


def test_the_planner_counts_what_is_left_behind_the_merge(merging: MergingModel) -> None:
    """Against the products of the blocks, written out one after another."""
    config, merge = merging.model.config, merging.merging
    found = CostModel.assumed(merging.manifest, "cpu", attention="segments", dynamic_tokens=True).budgets[0]
    per_token = per_score = 0.0
    left = 1.0
    for layer in range(config.depth):
        per_token += 2 * left * 4 * config.width**2
        per_score += 4 * left**2 * config.width
        if layer == merge.layer:
            left = merge.keep
        per_token += 2 * left * 2 * config.width * config.mlp_width
    assert found[1:] == pytest.approx((per_token / 300e3, per_score / 225e3), rel=1e-6)  # rates: docs/planning.md


def test_inspect_says_what_merges(merging: MergingModel) -> None:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["inspect", str(merging.bundle)])
    assert found.exit_code == 0, found.stderr
    words = f"block {merging.merging.layer}, from 0, an image keeps {merging.merging.keep:g} of its patches"
    assert words in found.stdout
