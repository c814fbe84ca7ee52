"""One small bundle for the servers of this folder, and what their tests share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from in_process import Ask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from tiny_bundle import make_job_bundle


@pytest.fixture(scope="session")
def job_bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """One layer, width 64, patches of 4 pixels, 5 classes; an OpenVINO engine in float32."""
    return made_once("job", make_job_bundle) / "tiny.navit"


@pytest.fixture
def own_copy(job_bundle: Path, tmp_path: Path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(job_bundle, tmp_path / "copy.navit"))


@pytest.fixture(scope="module")
def ask(job_bundle: Path) -> Iterator[Ask]:
    """Asks the HTTP application of a server with the model "tiny"."""
    from in_process import asking

    with asking(job_bundle) as ask:
        yield ask
