"""One rule of what may be given for an image, at every place that takes one; what is refused is told what is taken."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import encoded, picture
from PIL import Image

import navit_edge as ne
from navit_edge.pixels import as_pixels

RGB = picture()
PNG = encoded("PNG")
TAKEN = r"expected a path, the bytes of an image file, an open binary file, a PIL image, or a uint8 numpy array"


class Tensor:
    """An array of another library: DLPack alone."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __iter__(self) -> Iterator[Any]:
        return map(Tensor, self.array)


class Interface:
    """An object with the older protocol of numpy."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    @property
    def __array_interface__(self) -> Any:
        return self._array.__array_interface__


class Lazy:
    """An object with ``__array__`` alone."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __array__(self, *_: Any, **__: Any) -> npt.NDArray[Any]:
        return self._array


FILES = ("a path", "text", "bytes", "bytearray", "memoryview", "BytesIO", "a file", "an unbuffered file",
         "a member of an archive", "PIL")  # fmt: skip


@pytest.fixture
def file_as(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """The same image file in any of ``FILES``, anew each time."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    with ExitStack() as stack:

        def member() -> Any:
            return stack.enter_context(stack.enter_context(zipfile.ZipFile(tmp_path / "a.zip")).open("a.png"))

        makers: dict[str, Callable[[], Any]] = {
            "a path": lambda: path,
            "text": lambda: str(path),
            "bytes": lambda: PNG,
            "bytearray": lambda: bytearray(PNG),
            "memoryview": lambda: memoryview(bytearray(b"ab" + PNG))[2:],
            "BytesIO": lambda: io.BytesIO(PNG),
            "a file": lambda: stack.enter_context(path.open("rb")),
            "an unbuffered file": lambda: stack.enter_context(path.open("rb", buffering=0)),
            "a member of an archive": member,
            "PIL": lambda: stack.enter_context(Image.open(path)),
        }
        assert tuple(makers) == FILES
        yield lambda form: makers[form]()


def arrays() -> dict[str, Any]:
    """The same pixels in every form that says its layout itself."""
    return {
        "an array": RGB,
        "Pixels": ne.Pixels(np.ascontiguousarray(RGB[:, :, ::-1]), "bgr"),
        "a tensor": Tensor(RGB),
        "__array_interface__": Interface(RGB),
        "__array__": Lazy(RGB),
        "PIL in memory": Image.fromarray(RGB),
    }


@pytest.fixture(scope="module")
def session(job_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(job_bundle, threads=1, decoders=3) as opened:
        yield opened


async def _submitted(session: ne.Session, image: Any, **options: Any) -> ne.Result:
    return await (await session.submit_async(image, **options))


def entries(session: ne.Session, bundle: Path) -> dict[str, Callable[..., npt.NDArray[Any]]]:
    """Every place that takes an image -> what it makes of one, as an array."""

    def embedding(result: ne.Result) -> npt.NDArray[Any]:
        if result.error is not None:
            raise result.error
        assert result.embedding is not None
        return result.embedding

    def tried(image: Any, **options: Any) -> ne.Result:
        future = session.try_submit(image, **options)
        assert future is not None
        return future.result(60)

    (engine,) = ne.load_manifest(bundle).engines
    content = ne.Policy.content(min_tokens=4, flat=0, busy=0.3)
    return {
        "run": lambda image, **o: embedding(session.run([image], **o)[0]),
        "submit": lambda image, **o: embedding(session.submit(image, **o).result(60)),
        "try_submit": lambda image, **o: embedding(tried(image, **o)),
        "submit_async": lambda image, **o: embedding(asyncio.run(_submitted(session, image, **o))),
        "stream": lambda image, **o: embedding(next(session.stream([image], **o))),
        "pack": lambda image, **o: ne.pack([image], patch_px=4, threads=1, **o)["patches"],
        "resize": lambda image, **o: ne.resize(image, (7, 9), **o),
        "complexity": lambda image, **o: np.array(ne.complexity(image, **o)),
        "to_rgb": lambda image, **o: ne.to_rgb(image, **o),
        "choose": lambda image, **o: np.array(
            [choice.grid for choice in ne.choose(bundle, [image], content, engine=engine.id, **o)]
        ),
    }


PLACES = ("run", "submit", "try_submit", "submit_async", "stream", "pack", "resize", "complexity",
          "to_rgb", "choose")  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_place_takes_every_form_of_an_image_and_gives_the_same(
    session: ne.Session, job_bundle: Path, file_as: Callable[[str], Any], place: str
) -> None:
    takes = entries(session, job_bundle)[place]
    expected = takes(RGB)
    for name, image in {**{form: file_as(form) for form in FILES}, **arrays()}.items():
        assert np.array_equal(takes(image), expected), name
    for form in (RGB.transpose(2, 0, 1), Tensor(np.ascontiguousarray(RGB.transpose(2, 0, 1)))):
        assert np.array_equal(takes(form, layout="chw"), expected)
    for form in (RGB, Tensor(RGB), PNG):
        assert np.array_equal(takes(form, layout="hwc"), expected)
    with pytest.raises(ne.InvalidInputError, match="layout is 'nchw'; expected one of hwc, chw, or None"):
        takes(RGB, layout="nchw")


@pytest.mark.parametrize("place", PLACES)
def test_every_place_refuses_what_is_no_image_and_says_what_is_taken(
    session: ne.Session, job_bundle: Path, place: str
) -> None:
    takes = entries(session, job_bundle)[place]
    for image in (3, [[1, 2]], {"a": 1}, object()):
        with pytest.raises(ne.InvalidInputError, match=f"is of type {type(image).__name__}; {TAKEN}"):
            takes(image)
    with pytest.raises(ne.InvalidInputError, match="is a file that gives str; expected bytes; open it with mode"):
        takes(io.StringIO("text"))
    with pytest.raises(ne.InvalidInputError, match="not an image in a format that is decoded"):
        takes(b"no image at all")
    with pytest.raises(ne.InvalidInputError, match=r"3, 24, 40\]; .*layout=\"chw\""):
        takes(Tensor(np.ascontiguousarray(RGB.transpose(2, 0, 1))))


def test_objects_of_numpys_protocols_are_read_where_they_lie() -> None:
    for image in (Lazy(RGB), Interface(RGB), Tensor(RGB)):
        pixels = as_pixels(image).pixels
        assert isinstance(pixels, np.ndarray)
        assert np.shares_memory(pixels, RGB), type(image).__name__


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_the_same_pixels_as_channels_last(channels: int) -> None:
    last = np.random.default_rng(channels).integers(0, 256, (13, 17, channels), np.uint8)
    first = np.ascontiguousarray(last.transpose(2, 0, 1))
    strided = np.zeros((channels, 26, 34), np.uint8)[:, ::2, ::2]
    strided[:] = first
    for array in (first, last.transpose(2, 0, 1), first[:, ::-1][:, ::-1], strided):
        given = as_pixels(array, layout="chw")
        assert np.array_equal(ne.to_rgb(given.pixels), ne.to_rgb(last))
        copied = not np.shares_memory(given.pixels, array)
        assert given.new_bytes == (last.nbytes if copied else 0)
    assert as_pixels(last.transpose(2, 0, 1), layout="chw").new_bytes == 0  # they lie in rows already


@pytest.mark.parametrize("shape", [(3, 40, 3), (1, 5, 1), (4, 9, 3), (3, 3, 3), (1, 1, 4)])
def test_a_tensor_whose_channels_may_be_either_axis_is_asked_about(shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    with pytest.raises(ne.InvalidInputError, match=r'first axis or the last; say which: layout="chw" or layout="hwc"'):
        ne.to_rgb(Tensor(array))
    assert ne.to_rgb(Tensor(array), layout="hwc").shape == (*shape[:2], 3)
    assert ne.to_rgb(Tensor(array), layout="chw").shape == (*shape[1:], 3)
    assert np.array_equal(ne.to_rgb(array), ne.to_rgb(array, layout="hwc"))  # of numpy's arrays it is said: the last


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (
            np.zeros((24, 40, 3), np.uint8),
            r'shape \[24, 40, 3\] and layout is "chw"; expected \[3, .*its layout is hwc',
        ),
        (np.zeros((2, 40, 9), np.uint8), r'shape \[2, 40, 9\] and layout is "chw"; expected \[3, height, width\]'),
        (np.zeros((3, 40, 9), np.float32), r"has dtype float32"),
        (np.zeros((3, 0, 9), np.uint8), r"is empty"),
        (np.zeros((3, 9, 0), np.uint8), r"has shape \[3, 9, 0\]"),
        (np.ma.masked_less(np.zeros((3, 40, 9), np.uint8), 1), r"is a masked array"),
        (np.broadcast_to(np.uint8(7), (3, 1 << 19, 1 << 19)), r"pixels \(height x width\).*max_pixels"),
        (np.zeros((2, 3, 40, 9), np.uint8), r"pass the images of a batch one by one"),
    ],
    ids=str,
)
def test_wrong_planes_are_refused_with_what_was_found(array: npt.NDArray[Any], said: str) -> None:
    with pytest.raises(ne.InvalidInputError, match=said):
        ne.to_rgb(array, layout="chw")


def test_real_tensors_are_taken_in_both_layouts() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(RGB.copy())
    assert np.array_equal(ne.to_rgb(tensor), RGB)
    for first in (tensor.permute(2, 0, 1), tensor.permute(2, 0, 1).contiguous()):
        assert np.array_equal(ne.to_rgb(first, layout="chw"), RGB)
    with pytest.raises(ne.InvalidInputError, match="dtype float32"):
        ne.to_rgb(tensor.permute(2, 0, 1).float(), layout="chw")


# --- bytes and open files


def test_an_open_file_is_read_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "two.bin"
    path.write_bytes(b"head" + PNG)
    with path.open("rb") as file:
        file.seek(4)
        assert np.array_equal(ne.to_rgb(file), RGB)
        assert not file.closed
        with pytest.raises(ne.InvalidInputError, match=r"two\.bin\) is an open file that gives no bytes.*seek\(0\)"):
            ne.to_rgb(file)
    with pytest.raises(ne.InvalidInputError, match=r"image \(.*two\.bin\) is a file that is closed"):
        ne.to_rgb(file)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "is empty, 0 bytes; expected the bytes of an image file"),
        (memoryview(RGB), r"is a memoryview of shape \[24, 40, 3\] .*np\.asarray\(view\)"),
        (memoryview(RGB.astype(np.uint16).ravel()), 'and format "H"'),
        (PNG[:100], "cannot be decoded"),
        (np.frombuffer(PNG, np.uint8), r"has shape \[\d+\]; .*bytes of an image file.*image\.tobytes\(\)"),
    ],
    ids=["nothing", "pixels", "16 bits", "cut off", "an array of one dimension"],
)
def test_bytes_that_are_no_image_file_are_refused(image: Any, said: str) -> None:
    with pytest.raises(ne.InvalidInputError, match=said):
        ne.to_rgb(image)


@pytest.mark.parametrize("form", ["bytes", "bytearray", "memoryview", "BytesIO", "a file"])
def test_the_limits_of_files_hold_for_bytes_and_open_files(file_as: Callable[[str], Any], form: str) -> None:
    small = ne.DecodeOptions(max_file_bytes=len(PNG) - 1)
    with pytest.raises(ne.InvalidInputError, match=rf"expected at most {len(PNG) - 1:,}; .*max_file_bytes"):
        ne.to_rgb(file_as(form), decode=small)
    assert ne.to_rgb(file_as(form), decode=ne.DecodeOptions(max_file_bytes=len(PNG))).shape == RGB.shape
    with pytest.raises(ne.InvalidInputError, match=r"960 in all; expected at most 959; .*max_pixels"):
        ne.to_rgb(file_as(form), decode=ne.DecodeOptions(max_pixels=959))
    with pytest.raises(ne.InvalidInputError, match="not an image in a format that is decoded"):
        ne.to_rgb(file_as(form), decode=ne.DecodeOptions(formats=("JPEG",)))


def test_a_file_without_end_is_read_no_further_than_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1, /) -> bytes:
            assert size > 0
            self.given += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(ne.InvalidInputError, match=r"image has 3,000,001 bytes; expected at most 3,000,000"):
        ne.to_rgb(endless, decode=ne.DecodeOptions(max_file_bytes=3_000_000))
    assert endless.given == 3_000_001


def test_a_source_may_close_its_file_and_use_its_buffer_again(session: ne.Session, tmp_path: Path) -> None:
    pictures = [np.roll(RGB, place, 1) for place in range(9)]
    for place, one in enumerate(pictures):
        Image.fromarray(one).save(tmp_path / f"{place}.png")
    buffer = bytearray(1 << 16)

    def closing() -> Iterator[Any]:
        for place in range(9):
            with (tmp_path / f"{place}.png").open("rb") as file:
                yield file

    def filling() -> Iterator[Any]:
        for place in range(9):
            size = os.path.getsize(tmp_path / f"{place}.png")
            buffer[:size] = (tmp_path / f"{place}.png").read_bytes()
            yield memoryview(buffer)[:size]
            buffer[:] = bytes(len(buffer))

    expected = [result.embedding for result in session.stream(pictures)]
    assert min(np.abs(one - other).max() for one, other in itertools.pairwise(expected)) > 1e-3
    for source in (closing, filling):
        found = list(session.stream(source()))
        assert [result.error for result in found] == [None] * 9
        for result, one in zip(found, expected, strict=True):  # in other packs: the same sums in other orders
            assert np.abs(result.embedding - one).max() < 1e-5


def test_one_bad_file_among_bytes_fails_alone_under_its_number(session: ne.Session) -> None:
    found = list(session.stream([PNG, io.BytesIO(b""), PNG[:80], b"text", PNG]))
    assert [result.error is None for result in found] == [True, False, False, False, True]
    for place in (1, 2, 3):
        assert isinstance(found[place].error, ne.InvalidInputError)
        assert str(found[place].error).startswith(f"image {place}")


# --- lists


def test_a_source_of_images_is_sent_to_stream_and_one_image_into_a_list(session: ne.Session) -> None:
    for images in ((RGB for _ in range(2)), iter([RGB]), map(np.copy, [RGB]), {1: RGB}.values()):
        with pytest.raises(
            ne.InvalidInputError,
            match=r"expected a list of images: run\(list\(images\)\), or session\.stream\(images\)",
        ):
            session.run(images)  # type: ignore[arg-type]
    batch = np.zeros((2, 8, 8, 3), np.uint8)
    for one in (RGB, PNG, bytearray(PNG), io.BytesIO(PNG), "a.png", Image.fromarray(RGB), Tensor(RGB), Lazy(RGB)):
        for takes in (session.run, ne.pack):
            with pytest.raises(ne.InvalidInputError, match=r"expected a list of images: (run|pack)\(\[image\]\)$"):
                takes(one)
        with pytest.raises(ne.InvalidInputError, match=r"expected an iterable of images: stream\(\[image\]\)"):
            session.stream(one)
    for several in (batch, Tensor(batch)):
        with pytest.raises(ne.InvalidInputError, match=r"run\(\[image\]\), or run\(list\(images\)\) of a batch"):
            session.run(several)  # type: ignore[arg-type]
    assert len(session.run(list(batch))) == 2
    assert len(session.run(list(Tensor(batch.transpose(0, 3, 1, 2))), layout="chw")) == 2
