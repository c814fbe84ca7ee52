"""The reference model against plain PyTorch, numpy and the formulas it is said to follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import LOWERINGS
from navit_edge_export.layers import norms
from navit_edge_export.layers.attention import MaskedLowering, PackedLowering, PaddedLowering
from navit_edge_export.layers.embed import FoldedPatchEmbed
from navit_edge_export.layers.pooling import AttentionPool, Segments
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.model import config as config_module
from navit_edge_export.pooling_map import pooling_map
from navit_edge_export.positions import FactorizedPositions, grid_of_tokens
from navit_edge_export.preprocess import pack

Images = list[npt.NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are so small that threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(**changes: Any) -> NaViTConfig:
    fields: dict[str, Any] = {"width": 32, "depth": 2, "heads": 4, "mlp_width": 64, "patch_px": 4, "num_classes": 7}
    return NaViTConfig(**{**fields, **changes})


def random_images(*grids: tuple[int, int], patch_px: int = 4, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (r * patch_px, c * patch_px, 3), dtype=np.uint8) for r, c in grids]


GRIDS = ((3, 5), (1, 1), (6, 2), (1, 9), (4, 4))


def test_pixels_are_normalized_in_the_first_linear_layer() -> None:
    model = NaViT(small(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    patches = torch.from_numpy(pack(random_images(*GRIDS), patch_px=4).patches)
    pixels = patches.double().view(len(patches), 16, 3) / 255
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (model.config.mean, model.config.std))
    normalized = ((pixels - mean) / std).flatten(1)
    expected = normalized @ model.embed.weight.double().T + model.embed.bias.double()
    torch.testing.assert_close(model.embed(patches).double(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(FoldedPatchEmbed(model.embed)(patches), model.embed(patches), atol=0, rtol=0)


@pytest.mark.parametrize("gelu", ["erf", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_block_is_pytorchs_pre_norm_encoder_layer(gelu: str, bias: bool) -> None:
    """Without query-key norm, on one image, the block is nn.TransformerEncoderLayer(norm_first=True)."""
    config = small(qk_norm="off", qkv_bias=bias, proj_bias=bias, mlp_bias=bias, norm_bias=bias, gelu=gelu)
    block = NaViT(config).blocks[0]

    def activation(x: Tensor) -> Tensor:
        return functional.gelu(x, approximate="tanh" if gelu == "tanh" else "none")

    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        config.mlp_width,
        dropout=0.0,
        activation=activation,
        layer_norm_eps=config.norm_eps,
        batch_first=True,
        norm_first=True,
        bias=bias,
    )
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj.": "attention.proj.",
        "linear1.": "mlp.up.",
        "linear2.": "mlp.down.",
        "norm1.": "attention_norm.",
        "norm2.": "mlp_norm.",
    }
    weights = block.state_dict()
    kinds = ("weight", "bias") if bias else ("weight",)
    layer.load_state_dict({theirs + kind: weights[ours + kind] for theirs, ours in names.items() for kind in kinds})
    tokens = torch.randn(23, config.width, generator=torch.Generator().manual_seed(0))
    lowering = MaskedLowering(torch.zeros(23, dtype=torch.int32))
    torch.testing.assert_close(block(tokens, lowering), layer(tokens[None])[0], atol=2e-6, rtol=1e-5)


def pytorchs(pool: AttentionPool) -> nn.MultiheadAttention:
    """PyTorch's own attention with the pool's weights; width 32, 4 heads."""
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([pool.query.weight, pool.key_value.weight]))
        reference.in_proj_bias.copy_(torch.cat([pool.query.bias, pool.key_value.bias]))
        reference.out_proj.load_state_dict(pool.proj.state_dict())
    return reference


def test_the_probes_attention_is_pytorchs_multi_head_attention() -> None:
    pool = NaViT(small(qkv_bias=True)).pooling.attention
    assert isinstance(pool, AttentionPool)
    reference = pytorchs(pool)
    packed = pack(random_images(*GRIDS), patch_px=4)
    tokens = torch.randn(len(packed.patches), 32, generator=torch.Generator().manual_seed(0))
    found = pool(tokens, segments_of(packed))
    for n in range(len(GRIDS)):
        own = tokens[torch.from_numpy(packed.segment_ids == n)][None]
        expected, _ = reference(pool.probe[None, None], own, own)
        torch.testing.assert_close(found[n], expected[0, 0], atol=2e-6, rtol=1e-5)


def test_the_map_of_pooling_sums_to_one_and_is_pytorchs_attention_weights() -> None:
    model = NaViT(small(qkv_bias=True), seed=3)
    reference = pytorchs(model.pooling.attention)
    images = random_images((2, 3), (4, 2))
    packed = model.forward_images(images)["tokens"].detach()
    for tokens, grid in zip(packed.split((6, 8)), ((2, 3), (4, 2)), strict=True):
        found = pooling_map(model, tokens.numpy(), grid)
        _, expected = reference(model.pooling.attention.probe[None, None], tokens[None], tokens[None])
        assert found.shape == grid
        assert found.dtype == np.float32
        assert abs(float(found.sum()) - 1.0) < 1e-6
        torch.testing.assert_close(torch.from_numpy(found).flatten(), expected[0, 0].detach(), atol=1e-6, rtol=1e-5)


def test_a_map_of_pooling_needs_a_probe_that_sees_patches_and_the_tokens_of_the_grid() -> None:
    tokens = np.zeros((6, 32), np.float32)
    for pooling in ("mean", "cls"):
        with pytest.raises(InvalidInputError, match="no attention pooling"):
            pooling_map(NaViT(small(pooling=pooling)), tokens, (2, 3))
    with pytest.raises(InvalidInputError, match=r"shape \[6, 32\]; expected \[8, 32\]"):
        pooling_map(NaViT(small()), tokens, (2, 4))


def segments_of(packed: Any) -> Segments:
    ids, positions = torch.from_numpy(packed.segment_ids), torch.from_numpy(packed.positions)
    return Segments(ids, positions, len(packed.grid_hw))


def test_query_key_rms_norm_is_pytorchs() -> None:
    ours = norms.make_head_norm("rms", 16, bias=False, eps=1e-6)
    theirs = nn.RMSNorm(16, eps=1e-6)
    weight = torch.rand(16, generator=torch.Generator().manual_seed(0))
    ours.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": weight})
    x = torch.randn(9, 4, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), theirs(x))
    assert isinstance(norms.make_head_norm("layer", 16, bias=True, eps=1e-6), nn.LayerNorm)
    assert norms.make_head_norm("off", 16, bias=False, eps=1e-6)(x) is x


@pytest.mark.parametrize("statistic", ["mean", "max"])
def test_masked_mean_and_max_are_those_of_each_image(statistic: str) -> None:
    packed = pack(random_images(*GRIDS, (40, 40)), patch_px=4, padding_tokens=6, padding_images=2)
    tokens = torch.randn(len(packed.patches), 8, generator=torch.Generator().manual_seed(0)) - 3
    found = getattr(segments_of(packed), statistic)(tokens)
    for n in range(len(packed.lengths) - 2):
        own = tokens[torch.from_numpy(packed.segment_ids == n)]
        expected = own.mean(0) if statistic == "mean" else own.amax(0)
        torch.testing.assert_close(found[n], expected, atol=3e-6 if statistic == "mean" else 0.0, rtol=0)
    assert torch.isfinite(found).all()


POSITIONS = torch.tensor([[0, 0], [2, 1], [5, 8], [31, 0], [12, 700]], dtype=torch.int32)
SIDES = torch.tensor([[1, 1], [3, 2], [6, 9], [32, 7], [13, 701]], dtype=torch.int32)


def expected_axis(kind: str, axis: Any, position: npt.NDArray[Any], side: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each kind written out in float64, from its definition: [T, features]"""
    fraction = position / side
    if kind == "sinusoidal":
        features = 2 * axis.frequencies.numel()
        angles = position[:, None] / 10000 ** (np.arange(0, features, 2) / features)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    if kind == "fourier":
        angles = np.pi * fraction[:, None] * 2.0 ** np.arange(8)
        weight = axis.projection.weight.detach().double().numpy()
        return np.asarray(np.concatenate([np.sin(angles), np.cos(angles)], axis=1) @ weight.T)
    table = axis.table.detach().double().numpy()
    if kind == "learned-absolute":
        return np.asarray(table[np.minimum(position, len(table) - 1)])
    knots = np.linspace(0, 1, len(table))
    return np.stack([np.interp(fraction, knots, column) for column in table.T], axis=1)


