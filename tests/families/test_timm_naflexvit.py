"""timm's NaFlexVit against timm."""

from __future__ import annotations

from pathlib import Path

import pytest
from parity import check_parity, check_parity_in_pytorch
from timm_cases import CASES, EXPORTED, make_timm, oracle_of, save_folder

from navit_edge_export.families.registry import import_checkpoint


@pytest.mark.parametrize("case", CASES)
def test_the_packed_model_is_timm_one_image_at_a_time(case: str, tmp_path: Path) -> None:
    theirs = make_timm(case)
    imported = import_checkpoint(save_folder(theirs, case, tmp_path / "folder"))
    assert imported.family == "timm-naflexvit"
    check_parity_in_pytorch(imported.model, oracle_of(theirs))


@pytest.mark.parametrize("case", EXPORTED)
def test_a_packed_run_of_the_graphs_is_timm_one_image_at_a_time(case: str, tmp_path: Path) -> None:
    theirs = make_timm(case)
    imported = import_checkpoint(save_folder(theirs, case, tmp_path / "folder"))
    print(case, check_parity(imported.model, oracle_of(theirs), tmp_path))
