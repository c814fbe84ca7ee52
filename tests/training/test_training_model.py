"""What the reference model has for training: tables resampled in the graph, sin-cos starts, a learned logit scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx_sessions import open_graph, run_graph
from stripes import stripes
from torch import Tensor
from torch.nn import functional

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.model.config import TABLE_KINDS
from navit_edge_export.preprocess import GRAPH_INPUTS, pack, prepare

IMAGES = [prepare(image, patch_px=8, max_tokens=30) for image in stripes(4).images]


def small(**changes: Any) -> NaViTConfig:
    return NaViTConfig(
        **{"width": 32, "depth": 2, "heads": 2, "mlp_width": 64, "patch_px": 8, "num_classes": 3, **changes}
    )


def outputs(model: NaViT, lowering: str = "masked") -> dict[str, Tensor]:
    with torch.no_grad():
        return model.eval().forward_images(IMAGES, lowering=lowering)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kind", list(TABLE_KINDS))
def test_tables_are_resampled_as_pytorch_does(kind: str, antialias: bool) -> None:
    model = NaViT(small(position_kind=kind, position_antialias=antialias, position_entries=6))
    assert model.positions is not None
    table = model.positions.get_parameter("table").detach().view(1, 6, 6, 32).permute(0, 3, 1, 2)
    for rows, columns in ((3, 9), (6, 6), (1, 2)):
        options = {"mode": TABLE_KINDS[kind], "antialias": antialias, "align_corners": False}
        expected = functional.interpolate(table, (rows, columns), **options)  # type: ignore[arg-type]
        place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).int()
        grid = torch.tensor([[rows, columns]], dtype=torch.int32).expand(len(place), 2)
        with torch.no_grad():
            found = model.positions(place, grid)
        torch.testing.assert_close(found, expected[0].flatten(1).T, atol=2e-5, rtol=1e-4)


def test_a_sin_cos_start_computes_what_sinusoidal_positions_do() -> None:
    plain = NaViT(small(position_kind="sinusoidal"))
    started = NaViT(small(position_kind="learned-absolute", position_init="sin-cos"))
    assert torch.equal(
        started.get_parameter("positions.row.table")[3], started.get_parameter("positions.column.table")[3]
    )
    started.load_state_dict(plain.state_dict(), strict=False)
    for name, value in outputs(started).items():
        torch.testing.assert_close(value, outputs(plain)[name], atol=1e-5, rtol=1e-4)
    table = NaViT(small(position_kind="table-bilinear", position_init="sin-cos", position_entries=5))
    place = torch.cartesian_prod(torch.arange(5), torch.arange(5)).int()
    assert table.positions is not None and plain.positions is not None  # noqa: PT018
    with torch.no_grad():
        found = table.positions(place, torch.full((25, 2), 5, dtype=torch.int32))
        torch.testing.assert_close(found, plain.positions(place, None), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lowering", list(GRAPH_INPUTS))
def test_a_logit_scale_is_a_factor_of_the_query_norms_weights(lowering: str) -> None:
    scaled, plain = NaViT(small(logit_scale=True), seed=3), NaViT(small(), seed=3)
    plain.load_state_dict({k: v for k, v in scaled.state_dict().items() if not k.endswith("logit_scale")})
    with torch.no_grad():
        for block, other in zip(scaled.blocks, plain.blocks, strict=True):
            assert isinstance(block.attention, SelfAttention)
            assert block.attention.logit_scale is not None
            block.attention.logit_scale.fill_(0.7)
            other.attention.query_norm.weight.mul_(np.exp(0.7))
    for name, value in outputs(scaled, lowering).items():
        torch.testing.assert_close(value, outputs(plain, lowering)[name], atol=1e-5, rtol=1e-4)


def test_a_model_with_all_of_them_is_exported_and_gives_the_same_numbers() -> None:
    from onnx_ir import to_proto

    from navit_edge_export.graph_export import export_graph, for_graph

    model = NaViT(
        small(
            depth=1,
            position_kind="table-bicubic",
            position_antialias=True,
            position_init="sin-cos",
            position_entries=5,
            logit_scale=True,
        )
    ).eval()
    graph = to_proto(export_graph(for_graph(model), "padded", ("logits", "embedding", "tokens")))
    found = run_graph(open_graph(graph), pack(IMAGES, patch_px=8).inputs())
    for name, value in outputs(model, "padded").items():
        np.testing.assert_allclose(found[name], value.numpy(), atol=2e-5)


def test_options_that_do_nothing_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="qk_norm is off; expected layer or rms with logit_scale"):
        small(qk_norm="off", logit_scale=True)
    with pytest.raises(InvalidInputError, match="position_init is sin-cos; expected random without a table"):
        small(position_kind="fourier", position_init="sin-cos")
