"""Tables resampled in the graph against torch's own interpolation."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from navit_edge_export.positions import InterpolatedFactors, InterpolatedTable, Resampling
from navit_edge_export.positions import interpolated as module

#: torch's antialiased interpolation is wrong on a CPU where the output is one column wide.
GRIDS = ((1, 1), (1, 9), (9, 1), (2, 3), (7, 6), (13, 30), (40, 25), (5, 64))


def tokens_of(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A prefix token, then every patch of a grid: positions and grids [T, 2]."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    patches = torch.stack([row.flatten(), column.flatten()], dim=1)
    positions = torch.cat([torch.full((1, 2), -1), patches]).int()
    return positions, torch.tensor([[rows, columns]]).int().expand(len(positions), 2)


@pytest.mark.parametrize("form", ["product", "gathers"])
@pytest.mark.parametrize(
    ("kernel", "antialias", "align_corners"),
    [
        (kernel, *flags)
        for kernel, flags in itertools.product(("bilinear", "bicubic"), ((True, False), (False, False), (False, True)))
    ],
)
def test_a_table_is_resampled_as_torch_does_it(
    kernel: str, antialias: bool, align_corners: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "gathers" and antialias:
        monkeypatch.setattr(
            module, "taps", None
        )  # never asked for: an antialiased kernel reaches any number of entries
    monkeypatch.setattr(module, "DENSE_ENTRIES_PER_TAP", 1000 if form == "product" else 0)
    generator = torch.Generator().manual_seed(0)
    for entries in ((7, 6), (16, 16)):
        table = InterpolatedTable(
            5, *entries, Resampling(kernel=kernel, antialias=antialias, align_corners=align_corners)
        )
        table.table.data = torch.randn(table.table.shape, generator=generator)
        image = table.table.data.view(1, *entries, 5).permute(0, 3, 1, 2)
        for rows, columns in GRIDS:
            if antialias and columns == 1:
                continue
            found = table(*tokens_of(rows, columns))[1:]
            expected = functional.interpolate(
                image, (rows, columns), mode=kernel, antialias=antialias, align_corners=align_corners
            )
            assert torch.allclose(found, expected[0].flatten(1).T, atol=2e-5, rtol=0), (entries, rows, columns)


def test_a_square_table_is_read_in_part() -> None:
    table = InterpolatedTable(5, 7, 6, Resampling(kernel="bicubic", antialias=True, square=True))
    table.table.data = torch.randn(table.table.shape, generator=torch.Generator().manual_seed(0))
    image = table.table.data.view(1, 7, 6, 5).permute(0, 3, 1, 2)
    for rows, columns in ((3, 11), (9, 2)):
        side = max(rows, columns)
        expected = functional.interpolate(image, (side, side), mode="bicubic", antialias=True)[0, :, :rows, :columns]
        found = table(*tokens_of(rows, columns))[1:]
        assert torch.allclose(found, expected.flatten(1).T, atol=2e-5, rtol=0)


def test_factors_are_resampled_as_torch_does_it() -> None:
    factors = InterpolatedFactors(5, 7, 6, Resampling())
    for table in (factors.row["table"], factors.column["table"]):
        table.data = torch.randn(table.shape, generator=torch.Generator().manual_seed(table.shape[0]))
    for rows, columns in GRIDS:
        row, column = (
            functional.interpolate(table.data.T[None], side, mode="linear")[0].T
            for table, side in ((factors.row["table"], rows), (factors.column["table"], columns))
        )
        found = factors(*tokens_of(rows, columns))[1:]
        assert torch.allclose(found, (row[:, None] + column).flatten(0, 1), atol=2e-5, rtol=0)


def test_positions_stay_finite_for_padding_and_prefix_rows() -> None:
    positions = torch.tensor([[-1, -1], [-3, -3], [0, 0]]).int()
    for how in (Resampling(antialias=True), Resampling(kernel="bicubic"), Resampling(align_corners=True)):
        table = InterpolatedTable(4, 5, 5, how)
        assert table(positions, torch.ones(3, 2).int()).isfinite().all()


def test_an_unknown_kernel_and_a_contradiction_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of bilinear, bicubic"):
        Resampling(kernel="area")
    with pytest.raises(ValueError, match="align_corners and antialias"):
        Resampling(antialias=True, align_corners=True)
