"""Datasets and packs of pixels: what is read, in which process, and what happens to what cannot be read."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stripes import CLASSES, stripes

from navit_edge.errors import InvalidInputError
from navit_edge_export.preprocess import pack, prepare
from navit_edge_export.training.augment import Augment
from navit_edge_export.training.dataset import ArrayDataset, read_folder
from navit_edge_export.training.loader import Loader, PackMaker, TrainingPack
from navit_edge_export.training.mix import Mix
from navit_edge_export.training.packing import PackingOptions, Step, TransformerCost, WindowPlanner, gather_steps
from navit_edge_export.training.resolution import Resolution, ResolutionPools
from navit_edge_export.training.token_drop import TokenDrop

COST = TransformerCost(width=64, mlp_width=256, depth=2)


def planned(data: ArrayDataset, drop: TokenDrop | None = None) -> list[Step]:
    made = WindowPlanner(
        sizes=data.sizes,
        patch_px=8,
        prefix_tokens=1,
        resolution=ResolutionPools(pools=(Resolution(kind="native", max_px=64),)),
        drop=drop or TokenDrop(),
        packing=PackingOptions(tokens_per_step=150),
    )
    return gather_steps(made.packs(0, token_budget=100), tokens_per_step=150, cost=COST)


def same(a: TrainingPack, b: TrainingPack) -> bool:
    arrays = zip(a.pack.inputs().values(), b.pack.inputs().values(), strict=True)
    return all(np.array_equal(x, y) for x, y in arrays) and np.array_equal(a.targets, b.targets)


def test_a_pack_without_augmentation_is_the_reference_pack_of_the_same_images() -> None:
    data = stripes(12)
    steps = planned(data)
    maker = PackMaker(dataset=data, patch_px=8, prefix_tokens=1)
    for step, packs in Loader(maker).packs(steps):
        for spec, made in zip(step.packs, packs, strict=True):
            images = [prepare(data.images[one.example], patch_px=8, max_tokens=64) for one in spec.images]
            expected = pack(images, patch_px=8, prefix_tokens=1).inputs()
            for name, value in made.pack.inputs().items():
                assert np.array_equal(value, expected[name]), name
            assert made.targets.argmax(1).tolist() == [data.labels[one.example] for one in spec.images]


def test_worker_processes_give_the_same_bytes_in_the_same_order() -> None:
    data = stripes(32)
    steps = planned(data, TokenDrop(kind="beta", rate=0.4))
    augment = Augment(flip=0.5, crop=0.5, brightness=0.2, contrast=0.2, saturation=0.2, gray=0.1)
    maker = PackMaker(dataset=data, patch_px=8, prefix_tokens=1, augment=augment, mix=Mix(mixup=0.4, cutmix=1.0))
    here = list(Loader(maker).packs(steps))
    loader = Loader(maker, workers=2)
    next(loader.packs(steps))  # what is left behind is not what comes next
    for asked in (steps, steps[1:]):
        there = list(loader.packs(asked))
        assert [step for step, _ in there] == asked
        for (_, a), (_, b) in zip(here[len(steps) - len(asked) :], there, strict=True):
            assert all(map(same, a, b))
    loader.close()
    assert not multiprocessing.active_children()


def test_half_of_a_pack_is_the_pack_of_its_images() -> None:
    data = stripes(8)
    maker = PackMaker(dataset=data, patch_px=8, prefix_tokens=1)
    whole = next(one for _, packs in Loader(maker).packs(planned(data)) for one in packs if len(one.images) > 2)
    first, second = whole.halves()
    assert first.images + second.images == whole.images
    for part in (first, second):
        images = [prepare(data.images[one.example], patch_px=8, max_tokens=64) for one in part.images]
        expected = pack(images, patch_px=8, prefix_tokens=1).inputs()
        for name, value in part.pack.inputs().items():
            assert np.array_equal(value, expected[name]), name


def write_images(folder: Path) -> None:
    for name, count in (("cats", 3), ("dogs", 2)):
        (folder / name / "more").mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(np.full((20 + i, 30, 3), 40 * i, np.uint8))
            image.save(folder / name / ("more" if i == 1 else "") / f"{i}.png")


def test_a_folder_of_class_folders_is_read_and_what_does_not_open_is_counted(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    data = read_folder(tmp_path)
    assert data.class_names == ["cats", "dogs"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert sorted(map(tuple, data.sizes.tolist())) == [(20, 30), (20, 30), (21, 30), (21, 30), (22, 30)]
    assert len(data.unreadable) == 1
    assert "broken.png" in data.unreadable[0]
    for index in range(5):
        assert data.read(index).shape[:2] == tuple(data.sizes[index])


def test_folders_that_nothing_can_be_learned_from_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path)
    with pytest.raises(InvalidInputError, match="is no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="the class 'dogs', which is none of the 1 known ones"):
        read_folder(tmp_path, class_names=["cats"])
    with pytest.raises(InvalidInputError, match="no folder for the class 'birds'"):
        read_folder(tmp_path, class_names=["cats", "dogs", "birds"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="the class 'empty' has no image that opens"):
        read_folder(tmp_path)
    with pytest.raises(InvalidInputError, match="found 0 classes; expected at least 2"):
        read_folder(tmp_path / "empty")


def test_an_image_that_fails_when_it_is_decoded_is_left_out_and_told() -> None:
    class Failing(ArrayDataset):
        def read(self, index: int) -> np.ndarray:  # type: ignore[type-arg]
            if index % 2:
                raise InvalidInputError(f"image {index} is broken")
            return super().read(index)

    data = stripes(8)
    broken = Failing(images=data.images, labels=data.labels, class_names=CLASSES)
    maker = PackMaker(dataset=broken, patch_px=8, prefix_tokens=1, mix=Mix(mixup=0.5))
    made = [one for _, packs in Loader(maker).packs(planned(data)) for one in packs]
    assert sorted(image.example for one in made for image in one.images) == [0, 2, 4, 6]
    told = sorted(reason for one in made for reason in one.unreadable)
    assert set(told) <= {f"image {i} is broken" for i in (1, 3, 5, 7)}
    for one in made:
        assert len(one.pack.grid_hw) == len(one.images) == len(one.targets)
