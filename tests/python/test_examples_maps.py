"""The examples on values of patches do their job, on a small bundle: search, inspection of parts."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import navit_edge as ne
from navit_edge.bundle import manifest as manifests


def example(repository: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "examples"))
    return importlib.import_module(name)


def test_search_finds_an_image_embeds_only_what_is_new_and_says_if_there_are_no_words(
    repository: Path, job_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = example(repository, "search", monkeypatch)
    folder, index = tmp_path / "photos", tmp_path / "photos.index"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = {f"{n}.png": rng.integers(0, 256, (40 + 8 * n, 56, 3), np.uint8) for n in range(5)}
    for name, pixels in list(images.items())[:4]:
        Image.fromarray(pixels).save(folder / name)
    (folder / "torn.png").write_bytes(b"no image")
    search.build_index(job_bundle, folder, index)
    Image.fromarray(images["4.png"]).save(folder / "4.png")
    monkeypatch.setattr(sys, "argv", ["search.py", *map(str, (job_bundle, folder)), "--image", str(folder / "2.png")])
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", printed.append)
    search.main()
    assert len(printed) == 5
    assert printed[0] == f"1.000  {folder / '2.png'}"
    rows = [json.loads(line)["file"] for line in (index / "index.jsonl").read_text().splitlines()]
    assert sorted(Path(row).name for row in rows) == [*sorted(images), "torn.png"]
    assert Path(rows[-1]).name == "4.png"  # the second call ran it alone
    files, embeddings = search.load_index(index)
    assert len(files) == len(embeddings) == 5
    with ne.Session(job_bundle) as session:
        for file, embedding in zip(files, embeddings, strict=True):
            (result,) = session.run([file])
            np.testing.assert_allclose(search.unit(result.embedding[None])[0], embedding, atol=1e-5)
    monkeypatch.setattr(sys, "argv", ["search.py", *map(str, (job_bundle, folder)), "--text", "a boat"])
    with pytest.raises(SystemExit, match="text"):
        search.main()


def test_auroc_is_scikit_learns(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_parts = example(repository, "inspect_parts", monkeypatch)
    rng = np.random.default_rng(0)
    for scores in (rng.normal(size=200), rng.integers(0, 5, 200)):
        bad = rng.random(200) < 0.3
        assert inspect_parts.auroc(scores, bad) == pytest.approx(roc_auc_score(bad, scores), abs=1e-12)


def test_defects_of_drawn_parts_are_found_where_they_are(
    repository: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect_parts = example(repository, "inspect_parts", monkeypatch)
    with ne.Session(tiny_bundle, precision="fp32") as session:
        found = inspect_parts.drawn_parts(session, manifests.load(tiny_bundle), tmp_path, 10)
    assert found["pixels"] > 0.6, found  # chance: 0.5; the weights are random, so images are not told apart
    assert {path.stem for path in tmp_path.iterdir()} == {"good", *inspect_parts.DEFECTS}
    part = inspect_parts.draw_part(np.random.default_rng(1))
    assert not part.wrong.any()
    assert part.pixels.shape[:2] == part.wrong.shape


def test_what_good_parts_never_show_fails_and_good_ones_pass(
    repository: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect_parts = example(repository, "inspect_parts", monkeypatch)
    rng = np.random.default_rng(0)
    parts = [rng.integers(90, 110, (96, 16 * columns, 3), np.uint8) for columns in (4, 5, 6, 7) * 5]
    test = [part.copy() for part in parts[16:] * 2]
    for part in test[4:]:
        part[20:50, 20:50] = (255, 0, 0)
    with ne.Session(tiny_bundle, precision="fp32") as session:
        found, limit, results = inspect_parts.inspect(session, manifests.load(tiny_bundle), parts[:16], test)
    scores = [inspect_parts.score(one) for one in found]
    assert max(scores[:4]) < 1.5 * limit < min(scores[4:]), (limit, scores)
    for result, one in zip(results[4:], found[4:], strict=True):
        worst = np.unravel_index(np.argmax(result.on_image(one)), result.pixels)
        assert (np.abs(np.array(worst) - 35) <= 31).all(), worst  # in the mark, or in a patch that it reaches into
