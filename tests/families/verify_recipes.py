"""Every family's recipe of docs/family-recipes.md, as it stands: `make verify-families` names this file."""

from __future__ import annotations

from pathlib import Path

import pytest
import recipes


@pytest.mark.parametrize("family", [name for name in recipes.sections() if name != recipes.LANGUAGE])
def test_the_recipe_runs(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.run(family, tmp_path, more=recipes.LANGUAGE if family == "qwen3-vl" else "")
