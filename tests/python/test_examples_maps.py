"""The examples on values of patches do their job, on a small bundle: search, inspection of parts, segmentation."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import navit_edge as ne


def example(repository: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "examples"))
    return importlib.import_module(name)


def run(repository: Path, *arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    finished = subprocess.run(command, cwd=repository / "examples", capture_output=True, text=True, check=False)
    return finished.stdout + finished.stderr


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
        found = inspect_parts.drawn_parts(session, tmp_path, 10)
    assert found["pixels"] > 0.7, found  # chance: 0.5; the weights are random
    assert found["images"] > 0.6, found
    assert {path.stem for path in tmp_path.iterdir()} == {"good", *inspect_parts.DEFECTS}
    part = inspect_parts.draw_part(np.random.default_rng(1))
    assert not part.wrong.any()
    assert part.pixels.shape[:2] == part.wrong.shape


def test_strokes_become_a_segmentation(
    repository: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two textures in an image that is scaled down; a short stroke in each."""
    segment = example(repository, "segment", monkeypatch)
    rng = np.random.default_rng(0)
    truth = np.hypot(*np.mgrid[-160:160, -200:200]) < 120
    stripes = (np.mgrid[:320, :400][1] // 3 % 2 * 150 + 50).astype(np.uint8)
    noise = rng.integers(100, 140, (320, 400)).astype(np.uint8)
    image = np.repeat(np.where(truth, stripes, noise)[..., None], 3, axis=2)
    strokes = np.zeros((320, 400, 4), np.uint8)
    strokes[150:170, 150:250] = (255, 0, 0, 255)
    strokes[10:30, 20:380] = (0, 0, 255, 255)
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    arguments = [tmp_path / "image.png", tmp_path / "strokes.png", "-o", tmp_path / "out.png", "--bundle", tiny_bundle]
    monkeypatch.setattr(sys, "argv", ["segment.py", *map(str, arguments), "--also", str(tmp_path / "image.png")])
    segment.main()
    assert Image.open(tmp_path / "out.png").size == Image.open(tmp_path / "out-image.png").size == (800, 320)
    said = segment.read_strokes(Image.fromarray(strokes))
    assert said.colours.tolist() == [[0, 0, 255], [255, 0, 0]]
    with ne.Session(tiny_bundle) as session:
        (result,) = session.run([image])
    found = segment.segment(
        result, segment.fit(segment.unit_tokens(result), segment.classes_of_tokens(result, said), 2)
    )
    assert (found == truth).mean() > 0.9
    with pytest.raises(SystemExit, match="1 colours; expected a colour for each class"):
        segment.read_strokes(Image.fromarray(strokes[:100]))
