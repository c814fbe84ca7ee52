"""One bad image is its own error, whatever its decoder raises and whoever decodes it."""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from image_files import WRITTEN, encoded, picture
from PIL import Image, ImageFile, UnidentifiedImageError
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.decode import FORMATS, Decoder

GOOD = picture()


# --- whatever a decoder raises ----------------------------------------------------------------------------------


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED: dict[str, Exception] = {
    "memory": MemoryError(),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "struct": struct.error("unpack requires a buffer of 4 bytes"),
    "syntax": SyntaxError("broken chunk"),
    "zlib": zlib.error("Error -3 while decompressing data"),
    "overflow": OverflowError("Python int too large to convert to C long"),
    "warning": UserWarning("a warning made an error"),
    "key": KeyError(274),
    "attribute": AttributeError("'NoneType' object has no attribute 'seek'"),
    "not implemented": NotImplementedError("unknown pixel format"),
    "system": SystemError("tile cannot extend outside image"),
    "end": EOFError(),
    "unidentified": UnidentifiedImageError("cannot identify image file"),
    "unprintable": _UnprintableError(),
}


@pytest.fixture(scope="module")
def raising() -> Iterator[dict[str, Any]]:
    """A format RAISES: a decoder that raises what it is told, while it opens or while it loads."""
    told: dict[str, Any] = {"error": None, "while": "load"}

    class Raising(ImageFile.ImageFile):
        format = "RAISES"

        def _open(self) -> None:
            if told["while"] == "open":
                raise told["error"]
            self._size, self._mode = (8, 8), "RGB"
            self.tile = [("raw", (0, 0, 8, 8), 6, ("RGB", 0, 1))]  # type: ignore[list-item]

        def load(self) -> None:  # type: ignore[override]
            raise told["error"]

    Image.init()
    Image.register_open("RAISES", Raising, lambda prefix: prefix.startswith(b"RAISES"))
    yield told
    Image.OPEN.pop("RAISES")
    Image.ID.remove("RAISES")


