"""A fuzz target of atheris: bytes become sizes, strides, formats, filters, alpha and sizing rules for `navit_edge`'s
`pack`, `resize` and `to_rgb`. Each gives a result or InvalidInputError; what has a plain reference must equal it.

    python tests/fuzz/fuzz_preprocess.py -runs=100000 [CORPUS]      # libFuzzer's options; see `make fuzz`

Python steers by coverage, the C++ below is not instrumented: csrc/tests/pixels/pixels_fuzz_test.cc does the same under
the address sanitizer.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["navit_edge", "navit_edge_export"]):
    import navit_edge as ne
    from navit_edge.bundle.sizing_rule import FIELDS, RULES, Sizing, fault
    from navit_edge.vocabulary import FITS
    from navit_edge_export import preprocess

import numpy as np
import numpy.typing as npt

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
FORMATS = ("array", "gray", "rgb", "bgr", "rgbx", "bgrx", "rgba", "bgra", "nv12", "i420")
CHANNELS = {"gray": 1, "rgb": 3, "bgr": 3, "rgbx": 4, "bgrx": 4, "rgba": 4, "bgra": 4}
MOST_PX = 200
INPUT_BYTES = 96
COMPLETED = [0]  # cases that ran to their end


def main() -> None:
    arguments = [sys.argv[0], "-len_control=0", "-reduce_inputs=0", f"-max_len={INPUT_BYTES}", *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as corpus:  # what libFuzzer starts from: nothing grows out of an empty input
        rng = np.random.default_rng(0)
        for index in range(64):
            (Path(corpus) / str(index)).write_bytes(rng.bytes(INPUT_BYTES))
        if all(argument.startswith("-") for argument in sys.argv[1:]):
            arguments.append(corpus)
        atheris.Setup(arguments, one_input)
        atheris.Fuzz()


@atheris.instrument_func
def one_input(data: bytes) -> None:
    """One case. Anything raised but InvalidInputError is a finding."""
    dice = atheris.FuzzedDataProvider(data)
    try:
        image = draw_image(dice)
        rgb = ne.to_rgb(image, alpha=dice.PickValueInList(["drop", "composite", "reject"]))
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3
        kind = dice.PickValueInList(list(FILTERS))
        check_resize(rgb, (dice.ConsumeIntInRange(0, MOST_PX), dice.ConsumeIntInRange(0, MOST_PX)), kind)
        check_pack(image, rgb, dice, kind)
    except ne.InvalidInputError as error:
        if len(str(error)) < 20:
            raise RuntimeError("an error that says nothing") from error
        return
    COMPLETED[0] += 1
    if COMPLETED[0] % 100 == 0:
        print(f"{COMPLETED[0]} cases ran to their end", file=sys.stderr, flush=True)


@atheris.instrument_func
def draw_image(dice: Any) -> Any:
    """An image of any form, right or wrong: an array, or Pixels over one to three planes, strided, flipped or empty."""
    form = dice.PickValueInList(list(FORMATS))
    height, width = dice.ConsumeIntInRange(0, MOST_PX), dice.ConsumeIntInRange(0, MOST_PX)
    if form == "array":
        shape = (height, width, dice.ConsumeIntInRange(0, 5))
        return strided(dice, shape if dice.ConsumeBool() else shape[:2])
    if form in CHANNELS:
        channels = CHANNELS[form] if dice.ConsumeIntInRange(0, 9) else dice.ConsumeIntInRange(0, 5)
        shape = (height, width, channels) if channels != 1 or dice.ConsumeBool() else (height, width)
        return ne.Pixels(strided(dice, shape), form)
    half = ((height + 1) // 2, (width + 1) // 2)
    if dice.ConsumeIntInRange(0, 9) == 0:
        half = (half[0], half[1] + 1)
    chroma = [strided(dice, (*half, 2))] if form == "nv12" else [strided(dice, half), strided(dice, half)]
    matrix = dice.PickValueInList(["bt601", "bt709"])
    span = dice.PickValueInList(["limited", "full"])
    return ne.Pixels([strided(dice, (height, width)), *chroma], form, matrix=matrix, range=span)


@atheris.instrument_func
def strided(dice: Any, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Random bytes in a view: rows further apart, in reverse order, or every second pixel (which is refused)."""
    gap = dice.ConsumeIntInRange(0, 7) if dice.ConsumeBool() else 0
    rng = np.random.default_rng(dice.ConsumeIntInRange(0, 255))
    memory = rng.integers(0, 256, (shape[0], shape[1] + gap, *shape[2:]), dtype=np.uint8)
    view = memory[:, : shape[1]]
    if dice.ConsumeBool():
        view = view[::-1]
    return view[:, ::2] if dice.ConsumeIntInRange(0, 19) == 0 else view


@atheris.instrument_func
def check_resize(rgb: npt.NDArray[np.uint8], size: tuple[int, int], kind: str) -> None:
    """Against Pillow."""
    found = ne.resize(rgb, size, kind)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, preprocess.resize(rgb, *size, resample=kind))


@atheris.instrument_func
def check_pack(image: Any, rgb: npt.NDArray[np.uint8], dice: Any, kind: str) -> None:
    """The image twice in one pack, by a random sizing rule, against numpy and Pillow."""
    patch_px = dice.PickValueInList([1, 2, 4, 7, 14, 16])
    sizing = draw_sizing(dice, patch_px)
    if fault(sizing, patch_px):
        return
    prepared = preprocess.prepare(rgb, patch_px=patch_px, sizing=sizing, resample=kind)
    if prepared.shape[0] * prepared.shape[1] > 4 * MOST_PX**2:
        return
    expected = preprocess.pack([prepared, prepared], patch_px=patch_px, prefix_tokens=1).inputs()
    found = ne.pack(
        [rgb, rgb], patch_px=patch_px, sizing=sizing, prefix_tokens=1, filter=kind, threads=dice.ConsumeIntInRange(1, 3)
    )  # type: ignore[arg-type]
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@atheris.instrument_func
def draw_sizing(dice: Any, patch_px: int) -> Sizing:
    """Any rule, its fields right more often than not."""
    rule = dice.PickValueInList(list(RULES))
    draws: dict[str, Any] = {
        "max_tokens": lambda: dice.ConsumeIntInRange(0, 400),
        "upscale": dice.ConsumeBool,
        "fit": lambda: dice.PickValueInList(list(FITS)),
        "pad_rgb": lambda: (dice.ConsumeIntInRange(0, 255), 0, 255),
        "merge": lambda: dice.ConsumeIntInRange(0, 4),
        "enlarge": lambda: dice.PickValueInList(["off", "floor", "nearest"]),
        "min_pixels": lambda: dice.ConsumeIntInRange(0, 2000),
        "max_pixels": lambda: dice.ConsumeIntInRange(0, 40000),
        "longest_px": lambda: dice.ConsumeIntInRange(0, 300),
        "height_px": lambda: patch_px * dice.ConsumeIntInRange(0, 20),
        "width_px": lambda: patch_px * dice.ConsumeIntInRange(0, 20),
    }
    return Sizing(rule=rule, **{name: draws[name]() for name in FIELDS[rule]})


if __name__ == "__main__":
    main()