@pytest.mark.parametrize("combine", ["sum", "concat"])
@pytest.mark.parametrize("kind", config_module.FACTORIZED_KINDS)
def test_positions_follow_their_definition(kind: str, combine: str) -> None:
    embed = FactorizedPositions(16, kind=kind, combine=combine, entries=12)
    generator = torch.Generator().manual_seed(0)
    for parameter in embed.parameters():
        nn.init.normal_(parameter, generator=generator)
    found = embed(POSITIONS, SIDES).detach().double().numpy()
    row, column = (
        expected_axis(kind, axis, POSITIONS[:, i].numpy(), SIDES[:, i].numpy())
        for i, axis in enumerate((embed.row, embed.column))
    )
    expected = row + column if combine == "sum" else np.concatenate([row, column], axis=1)
    # float32 angles reach 128 pi, and there are 16 of them.
    assert np.abs(found - expected).max() <= (5e-4 if kind == "fourier" else 5e-5)
    assert embed.uses_grid == (kind in ("learned-fractional", "fourier"))


def test_fractional_positions_without_a_grid_are_refused() -> None:
    embed = FactorizedPositions(16, kind="learned-fractional", combine="sum", entries=12)
    with pytest.raises(ValueError, match="token_grid"):
        embed(POSITIONS)


def test_every_token_gets_the_grid_of_its_own_image_and_padding_one_by_one() -> None:
    packed = pack(random_images(*GRIDS), patch_px=4, padding_tokens=3)
    found = grid_of_tokens(torch.from_numpy(packed.grid_hw), torch.from_numpy(packed.segment_ids)).numpy()
    for n, grid in enumerate(GRIDS):
        assert (found[packed.segment_ids == n] == grid).all()
    assert (found[-3:] == 1).all()


