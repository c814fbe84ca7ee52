"""What goes wrong is told by its own class with its remedy, and the session goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne

if TYPE_CHECKING:
    from conftest import OpenSession

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.zeros((0, 16, 3), np.uint8), id="no rows"),
        pytest.param(np.zeros((16, 16, 5), np.uint8), id="five channels"),
        pytest.param(np.zeros((16, 16, 3), np.float32), id="floats"),
        pytest.param("no/such/file.png", id="no file"),
    ],
)
def test_a_bad_image_fails_alone_and_the_others_keep_their_bits(
    session: ne.Session, photographs: Photographs, bad: Any
) -> None:
    good = [photographs["cat"], photographs["page"]]
    expected = session.run(good)
    first, failed, second = session.run([good[0], bad, good[1]], on_error="return")
    assert isinstance(failed.error, ne.InvalidInputError)
    assert failed.logits is None
    for found, wanted in zip((first, second), expected, strict=True):
        assert found.error is None
        assert found.logits.tobytes() == wanted.logits.tobytes()
        assert found.tokens.tobytes() == wanted.tokens.tobytes()
    with pytest.raises(ne.InvalidInputError):
        session.run([good[0], bad, good[1]])
    assert session.run(good)[0].logits.tobytes() == expected[0].logits.tobytes()


def test_an_empty_list_is_refused(session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match="empty"):
        session.run([])


def test_an_engine_file_that_was_altered_is_not_opened(
    session: ne.Session, open_session: OpenSession, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(open_session.bundle, tmp_path / "copy.navit"))  # type: ignore[attr-defined]
    for file in (copy / "engines").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(ne.BundleError, match="engines/") as raised:
        open_session(bundle=copy)
    assert "build-engine" in str(raised.value) or "restore" in str(raised.value)


def test_a_report_says_what_runs(session: ne.Session) -> None:
    report = session.engine_report
    assert report["library"] in ("OpenVINO", "TensorRT")
    assert report["slots"] >= 1
    assert report["host_memory"] in ("the caller's", "pinned", "mapped")
    assert report.get("warnings", []) == []
