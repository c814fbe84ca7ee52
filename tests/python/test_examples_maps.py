"""The examples on values of patches do their job, on a small bundle: search, inspection of parts, segmentation."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score, roc_auc_score

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


def test_strokes_become_masks_of_images_with_and_without_them(
    repository: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = example(repository, "segment", monkeypatch)
    colours = np.array([[200, 40, 40], [40, 200, 60], [60, 60, 220]], np.uint8)
    rng = np.random.default_rng(0)
    (tmp_path / "test").mkdir()
    true = {}
    for name, order in (("one", [0, 1, 2]), ("test/other", [2, 0, 1])):  # three bands of noise, each of its own colour
        true[name] = np.repeat(order, 96)[:, None].repeat(120, 1)
        noisy = colours[true[name]].astype(np.int64) + rng.integers(-30, 31, (288, 120, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    painted = np.array([[255, 0, 0], [0, 0, 255], [255, 255, 0]], np.uint8)  # not the image's own
    strokes = np.full((288, 120, 4), (90, 90, 90, 0), np.uint8)  # what is transparent has a colour all the same
    for band in range(3):
        strokes[96 * band + 44 : 96 * band + 52, 10:110] = (*painted[band], 255)
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    options = ["--bundle", tiny_bundle, "--images", tmp_path / "one.png", "--strokes", tmp_path / "strokes.png"]
    command = ["segment.py", *options, "--test", tmp_path / "test", "--folder", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    segment.main()
    for name, bands in true.items():
        stem = Path(name).name
        mask = np.asarray(Image.open(tmp_path / "out" / f"{stem}-mask.png").convert("RGB"))
        assert mask.shape == (288, 120, 3)
        found = (mask[:, :, None] == painted).all(-1)
        assert found.any(-1).all()  # each pixel has the colour of a stroke
        assert jaccard_score(bands.ravel(), found.argmax(-1).ravel(), average="macro") > 0.8
        with Image.open(tmp_path / "out" / f"{stem}.png") as picture:
            assert picture.size == (240, 288)


def test_a_patch_is_of_the_class_that_most_of_its_pixels_are_painted_with(
    repository: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = example(repository, "segment", monkeypatch)
    with ne.Session(tiny_bundle) as session:
        (result,) = session.run([np.zeros((96, 64, 3), np.uint8)])
    rows, columns = result.grid
    high, wide = 96 // rows, 64 // columns
    strokes = np.zeros((96, 64), np.int64)
    strokes[:high, : 2 * wide] = 1
    strokes[:high, wide + 1 : 2 * wide] = 2  # the second patch: one column of 1, the rest 2
    strokes[-1, -1] = 3
    found = segment.under_strokes(result, strokes, rows * columns)
    expected = np.zeros(rows * columns, np.int64)
    expected[[0, 1, -1]] = 1, 2, 3
    assert np.array_equal(found, expected)
    with pytest.raises(SystemExit, match=r"strokes are 64 x 96 pixels .* expected the same size"):
        segment.under_strokes(result, strokes.T, rows * columns)


def test_strokes_that_are_smoothed_or_of_one_class_are_refused(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = example(repository, "segment", monkeypatch)
    for name, pixels in (
        ("one", np.full((8, 8, 3), (255, 0, 0), np.uint8)),
        ("smooth", np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        with pytest.raises(SystemExit, match=r"the strokes have \d+ colours; expected 2 to 32"):
            segment.read_strokes([tmp_path / f"{name}.png"])


def test_mean_iou_is_scikit_learns_and_drawn_land_is_told_apart(
    repository: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = example(repository, "segment", monkeypatch)
    rng = np.random.default_rng(0)
    true, found = (rng.integers(1, 5, (3, 20, 30)) for _ in range(2))
    expected = jaccard_score(true.ravel(), found.ravel(), average=None)
    assert [*segment.mean_iou(found, true).values()] == pytest.approx([*expected], abs=1e-12)
    with ne.Session(tiny_bundle, precision="fp32") as session:
        judged = segment.drawn_land(session, manifests.load(tiny_bundle), tmp_path, 2)
    assert judged["mean IoU"] > 0.2, judged  # more than one class everywhere has; the weights are random
    assert judged["share of pixels painted"] < 0.03
    assert len([*tmp_path.glob("land-*.png")]) == 7
    land = segment.draw_land(np.random.default_rng(1))
    assert np.isin(land.classes, range(1, 1 + len(segment.LAND))).all()
    strokes = segment.draw_strokes(np.random.default_rng(2), land.classes)
    assert set(np.unique(strokes)) == {0, *np.unique(land.classes)}
    assert (strokes == land.classes)[strokes > 0].all()
