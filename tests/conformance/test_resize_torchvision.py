"""`navit_edge.resize(processor="torchvision")` against torch and torchvision: no byte may differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne
from navit_edge.vocabulary import FILTERS, Filter

torch = pytest.importorskip("torch")
import torchvision_operators  # noqa: E402, F401  before torchvision
from torchvision.transforms.v2 import InterpolationMode, functional  # noqa: E402

UInt8Array = npt.NDArray[np.uint8]
NAMES: tuple[Filter, ...] = ("bilinear", "bicubic")

#: Without AVX2, as on 64-bit ARM, torch is wrong for results one pixel wide, and torchvision resizes floats.
VECTORS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def torch_resized(image: UInt8Array, target: tuple[int, int], name: str) -> UInt8Array:
    """[height_px, width_px, C], by torch from planes; from interleaved pixels it must give the same.

    Torch 2.13 stops at an assertion of its own where planes of three channels become one pixel.
    """
    interleaved = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    one_pixel = image.shape[2] == 3 and target == (1, 1)
    planes, other = (
        torch.nn.functional.interpolate(given, size=target, mode=name, antialias=True)
        for given in (interleaved if one_pixel else interleaved.contiguous(), interleaved)
    )
    assert not VECTORS or torch.equal(planes, other)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def random_side(rng: np.random.Generator, least: int) -> int:
    """`least` to 900, every order of magnitude as often."""
    return int(np.exp(rng.uniform(np.log(least), np.log(901))))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_no_byte_differs_from_torch_at_random_sizes(name: Filter, channels: int) -> None:
    """340 sizes for each of the 6 pairs: 2,040 in all, up and down, extreme aspects among them."""
    rng = np.random.default_rng([NAMES.index(name), channels])
    for _ in range(340):
        image = rng.integers(0, 256, (random_side(rng, 1), random_side(rng, 1), channels), dtype=np.uint8)
        target = random_side(rng, 1), random_side(rng, 1 if VECTORS else 2)
        found = ne.resize(image, target, name, processor="torchvision")
        assert np.array_equal(found, torch_resized(image, target, name)), (image.shape, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4000, 1), (1, 4000)),
        ((1, 4000), (4000, 2)),
        ((4000, 500), (16, 480)),  # Pillow 13 goes down first here, torch never does
        ((2000, 2000), (3, 2)),
        ((1, 1), (300, 300)),
        ((1, 3000), (1, 7)),
        ((3000, 1), (7, 16)),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_no_byte_differs_from_torch_at_extreme_sizes(
    name: Filter, source: tuple[int, int], target: tuple[int, int]
) -> None:
    for channels in (1, 3, 4):
        image = np.random.default_rng(channels).integers(0, 256, (*source, channels), dtype=np.uint8)
        found = ne.resize(image, target, name, processor="torchvision")
        assert np.array_equal(found, torch_resized(image, target, name))


@pytest.mark.skipif(not VECTORS, reason="torchvision resizes 8-bit pixels as floats on this CPU")
@pytest.mark.parametrize("name", NAMES)
def test_photographs_come_out_as_torchvision_makes_them(name: Filter, photographs: dict[str, UInt8Array]) -> None:
    differing = 0
    for image in photographs.values():
        for target in ((224, 224), (16, 512), (448, 32), (image.shape[0], 100), (100, image.shape[1])):
            found = ne.resize(image, target, name, processor="torchvision")
            tensor = torch.from_numpy(image).permute(2, 0, 1)
            mode = InterpolationMode(name)
            expected = functional.resize(tensor, list(target), interpolation=mode, antialias=True)
            assert np.array_equal(found, expected.permute(1, 2, 0).numpy())
            differing += int((found != ne.resize(image, target, name)).sum())
    assert differing > 0  # from Pillow's: the two are not one


def test_an_image_that_keeps_its_size_keeps_its_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (23, 31, 4), dtype=np.uint8)
    assert np.array_equal(ne.resize(image, (23, 31), processor="torchvision"), image)


@pytest.mark.parametrize("name", sorted(set(FILTERS) - set(NAMES)))
def test_filters_that_torch_does_not_have_are_refused(name: Filter) -> None:
    with pytest.raises(ne.InvalidInputError, match=f"filter is '{name}'; expected bilinear or bicubic"):
        ne.resize(np.zeros((4, 4, 3), np.uint8), (2, 2), name, processor="torchvision")


def test_an_unknown_processor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ne.InvalidInputError, match=r"processor is 'opencv'; expected one of pillow, torchvision"):
        ne.resize(np.zeros((4, 4, 3), np.uint8), (2, 2), processor="opencv")  # type: ignore[arg-type]
