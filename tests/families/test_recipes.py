"""The page of recipes has one for every family; one of them runs here, all of them in `make verify-families`."""

from __future__ import annotations

from pathlib import Path

import pytest
import recipes

from navit_edge_export.families.registry import FAMILIES


def test_every_family_has_a_recipe_and_every_recipe_a_family() -> None:
    found = recipes.sections()
    assert set(found) - {recipes.LANGUAGE} == {row.name for row in FAMILIES}
    assert all(blocks for blocks in found.values())


def test_a_recipe_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.run("siglip2", tmp_path)
    assert (tmp_path / "siglip2" / "embedding.npy").is_file()