@pytest.fixture(scope="module")
def session(job_bundle: Path, raising: dict[str, Any]) -> Iterator[ne.Session]:
    with ne.Session(job_bundle, threads=1, decode=ne.DecodeOptions(formats=(*FORMATS, "RAISES"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def raising_file(tmp_path_factory: pytest.TempPathFactory, raising: dict[str, Any]) -> Path:
    path = tmp_path_factory.mktemp("raises") / "bad.jpg"
    path.write_bytes(b"RAISES" + bytes(192))
    return path


WAYS: dict[str, Callable[[ne.Session, Path], list[Any]]] = {
    "run": lambda session, bad: session.run([GOOD, bad, GOOD], on_error="return"),
    "submit": lambda session, bad: [_outcome(session.submit(one)) for one in (GOOD, bad, GOOD)],
    "stream": lambda session, bad: list(session.stream([GOOD, bad, GOOD])),
}


def _outcome(future: ne.Future) -> Any:
    error = future.exception(60)
    return future.result() if error is None else type("Failed", (), {"error": error, "embedding": None})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["open", "load"])
def test_whatever_a_decoder_raises_is_the_error_of_its_image_alone(
    session: ne.Session, raising: dict[str, Any], raising_file: Path, way: str, moment: str
) -> None:
    (alone,) = session.run([GOOD])
    for error in RAISED.values():
        raising.update({"error": error, "while": moment})
        first, bad, last = WAYS[way](session, raising_file)
        assert isinstance(bad.error, ne.InvalidInputError)
        assert str(raising_file) in str(bad.error)
        assert len(str(bad.error)) > len(str(raising_file)) + 15
        for good in (first, last):
            assert good.error is None
            assert np.array_equal(good.logits, alone.logits)


def test_the_cause_is_chained_and_named(raising: dict[str, Any], raising_file: Path) -> None:
    decoder = Decoder(ne.DecodeOptions(formats=("RAISES",)))
    raising.update({"error": RAISED["zlib"], "while": "load"})
    with pytest.raises(ne.InvalidInputError, match=r"cannot be decoded \(error: Error -3 .*; check the file") as caught:
        decoder.decode(raising_file)
    assert caught.value.__cause__ is RAISED["zlib"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_no_error_of_an_image(
    session: ne.Session, raising: dict[str, Any], raising_file: Path, stop: type[BaseException]
) -> None:
    raising.update({"error": stop(), "while": "load"})
    with pytest.raises(stop):
        session.run([GOOD, raising_file], on_error="return")


def test_a_plan_leaves_out_what_cannot_be_read(job_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    (tmp_path / "bad.png").write_bytes(encoded("AVIF")[:200])
    result = CliRunner().invoke(app, ["plan", str(job_bundle), str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    assert "bad.png" in result.stderr
    assert '"good.png"' in result.stdout or "good.png" in result.stdout


def test_run_writes_a_row_for_a_bad_file_and_goes_on(job_bundle: Path, tmp_path: Path) -> None:
    avif = bytearray(encoded("AVIF"))
    place = avif.find(b"pitm") + 8
    avif[place : place + 2] = b"\0\x63"  # its primary item is one that is not there
    (tmp_path / "bad.jpg").write_bytes(avif)
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    names = [str(tmp_path / name) for name in ("bad.jpg", "good.png")]
    result = CliRunner().invoke(app, ["run", str(job_bundle), *names, "--json", "-q"])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "InvalidInputError" in result.stdout.splitlines()[0]
    assert "embedding_norm" in result.stdout.splitlines()[1] or "top_k" in result.stdout.splitlines()[1]
    assert "bug" not in result.stderr


@pytest.mark.parametrize("form", WRITTEN)
def test_a_damaged_file_is_decoded_or_refused_under_its_name(form: str, tmp_path: Path) -> None:
    whole = encoded(form)
    decoder = Decoder()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    refused = 0
    for number in range(60):
        data = bytearray(whole)
        if number % 3 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        else:
            for _ in range(int(rng.integers(1, 8))):
                data[int(rng.integers(0, min(len(data), 400 if number % 3 == 1 else len(data))))] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert decoder.decode(path).image.mode in ("L", "RGB", "RGBX", "RGBA")
        except ne.InvalidInputError as error:
            refused += 1
            assert str(error).startswith(str(path))  # noqa: PT017
    assert refused > 5


# --- PIL images -------------------------------------------------------------------------------------------------


def test_a_lazily_opened_image_that_is_truncated_or_closed_fails_alone(session: ne.Session) -> None:
    truncated = Image.open(io.BytesIO(encoded("PNG")[:-60]))
    closed = Image.open(io.BytesIO(encoded("JPEG")))
    closed.close()
    results = session.run([GOOD, truncated, closed, GOOD], on_error="return")
    assert [type(result.error) for result in results] == [type(None), *[ne.InvalidInputError] * 2, type(None)]
    assert str(results[1].error).startswith("image 1: cannot be decoded")


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "PA", "La", "RGBa"]
)
def test_an_image_of_any_mode_gives_the_colours_of_convert_rgb(mode: str) -> None:
    source = Image.fromarray(np.dstack([picture(), picture()[:, :, 1]]))
    if mode == "PA":
        image = source.convert("RGB").quantize(32).convert("PA")
    else:
        image = source.convert({"La": "LA", "HSV": "RGB", "YCbCr": "RGB"}.get(mode, mode)).convert(mode)
    before = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(mode)  # Pillow goes no straight way from these
    expected = np.asarray((image.convert(before) if before else image).convert("RGB"))
    assert np.array_equal(ne.to_rgb(image), expected)
    if mode in ("LA", "La", "RGBa", "PA", "RGBA"):
        rgba = (image.convert(before) if before else image).convert("RGBA")
        over = Image.alpha_composite(Image.new("RGBA", rgba.size, (9, 8, 7, 255)), rgba).convert("RGB")
        assert np.array_equal(ne.to_rgb(image, alpha="composite", background=(9, 8, 7)), np.asarray(over))


def test_an_object_with_a_mode_is_no_pil_image(session: ne.Session) -> None:
    class Camera:
        mode = "RGB"

    class Named(np.ndarray[Any, Any]):
        mode = "RGB"

    (result,) = session.run([Camera()], on_error="return")  # type: ignore[list-item]
    assert "is of type Camera" in str(result.error)
    (expected, found) = session.run([GOOD, GOOD.view(Named)])
    assert np.array_equal(found.logits, expected.logits)


# --- arrays -----------------------------------------------------------------------------------------------------


def _pickled(array: npt.NDArray[np.uint8], _: Path) -> Any:
    return pickle.loads(pickle.dumps(array))


def _of_joblib(array: npt.NDArray[np.uint8], folder: Path) -> Any:
    joblib.dump(array, folder / "array")
    return joblib.load(folder / "array", mmap_mode="r")


def _shared(array: npt.NDArray[np.uint8], _: Path) -> Any:
    memory = multiprocessing.Array(ctypes.c_uint8, array.size)
    shared = np.ctypeslib.as_array(memory.get_obj()).reshape(array.shape)
    shared[:] = array
    return shared


def _mapped(array: npt.NDArray[np.uint8], folder: Path) -> Any:
    (folder / "raw").write_bytes(array.tobytes())
    return np.memmap(folder / "raw", "u1", "r", shape=array.shape)


ARRAYS: dict[str, Callable[[npt.NDArray[np.uint8], Path], Any]] = {
    "pickled": _pickled,
    "joblib's": _of_joblib,
    "multiprocessing.Array": _shared,
    "np.memmap": _mapped,
    "with metadata": lambda array, _: array.view(np.dtype("u1", metadata={"from": "h5py"})),
    "byte-swapped": lambda array, _: array.view(np.dtype(">u1")),
    "a field of records": lambda array, _: np.ascontiguousarray(
        np.rec.fromarrays([array.reshape(-1)], names="v").v  # type: ignore[attr-defined]
    ).reshape(array.shape),
    "PyTorch's": lambda array, _: torch.from_numpy(array.copy()),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_is_taken_whatever_it_went_through(session: ne.Session, tmp_path: Path, kind: str) -> None:
    array = ARRAYS[kind](GOOD, tmp_path)
    expected, found = session.run([GOOD, array])
    assert np.array_equal(found.logits, expected.logits)
    assert np.array_equal(session.submit(array).result(60).logits, expected.logits)


REFUSED_ARRAYS: dict[str, tuple[Any, str]] = {
    "masked": (np.ma.masked_equal(GOOD, 0), "masked array"),
    "structured": (np.zeros((4, 4), [("r", "u1"), ("g", "u1"), ("b", "u1")]), "has dtype"),
    "signed": (GOOD.astype(np.int8), "has dtype int8"),
    "boolean": (GOOD > 9, "has dtype bool"),
    "a tensor with gradients": (torch.zeros((8, 8, 3), requires_grad=True), "cannot be shared"),
    "a tensor of floats": (torch.zeros((8, 8, 3)), "has dtype float32"),
    "an object whose __array__ fails": (type("Lazy", (), {"__array__": lambda self: 1 / 0})(), "numpy makes no array"),
}


@pytest.mark.parametrize("kind", REFUSED_ARRAYS)
def test_an_array_that_is_no_image_is_refused_with_the_reason(session: ne.Session, kind: str) -> None:
    array, reason = REFUSED_ARRAYS[kind]
    good, bad = session.run([GOOD, array], on_error="return")
    assert good.error is None
    assert isinstance(bad.error, ne.InvalidInputError)
    assert reason in str(bad.error)
