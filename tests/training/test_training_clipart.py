"""The clip art data set: its committed list, and what the script does with a folder of files."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from navit_edge.evaluate.data import read_examples
from navit_edge_export.training.dataset import read_folder


@pytest.fixture(scope="module")
def clipart(repository: Path) -> ModuleType:
    """examples/train/clipart.py."""
    sys.path.insert(0, str(repository / "examples/train"))
    try:
        import clipart
    finally:
        sys.path.pop(0)
    return clipart


def test_no_file_is_in_both_parts_and_none_is_there_twice(clipart: ModuleType) -> None:
    images = clipart.read_list()
    for field in ("name", "sha256", "place"):
        assert max(Counter(getattr(image, field) for image in images).values()) == 1, field
    assert {image.part for image in images} == {"train", "test"}


def test_no_test_image_looks_nearly_like_a_training_image(clipart: ModuleType) -> None:
    images = clipart.read_list()
    bits = np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(image.bits), np.uint8)) for image in images])
    is_test = np.array([image.part == "test" for image in images])
    assert bits.shape[1] == 192
    nearest = min(int((bits[~is_test] != row).sum(1).min()) for row in bits[is_test])
    assert nearest >= 6


def test_no_test_image_is_like_a_training_image_to_dinov2(clipart: ModuleType, repository: Path) -> None:
    images = clipart.read_list()
    stored = np.load(repository / "tests/data/clipart/embeddings.npz")
    place = {name: number for number, name in enumerate(stored["sha256"].tolist())}
    assert set(place) == {image.sha256 for image in images}
    rows = stored["embedding"][[place[image.sha256] for image in images]].astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    is_test = np.array([image.part == "test" for image in images])
    cosine = unit[is_test] @ unit.T
    assert cosine[:, ~is_test].max() < 0.955  # 0.95, and what 8 bits change
    assert np.sort(cosine[:, is_test], axis=1)[:, -2].max() < 0.955  # the largest is the image's with itself


def test_the_committed_sample_is_of_the_list(clipart: ModuleType, repository: Path) -> None:
    known = {(image.part, image.label, image.sha256[:12]) for image in clipart.read_list()}
    found = [
        path.relative_to(repository / "tests/data/clipart")
        for path in (repository / "tests/data/clipart").rglob("*.png")
    ]
    assert len(found) == 320
    assert {(path.parts[0], path.parts[1], path.stem) for path in found} <= known


def test_every_class_has_images_to_learn_and_a_fifth_to_a_third_for_test(clipart: ModuleType) -> None:
    images = clipart.read_list()
    train, test = (Counter(image.label for image in images if image.part == part) for part in ("train", "test"))
    assert set(train) == set(test)
    assert len(train) >= 10
    for label in train:
        assert train[label] >= 20, label
        assert 0.15 <= test[label] / (test[label] + train[label]) <= 0.35, label


@pytest.fixture
def source(tmp_path: Path, clipart: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of four files, and a list of them."""
    folder, rows = tmp_path / "source", []
    folder.mkdir()
    for number, (label, part) in enumerate((("a", "train"), ("b", "train"), ("a", "test"), ("b", "test"))):
        pixels = np.random.default_rng(number).integers(0, 256, (100, 300, 4), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        sha256 = hashlib.sha256((folder / f"{number}.png").read_bytes()).hexdigest()
        rows.append([f"{number}.png", label, part, sha256, ""])
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[field.name for field in dataclasses.fields(clipart.ClipArt)], *rows])
    monkeypatch.setattr(clipart.read_list, "__defaults__", (path,))
    return folder


def test_the_script_makes_folders_that_training_and_evaluate_read(
    clipart: ModuleType, source: Path, tmp_path: Path
) -> None:
    clipart.write(tmp_path / "made", source, train_side_px=120)
    train = read_folder(tmp_path / "made/train")
    assert train.class_names == ["a", "b"]
    assert train.sizes.tolist() == [[40, 120], [40, 120]]
    assert train.read(0).shape == (40, 120, 4)  # transparency stays
    test = read_examples(tmp_path / "made/test.csv")
    assert test.labels == ["a", "b"]
    assert [Path(one.path).read_bytes() for one in test.examples] == [
        (source / f"{n}.png").read_bytes() for n in (2, 3)
    ]


def test_the_script_names_the_package_if_a_file_is_missing_or_another(
    clipart: ModuleType, source: Path, tmp_path: Path
) -> None:
    (source / "2.png").write_bytes(b"another")
    with pytest.raises(SystemExit, match="another file than the list means: SHA-256"):
        clipart.write(tmp_path / "made", source, train_side_px=0)
    (source / "2.png").unlink()
    with pytest.raises(SystemExit, match=r"1 of 4 files are missing.* apt-get install openclipart-png"):
        clipart.write(tmp_path / "made", source, train_side_px=0)
    assert not (tmp_path / "made").exists()


def test_the_script_runs_as_a_command(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / "examples/train/clipart.py", tmp_path / "made", "--source", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "install them: apt-get install openclipart-png" in done.stderr