@pytest.mark.parametrize("qk_norm", config_module.QK_NORMS)
@pytest.mark.parametrize("pooling", config_module.POOLINGS)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_packing_does_not_change_any_output(pooling: str, qk_norm: str, lowering: str) -> None:
    model = NaViT(small(pooling=pooling, qk_norm=qk_norm)).eval()
    images = random_images(*GRIDS)
    with torch.no_grad():
        together = model.forward_images(images, lowering=lowering)
        alone = [model.forward_images([image]) for image in images]
    assert together.keys() == {"logits", "embedding", "tokens"}
    for name, value in together.items():
        torch.testing.assert_close(value, torch.cat([one[name] for one in alone]), atol=5e-6, rtol=0)


def test_every_lowering_sees_only_an_images_own_tokens() -> None:
    packed = pack(random_images(*GRIDS), patch_px=4, padding_tokens=4, padding_images=1)
    count = len(packed.patches)
    q, k, v = torch.randn(3, count, 2, 8, generator=torch.Generator().manual_seed(0)).unbind()
    masked = MaskedLowering(torch.from_numpy(packed.segment_ids))
    padded = PaddedLowering(torch.from_numpy(packed.attention_index), torch.from_numpy(packed.token_index))
    one_by_one = PackedLowering(torch.from_numpy(packed.cu_seqlens), torch.from_numpy(packed.segment_ids))
    for n in range(len(GRIDS)):
        own = torch.from_numpy(packed.segment_ids == n)
        query, key, value = (x[own].transpose(0, 1) for x in (q, k, v))
        expected = functional.scaled_dot_product_attention(query, key, value, scale=0.25).transpose(0, 1)
        for lowering in (masked, padded, one_by_one):
            found = lowering.attend(q, k, v, 0.25)
            assert torch.isfinite(found).all()
            torch.testing.assert_close(found[own], expected.flatten(1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", config_module.POSITION_KINDS)
def test_moving_a_patch_changes_the_embedding(kind: str) -> None:
    model = NaViT(small(position_kind=kind)).eval()
    (image,) = random_images((3, 4))
    swapped = image.copy()
    swapped[:4, :4], swapped[8:, 12:] = image[8:, 12:], image[:4, :4]
    with torch.no_grad():
        one, other = (model.forward_images([x])["embedding"] for x in (image, swapped))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", config_module.POOLINGS)
def test_every_parameter_learns(pooling: str) -> None:
    """A gradient reaches each parameter, and a few steps fit four images to four labels."""
    model = NaViT(small(pooling=pooling, num_classes=4))
    images = random_images(*GRIDS[:4], seed=3)
    losses: list[float] = []
    for _ in range(15):
        loss = functional.cross_entropy(model.forward_images(images)["logits"], torch.arange(4))
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if not losses:
                assert parameter.grad.abs().max() > 0, name
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.sub_(3e-3 * parameter.grad.sign())
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_model_without_classes_gives_no_logits() -> None:
    model = NaViT(small(num_classes=0))
    assert model.forward_images(random_images((2, 2))).keys() == {"embedding", "tokens"}
    assert model.config.outputs() == ("embedding", "tokens")


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (NaViT(small(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_an_unknown_lowering_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="masked, padded, packed"):
        NaViT(small()).forward_images(random_images((2, 2)), lowering="sparse")
