"""The tensors of the Open Inference Protocol, the same over HTTP, gRPC and in Triton: images in, results out.

Inputs, one of two forms, N >= 1 images of any sizes:

* ``images`` BYTES [N]: encoded files;
* ``pixels`` UINT8 [H, W, C] (one image), [N, H, W, C], or [-1], all pixels one after the other, beside ``shapes`` INT64
  [N, 3], the (height, width, channels) of each. C is 1 (gray), 3 (RGB) or 4 (RGBA).

Outputs: those of the bundle by their names, ``embedding`` [N, D] and ``logits`` [N, classes]; ``tokens``,
``projected``, ``deepstack`` and ``attention_map`` of all images one after the other, with ``rows`` [N], how many each
image has; ``grid`` [N, 2] (rows, columns) and ``tokens_used`` [N]; ``labels`` and ``scores`` [N, k] by the parameter
``top_k``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge.serve.errors import bad_input

if TYPE_CHECKING:
    from navit_edge._core import Result
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.serve.limits import Limits
    from navit_edge.serve.request import Image, Parameters

Raw: TypeAlias = "bytes | bytearray | memoryview"

#: Datatypes of the protocol that are used here -> numpy's, in the byte order of the wire.
DTYPES = {"UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}
IMAGES, PIXELS, SHAPES = "images", "pixels", "shapes"
#: Outputs with rows for the patches of an image; not given unless they are asked for.
OF_PATCHES = ("tokens", "projected", "deepstack", "attention_map")
#: Classes of ``labels`` and ``scores`` if they are asked for without ``top_k``, as tools do that ask for all there is.
TOP_K = 5
ROWS, GRID, TOKENS_USED, LABELS, SCORES = "rows", "grid", "tokens_used", "labels", "scores"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A tensor as metadata name it; -1 for what changes from request to request."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class InputTensor:
    """What a client sent: ``raw`` (row-major, little-endian; each of BYTES with its length in 4 bytes before it), or
    ``values``, numbers or bytes, flat or nested."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: Raw | None = None
    values: Sequence[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class OutputTensor:
    """array: of the datatype; of BYTES a list of bytes, row-major."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: npt.NDArray[Any] | list[bytes]

    def raw(self) -> bytes:
        """As on the wire."""
        if isinstance(self.array, list):
            return b"".join(struct.pack("<I", len(one)) + one for one in self.array)
        return np.ascontiguousarray(self.array, DTYPES[self.datatype]).tobytes()

    def values(self) -> list[Any]:
        """Flat: numbers, or texts of BYTES."""
        if isinstance(self.array, list):
            return [one.decode("utf-8", "replace") for one in self.array]
        values: list[Any] = self.array.ravel().tolist()
        return values


def inputs_offered() -> list[Spec]:
    """For metadata: a request has ``images``, or ``pixels``, if need be with ``shapes``."""
    return [
        Spec(name=IMAGES, datatype="BYTES", shape=(-1,)),
        Spec(name=PIXELS, datatype="UINT8", shape=(-1, -1, -1, -1)),
        Spec(name=SHAPES, datatype="INT64", shape=(-1, 3)),
    ]


def outputs_offered(manifest: Manifest) -> list[Spec]:
    """What a bundle's answers may hold."""
    specs = []
    for spec in manifest.graphs[0].outputs:
        shape = tuple(extent if isinstance(extent, int) else -1 for extent in spec.shape)
        specs.append(Spec(name=spec.name, datatype="FP32", shape=shape))
    names = {spec.name for spec in specs}
    if names & set(OF_PATCHES):
        specs.append(Spec(name=ROWS, datatype="INT64", shape=(-1,)))
    specs.append(Spec(name=GRID, datatype="INT32", shape=(-1, 2)))
    specs.append(Spec(name=TOKENS_USED, datatype="INT32", shape=(-1,)))
    if "logits" in names:
        specs.append(Spec(name=LABELS, datatype="BYTES", shape=(-1, -1)))
        specs.append(Spec(name=SCORES, datatype="FP32", shape=(-1, -1)))
    return specs


def outputs_wanted(asked: Sequence[str], manifest: Manifest, parameters: Parameters) -> tuple[str, ...]:
    """The outputs of an answer. asked: by the client; empty: all but those of patches, or with ``top_k`` the classes
    instead of the bundle's own. Raises ServeError for a name that the bundle does not offer."""
    offered = [spec.name for spec in outputs_offered(manifest)]
    if parameters.top_k is not None and LABELS not in offered:
        raise bad_input("top_k needs logits, which the bundle does not have; leave it out")
    if not asked:
        if parameters.top_k is not None:
            return (LABELS, SCORES, GRID, TOKENS_USED)
        return tuple(name for name in offered if name not in (*OF_PATCHES, ROWS, LABELS, SCORES))
    for name in asked:
        if name not in offered:
            raise bad_input(f"the output {name[:80]!r} is not there; expected some of {', '.join(offered)}")
    wanted = list(dict.fromkeys(asked))
    if set(wanted) & set(OF_PATCHES) and ROWS not in wanted:
        wanted.append(ROWS)
    elif ROWS in wanted and not set(wanted) & set(OF_PATCHES):
        raise bad_input('the output "rows" says how many rows an image has in another; ask for that output, too')
    return tuple(wanted)


def images_of(tensors: Sequence[InputTensor], limits: Limits) -> list[Image]:
    """The images of a request, read where they lie. Raises ServeError for what is no request of the contract above, and
    for more than the limits allow."""
    named: dict[str, InputTensor] = {}
    for tensor in tensors:
        if tensor.name in named:
            raise bad_input(f"the input {tensor.name[:80]!r} is there twice; expected it once")
        named[tensor.name] = tensor
    if set(named) == {IMAGES}:
        return list(_files(named[IMAGES], limits))
    if set(named) == {PIXELS}:
        return _pixels_of_one_size(named[PIXELS], limits)
    if set(named) == {PIXELS, SHAPES}:
        return _pixels_of_any_sizes(named[PIXELS], named[SHAPES], limits)
    found = ", ".join(sorted(name[:80] for name in named)) or "none"
    raise bad_input(f'the inputs are: {found}; expected "images", or "pixels", or "pixels" and "shapes"')


def _files(tensor: InputTensor, limits: Limits) -> Iterator[bytes | memoryview]:
    _expect_datatype(tensor, "BYTES")
    count = _checked_shape(tensor)
    if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
        raise bad_input(f'the input "images" has shape {list(tensor.shape)}; expected [N]')
    limits.check_images(count)
    found: list[bytes | memoryview] = []
    if tensor.raw is not None:
        view, at = memoryview(tensor.raw), 0
        while at + 4 <= len(view) and len(found) < count:
            (size,) = struct.unpack_from("<I", view, at)
            found.append(view[at + 4 : at + 4 + size])
            at += 4 + size
        if at != len(view) or len(found) != count:
            raise bad_input(
                f'the input "images" has {len(view):,} bytes, which are not the {count} elements of its shape, each '
                "with its length before it; expected 4 bytes of length, little-endian, and the file"
            )
    else:
        values = _flat(tensor.values or (), (bytes, bytearray, memoryview))
        found.extend(values)
        if len(found) != count:
            raise bad_input(f'the input "images" has {len(found)} elements; expected {count}, as its shape says')
    for index, one in enumerate(found):
        if len(one) == 0:
            raise bad_input(f"image {index} is empty; expected the bytes of an image file", image=index)
    yield from found


def _pixels_of_one_size(tensor: InputTensor, limits: Limits) -> list[Image]:
    _expect_datatype(tensor, "UINT8")
    _checked_shape(tensor)
    shape = tensor.shape
    if len(shape) == 1:
        raise bad_input('the input "pixels" has one dimension; expected "shapes" INT64 [N, 3] beside it')
    if len(shape) not in (3, 4):
        raise bad_input(f'the input "pixels" has shape {list(shape)}; expected [H, W, C] or [N, H, W, C]')
    count = shape[0] if len(shape) == 4 else 1
    limits.check_images(count)
    height, width, channels = shape[-3:]
    _check_image(height, width, channels, 0, limits)
    array = _array(tensor).reshape(count, height, width, channels)
    return [_one(image) for image in array]


def _pixels_of_any_sizes(tensor: InputTensor, shapes: InputTensor, limits: Limits) -> list[Image]:
    _expect_datatype(tensor, "UINT8")
    _expect_datatype(shapes, "INT64")
    size, _ = _checked_shape(tensor), _checked_shape(shapes)
    if len(shapes.shape) != 2 or shapes.shape[1] != 3:
        raise bad_input(f'the input "shapes" has shape {list(shapes.shape)}; expected [N, 3]')
    limits.check_images(shapes.shape[0])
    sizes = _array(shapes).reshape(-1, 3).tolist()
    total = 0
    for index, (height, width, channels) in enumerate(sizes):
        _check_image(height, width, channels, index, limits)
        total += height * width * channels
    if total != size:
        raise bad_input(f'the input "pixels" has {size:,} values; expected {total:,}, as "shapes" says')
    flat = _array(tensor).reshape(-1)
    images: list[Image] = []
    at = 0
    for height, width, channels in sizes:
        images.append(_one(flat[at : at + height * width * channels].reshape(height, width, channels)))
        at += height * width * channels
    return images


def _one(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Gray without its axis of one channel."""
    return image[..., 0] if image.shape[2] == 1 else image


def _check_image(height: int, width: int, channels: int, index: int, limits: Limits) -> None:
    if height < 1 or width < 1 or channels not in (1, 3, 4):
        raise bad_input(
            f"image {index} has shape {[height, width, channels]}; expected [height, width, channels] with at least "
            "one pixel and 1, 3 or 4 channels",
            image=index,
        )
    limits.check_pixels(height, width, index)


def _expect_datatype(tensor: InputTensor, datatype: str) -> None:
    if tensor.datatype != datatype:
        raise bad_input(f'the input "{tensor.name}" has datatype {tensor.datatype[:40]!r}; expected {datatype}')


def _checked_shape(tensor: InputTensor) -> int:
    """How many elements it has by its shape."""
    count = 1
    for extent in tensor.shape:
        count *= extent
        if not 0 <= extent < 1 << 40 or count >= 1 << 40:
            raise bad_input(f'the input "{tensor.name}" has shape {str(list(tensor.shape))[:80]}, which cannot be')
    if count == 0 or not tensor.shape:
        raise bad_input(
            f'the input "{tensor.name}" has shape {str(list(tensor.shape))[:80]}; expected at least one image'
        )
    return count


def _array(tensor: InputTensor) -> npt.NDArray[Any]:
    """The numbers of a tensor, flat. Raises ServeError if they are not as many as its shape says."""
    count, dtype = _checked_shape(tensor), np.dtype(DTYPES[tensor.datatype])
    if tensor.raw is not None:
        if len(tensor.raw) != count * dtype.itemsize:
            raise bad_input(
                f'the input "{tensor.name}" has {len(tensor.raw):,} bytes; expected {count * dtype.itemsize:,}, as its '
                "shape says"
            )
        return np.frombuffer(tensor.raw, dtype)
    expected = f'the input "{tensor.name}" is not {count:,} whole numbers of {tensor.datatype}, as its shape says'
    try:
        values = np.asarray(tensor.values)
    except (ValueError, OverflowError, RecursionError):
        raise bad_input(expected) from None
    limits = np.iinfo(dtype)
    if values.size != count or values.dtype.kind not in "iu" or values.min() < limits.min or values.max() > limits.max:
        raise bad_input(expected)
    return values.astype(dtype).reshape(-1)


def _flat(values: Sequence[Any], kinds: tuple[type, ...]) -> Iterator[Any]:
    """Of one or two dimensions."""
    for value in values:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if not isinstance(one, kinds):
                raise bad_input('the input "images" holds what is no bytes; expected encoded image files')
            yield one


def outputs_of(results: Sequence[Result], names: Sequence[str], parameters: Parameters) -> list[OutputTensor]:
    """The outputs of an answer. names: those of ``outputs_wanted``. Raises ServeError."""
    k = parameters.top_k or TOP_K
    classes = [result.top_k(k) for result in results] if {LABELS, SCORES} & set(names) else []
    count = len(results)
    outputs = []
    for name in names:
        array: npt.NDArray[Any] | list[bytes]
        if name == GRID:
            datatype, array = "INT32", np.asarray([result.grid for result in results], np.int32)
        elif name == TOKENS_USED:
            datatype, array = "INT32", np.asarray([result.token_count for result in results], np.int32)
        elif name == ROWS:
            datatype, array = "INT64", _rows(results, [one for one in names if one in OF_PATCHES])
        elif name == SCORES:
            datatype, array = "FP32", np.asarray([[one.score for one in few] for few in classes], np.float32)
        elif name == LABELS:
            datatype, array = "BYTES", [(one.label or str(one.index)).encode() for few in classes for one in few]
        elif name in OF_PATCHES:
            datatype, array = "FP32", np.concatenate([getattr(result, name) for result in results])
        else:
            datatype, array = "FP32", np.stack([getattr(result, name) for result in results])
        shape = (count, len(classes[0])) if isinstance(array, list) else array.shape
        outputs.append(OutputTensor(name=name, datatype=datatype, shape=shape, array=array))
    return outputs


def _rows(results: Sequence[Result], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """How many rows each image has in the outputs ``names``. Raises ServeError if they differ."""
    counts = {tuple(len(getattr(result, name)) for result in results) for name in names}
    if len(counts) != 1:
        raise bad_input(
            f'images have different numbers of rows in the outputs {", ".join(names)}, and "rows" says one; ask for '
            "them in requests of their own"
        )
    return np.asarray(counts.pop(), np.int64)


def parameters_of(results: Sequence[Result]) -> Mapping[str, int | str]:
    """The parameters of an answer: of each image the number of its pack, how long it waited and how long its pack took,
    in microseconds; a number for one image, else texts "3,3,4"."""
    columns = {
        "pack": [result.pack for result in results],
        "queue_us": [round(result.queue_ms * 1000) for result in results],
        "latency_us": [round(result.latency_ms * 1000) for result in results],
    }
    return {name: values[0] if len(values) == 1 else ",".join(map(str, values)) for name, values in columns.items()}
