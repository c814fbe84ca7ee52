"""Stubs of the C++ runtime (csrc/bindings)."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from navit_edge.decode.deferred import Deferred
    from navit_edge.future import Future
    from navit_edge.result import Prediction

_PatchChooser: TypeAlias = Callable[[npt.NDArray[np.uint8], tuple[int, int]], npt.NDArray[np.bool_]]

__version__: str
backend_abi_version: int

class Result:
    """What one image gave. ``logits`` and ``embedding`` are its own; the others are views that keep the outputs of the
    whole pack, as the result does: of a bundle that gives tokens keep arrays, or ``copy.deepcopy(result)``. Can be
    pickled, with its tag and its error.
    """

    @staticmethod
    def failed(error: Exception, index: int = -1) -> Result: ...
    @property
    def lost(self) -> bool:
        """True if memory ran out while the result was handed over: it holds neither outputs nor an error."""
    @property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """float32 [classes], read-only; None if the bundle gives none, or the image failed."""
    @property
    def embedding(self) -> npt.NDArray[np.float32] | None:
        """float32 [D], read-only; None if the bundle gives none, or the image failed."""
    @property
    def tokens(self) -> npt.NDArray[np.float32] | None:
        """float32 [rows * cols, D], read-only, row-major over ``grid``, without prefix tokens; [rows * cols / 4, D] of
        a model that merges 2 x 2 patches; [len(kept), D] where patches were dropped; None as above."""
    @property
    def kept(self) -> npt.NDArray[np.int32] | None:
        """int32 [n], read-only: the patches that the model saw, by their numbers on ``grid``, row-major and ascending;
        None: all of them."""
    def on_grid(self, values: npt.ArrayLike | None = None, *, fill: float = 0.0) -> npt.NDArray[Any]:
        """``values`` [patches, ...], a row for each patch that the model saw, as an array [rows, cols, ...] with
        ``fill`` where a patch was dropped; None: ``tokens``. Raises InvalidInputError."""
    def on_image(
        self,
        values: npt.ArrayLike | None = None,
        *,
        filter: Literal["bilinear", "nearest"] = "bilinear",
        fill: float = ...,
        size: tuple[int, int] | None = None,
    ) -> npt.NDArray[np.float32]:
        """A map over the patches as pixels of the image, float32 [height_px, width_px, ...], as it was given: what the
        sizing rule did is undone, ``fill`` (NaN) where there is no data: where the image was cropped and where a patch
        was dropped (docs/maps.md).

        values: a row for each patch that the model saw, [n, ...], or for each merged cell; or of the grid's shape,
            [rows, cols, ...]. None: the mean of ``attention_map``.
        filter: between the centres of cells, or "nearest": each pixel has its cell's value.
        size: (height_px, width_px) of the picture; None: ``pixels``.
        Raises InvalidInputError.
        """
    @property
    def projected(self) -> npt.NDArray[np.float32] | None:
        """float32 [rows * cols / m^2, D], read-only: the tokens behind the projector of the whole model, which merges m
        x m patches, as its language model takes them; None as above."""
    @property
    def deepstack(self) -> npt.NDArray[np.float32] | None:
        """float32 [rows * cols / 4, layers, D], read-only: of middle blocks, which the language model adds to the
        hidden states of its first layers; None as above."""
    @property
    def attention_map(self) -> npt.NDArray[np.float32] | None:
        """float32 [rows * cols, maps], read-only: how much the attention behind the embedding looks at each patch, the
        mean of the heads, or a map for each head (docs/maps.md); None as above."""
    @property
    def pixels(self) -> tuple[int, int]:
        """(height_px, width_px) of the image as it was given, upright."""
    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols): the image as it was run, in patches."""
    @property
    def scale(self) -> tuple[float, float]:
        """(y, x): pixels of the grid for one pixel of the image."""
    @property
    def offset(self) -> tuple[int, int]:
        """(top_px, left_px): where the image begins on the grid, in pixels. Negative: so much was cut off."""
    @property
    def token_count(self) -> int:
        """Tokens that the image took in its pack, prefix tokens included."""
    @property
    def total_token_count(self) -> int:
        """The same of all passes: more than ``token_count`` if a cascade ran the image twice."""
    @property
    def pack(self) -> int:
        """Number of its pack: in its run, or among all packs of submitted images. -1: it was in none."""
    @property
    def cached(self) -> bool:
        """True if it was computed for another image of the same content (docs/cache.md): it was in no pack."""
    @property
    def first_token(self) -> int:
        """Where the image begins in its pack: the row of its first token."""
    @property
    def pack_tokens(self) -> int:
        """Tokens that its pack was computed on, padding included. 0: it was in none."""
    @property
    def latency_ms(self) -> float:
        """Milliseconds from the start of its pack's preprocessing to the pack's outputs."""
    @property
    def queue_ms(self) -> float:
        """Milliseconds from ``submit``, or from the start of the run, to the start of its pack's preprocessing."""
    @property
    def reason(self) -> str:
        """What was done to the image, in words: ``decoding``, then ``sizing``. "": nothing."""
    @property
    def sizing(self) -> str:
        """Why it has fewer tokens than the bundle's sizing rule gives, in words. "": it has them all."""
    @property
    def index(self) -> int:
        """Place in the list or the source, from 0. -1: it was submitted alone."""
    @property
    def scores(self) -> Literal["softmax", "sigmoid"]:
        """What the score of a class is: "softmax" over all logits, or the "sigmoid" of its own."""
    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of the bundle; empty if it has none."""
    def top_k(self, k: int = 5) -> list[Prediction]:
        """The ``k`` classes of the highest logits, best first, with index, label, score and logit. ``score`` is the
        softmax over all classes; ``label`` is "" if the bundle has none. Raises InvalidInputError if there are no
        logits."""
    def to_dict(self, *, top_k: int = 3) -> dict[str, Any]:
        """Plain values, ready for JSON, by the names of the rows of ``navit-edge run`` (docs/run.md); without
        arrays."""
    def numpy(self, *, copy: bool = False) -> dict[str, npt.NDArray[np.float32]]:
        """The arrays that there are, by name: "logits", "embedding", "tokens", "projected", "deepstack",
        "attention_map". With ``copy`` writable ones of their own, as ``torch.from_numpy`` wants them; else those of the
        attributes."""
    def __copy__(self) -> Result: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Result: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...
    decoding: str  # what decoding did to the image, in words; "": nothing
    tag: Any  # what the caller gave with the image, or None
    error: Exception | None  # the image failed; then it has no outputs

class Pixels:
    """8-bit pixels whose format an array's shape does not say. Borrows the arrays, any row stride; copies nothing.

    planes: uint8 [height_px, width_px, channels], or [height_px, width_px] for "gray". For "nv12" (y, uv), for "i420"
        (y, u, v), planes [h, w] and [(h + 1) // 2, (w + 1) // 2(, 2)]; or one array [3 * h // 2, w] with even sides.
    format: "gray", "rgb", "bgr", "rgbx", "bgrx", "rgba", "bgra", "nv12" or "i420"; "x" is a byte that is not looked at.
    matrix, range: of NV12 and I420: "bt601" or "bt709"; "limited" (video) or "full" (JPEG).

    Raises InvalidInputError if an array is not what the format says.
    """

    def __init__(
        self,
        planes: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]],
        format: str,
        *,
        matrix: str = "bt601",
        range: str = "limited",
    ) -> None: ...
    @staticmethod
    def pair(first: npt.NDArray[np.uint8] | Pixels, second: npt.NDArray[np.uint8] | Pixels) -> Pixels:
        """A frame of a film and the one that follows it, for a bundle that was exported with ``--frames 2``.

        Raises InvalidInputError if their sizes, formats or strides differ.
        """
    @staticmethod
    def from_arrow(image: object, height_px: int, width_px: int, format: str) -> Pixels: ...
    @staticmethod
    def from_buffer(
        buffer: object,
        *,
        format: str,
        height_px: int,
        width_px: int,
        strides: Sequence[int] | int | None = None,
        offsets: Sequence[int] | int | None = None,
        matrix: str = "bt601",
        range: str = "limited",
        owner: object = None,
    ) -> Pixels:
        """A frame in plain memory: bytes, a memoryview, an mmap, or any other contiguous object of the buffer protocol.
        Nothing is copied; the buffer is kept, and so is ``owner``, which may unmap it when it goes.

        format, matrix, range: as in ``Pixels``.
        strides: bytes from row to row, one number for each plane (further ones are ignored); None: rows are adjacent.
        offsets: where each plane begins, in bytes; None: at 0, one after the other.

        Raises InvalidInputError if the planes do not lie within the buffer.
        """
    @property
    def height_px(self) -> int: ...
    @property
    def width_px(self) -> int: ...
    @property
    def resized_from(self) -> tuple[int, int] | None:
        """(height_px, width_px) of the image that was resized to these pixels while it was decoded; else None."""
    @property
    def format(self) -> str: ...

class Policy:
    """Chooses how many tokens an image gets: patches, prefix tokens not counted. Never more than the bundle's sizing
    rule gives, the aspect kept (docs/policies.md). A value: cannot be changed; can be compared, hashed, pickled and
    printed as the text that ``parse`` takes.
    """

    def __init__(self, text: str | Policy) -> None:
        """Of the text that ``parse`` takes."""

    @staticmethod
    def native() -> Policy:
        """What the bundle's sizing rule gives."""

    @staticmethod
    def token_cap(max_tokens: int) -> Policy:
        """At most ``max_tokens`` patches, 1 and up. Raises InvalidInputError."""

    @staticmethod
    def preset(name: str) -> Policy:
        """ "quality": all tokens that the rule gives; "balanced": half of them; "fast": a quarter; both at least 64.

        Raises InvalidInputError for another name.
        """

    @staticmethod
    def latency(target_ms: float, *, min_tokens: int = 64) -> Policy:
        """The most tokens with which the result is predicted to be there ``target_ms`` milliseconds after the image was
        given, what waits before it included; at least ``min_tokens``, also if the target cannot be met so
        (``result.reason`` then says that). All images of one ``run`` shall be done by the target.

        The prediction is the engine's cost model: measured by ``navit-edge bench --calibrate``, or assumed. Raises
        InvalidInputError.
        """

    @staticmethod
    def content(
        *, min_tokens: int = 64, max_tokens: int | None = None, flat: float = 0.02, busy: float = 0.12
    ) -> Policy:
        """Tokens by what there is to see (``navit_edge.complexity``): ``min_tokens`` for images of complexity ``flat``
        and below, ``max_tokens`` (None: all that the rule gives) from ``busy`` on, in proportion between.

        Raises InvalidInputError.
        """

    @staticmethod
    def cascade(first: int = 128, accept: float = 0.8, by: str = "probability", *, then: int | None = None) -> Policy:
        """Every image runs with at most ``first`` tokens. If the probability of its best class (``by="margin"``: how
        far that is above the second) is at least ``accept``, the result stands; else the image runs again, with all
        tokens that the rule gives, or at most ``then``. A bundle with logits only.

        Raises InvalidInputError.
        """

    @staticmethod
    def drop(
        what: Literal["blank", "random"] | npt.ArrayLike | _PatchChooser,
        *,
        keep: float | None = None,
        seed: int | None = None,
        range: int | None = None,
    ) -> Policy:
        """The sizing rule's grid without some patches (docs/tokens.md): ``Policy.native().with_drop(...)``."""

    def with_drop(
        self,
        what: Literal["blank", "random"] | npt.ArrayLike | _PatchChooser,
        *,
        keep: float | None = None,
        seed: int | None = None,
        range: int | None = None,
    ) -> Policy:
        """This policy, without some patches of the grid that it chooses.

        what: "blank": patches in which no two values of a channel differ by more than ``range`` (16), if those around
            them are as flat. "random": the share ``keep`` of the grid stays, the same patches for each image on such a
            grid, other ones with another ``seed``. A bool array [rows, cols]: True stays. A function
            (pixels, (rows, cols)) -> such an array, which is given the image as uint8 [height_px, width_px, channels].

        At least one patch stays. A model that merges patches, or takes frames in pairs, takes no drop. Raises
        InvalidInputError.
        """

    @staticmethod
    def parse(text: str) -> Policy:
        """ "native", "token-cap:256", "fast", "balanced", "quality", "latency:20ms" (ms, us or s), "content",
        "cascade:128,0.8"; "latency:20ms,min_tokens=128", "content:min_tokens=64,max_tokens=1024,flat=0.02,busy=0.12",
        "cascade:128,0.3,by=margin,then=576"; "drop:blank", "drop:random,keep=0.5,seed=1", alone or behind another:
        "fast+drop:blank".

        Raises InvalidInputError.
        """

    @property
    def kind(self) -> str: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def min_tokens(self) -> int | None: ...
    @property
    def target_ms(self) -> float | None: ...
    @property
    def flat(self) -> float | None: ...
    @property
    def busy(self) -> float | None: ...
    @property
    def drops_by(self) -> str | None: ...
    @property
    def first(self) -> int | None: ...
    @property
    def accept(self) -> float | None: ...
    @property
    def by(self) -> str | None: ...
    @property
    def then(self) -> int | None: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __getstate__(self) -> str: ...
    def __setstate__(self, state: str) -> None: ...

class Session:
    def __init__(
        self,
        bundle: str,
        *,
        device: str,
        devices: list[str],
        engine: str,
        precision: str,
        threads: int,
        slots: int,
        max_tokens_per_image: int,
        strategy: str,
        overflow: str,
        backend_dirs: Sequence[str],
        vendor_dirs: Sequence[str],
        options: dict[str, str],
        queue_limit: int,
        queue_bytes: int,
        decoders: int,
        decode_bytes: int,
        decode: str | None,
        cache_bytes: int,
        max_memory_bytes: int,
        aging_us: float,
        batch_wait_us: float,
        stall_timeout_s: float,
        policy: Policy | None,
    ) -> None: ...
    def run(
        self,
        images: list[npt.NDArray[np.uint8] | Pixels | Result | None],
        progress: Callable[[int, int], object] | None,
        policy: Policy | None,
        contents: list[tuple[bytes, str] | None],
        spent_us: float = 0.0,
    ) -> tuple[list[Result], dict[str, Any]]: ...
    def submit(
        self,
        image: npt.NDArray[np.uint8] | Pixels,
        future: Future,
        tag: Any,
        deadline_us: float,
        priority: int,
        policy: Policy | None,
        timeout_s: float | None,
        look_up: Callable[[], None] | None,
        spent_us: float,
    ) -> int | None: ...
    def submit_file(
        self,
        file: Deferred,
        future: Future,
        tag: Any,
        deadline_us: float,
        priority: int,
        policy: Policy | None,
        timeout_s: float | None,
        look_up: Callable[[], None] | None,
        spent_us: float,
    ) -> int | None: ...
    def recall(
        self, content: tuple[bytes, str] | None, tag: Any, deadline_us: float, policy: Policy | None
    ) -> Result | None: ...
    @property
    def caches(self) -> bool:
        """Whether it remembers results."""
    def cancel(self, id: int) -> bool: ...
    def drain(self, timeout_s: float | None) -> bool: ...
    def close(self) -> None: ...
    @property
    def broken(self) -> str: ...
    @property
    def result_queue(self) -> ResultQueue: ...
    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def device(self) -> str: ...
    def engine_report(self) -> bytes: ...
    def resized_size(self, height_px: int, width_px: int, policy: Policy | None) -> tuple[int, int] | None:
        """(height_px, width_px) to which an image is resized, if its size alone says so."""
    @property
    def resizing(self) -> tuple[str, str]:
        """The manifest's filter and processor."""
    @property
    def decoding(self) -> dict[str, Any]: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def candidates(self) -> list[tuple[str, bool, str]]: ...
    def metrics(self) -> dict[str, Any]: ...
    def metric_labels(self) -> dict[str, str]: ...
    def count_refused(self) -> None: ...
    def start_trace(self, max_events: int) -> None: ...
    def stop_trace(self) -> bytes: ...

class Histogram:
    """The histograms of metrics.h, for tests. buckets: "seconds", "ratio", "images" or "tokens"."""

    def __init__(self, buckets: str) -> None: ...
    def observe(self, values: Sequence[float]) -> None: ...
    def quantile(self, q: float) -> float | None: ...
    def summary(self) -> dict[str, Any]: ...
    @property
    def counts(self) -> list[int]: ...
    @property
    def bounds(self) -> list[float]: ...

def prometheus(sessions: Sequence[tuple[Session, Sequence[tuple[str, str]]]]) -> str: ...

class ResultQueue:
    """Results of a session on their way to Python."""

    def take(self) -> list[tuple[Future, Result]] | None: ...
    def take_now(self) -> list[tuple[Future, Result]]: ...
    def flush(self, timeout_s: float | None) -> bool: ...
    def close(self) -> None: ...
    @property
    def here(self) -> bool: ...

class Stream:
    def __init__(
        self,
        session: Session,
        *,
        capacity: int,
        capacity_bytes: int,
        ordered: bool,
        drop: str,
        deadline_us: float,
        priority: int,
        policy: Policy | None,
        still: tuple[int, float, int] | None = None,
    ) -> None: ...
    def push(self, image: npt.NDArray[np.uint8] | Pixels, index: int) -> Literal["taken", "dropped", "ended"]: ...
    def push_file(self, file: Deferred, index: int) -> Literal["taken", "dropped", "ended"]: ...
    def push_failed(self, index: int) -> Literal["taken", "dropped", "ended"]: ...
    def pop(self, most: int, wait_ms: float) -> list[Result] | None: ...
    def finish(self) -> None: ...
    def cancel(self) -> None: ...
    def take_dropped(self) -> list[int]: ...
    @property
    def dropped(self) -> int: ...
    @property
    def capacity(self) -> int: ...

class TextEncoder:
    def __init__(
        self, bundle: str | PathLike[str], *, engine: str, threads: int = 0, vendor_dirs: Sequence[str]
    ) -> None: ...
    @property
    def engine(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    def embed(self, ids: npt.NDArray[np.int32], mask: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]: ...

class Packer:
    def __init__(
        self,
        bundle: str,
        graph: str,
        *,
        max_tokens: int,
        max_images: int,
        target_tokens: int,
        strategy: str,
        dynamic_tokens: bool,
        threads: int,
    ) -> None: ...
    @staticmethod
    def of(
        *,
        inputs: Sequence[str] = (),
        patch_px: int,
        sizing: str,
        filter: str = "bilinear",
        processor: str = "pillow",
        alpha: str = "drop",
        background: tuple[int, int, int] = (255, 255, 255),
        prefix_tokens: int = 0,
        pad_tokens: int = 0,
        pad_images: int = 0,
        frames: int = 1,
        threads: int = 1,
    ) -> Packer: ...
    def tokens_of(self, height_px: int, width_px: int) -> int: ...
    def write(
        self, images: list[npt.NDArray[np.uint8] | Pixels], grids: Sequence[tuple[int, int]], *, blank_range: int = -1
    ) -> dict[str, npt.NDArray[Any]]: ...
    def pack(self, images: list[npt.NDArray[np.uint8]]) -> list[dict[str, Any]]: ...

def check_image(image: object, who: str) -> None: ...
def vocabularies() -> dict[str, tuple[str, ...]]: ...
def option_ranges() -> dict[str, tuple[float, float, bool, bool, str]]: ...
def resize_targets(
    sizes: npt.NDArray[np.int32], *, patch_px: int, sizing: str, max_tokens_per_image: int = 0
) -> npt.NDArray[np.int32]: ...
def plan(
    token_counts: Sequence[int],
    *,
    budgets: Sequence[tuple[int, int, int, int]],
    strategy: str,
    base: str,
    cost: Sequence[tuple[float, float, float]],
    attention: str,
    dynamic_tokens: bool,
    streams: int,
    deadlines_us: Sequence[float],
) -> dict[str, Any]: ...
def cost_model(bundle: str, engine: str) -> dict[str, Any]: ...

most_manifest_bytes: int

def check_manifest(text: bytes, *, source: str) -> None: ...
def check_json(text: bytes, *, source: str, remedy: str) -> None: ...
def stays_inside(name: str) -> bool: ...
def engine_memory(
    bundle: str, engine: str, *, slots: int, tokens: int, capacity: int
) -> tuple[int, int, int, int, int]: ...
def planned_memory(
    bundle: str,
    graph: str,
    precision: str,
    file_bytes: int,
    *,
    tokens: int,
    images: int,
    target: int,
    threads: int,
) -> int: ...
def memory_plan(bundle: str, engine: str, *, threads: int) -> list[tuple[int, int, int, int, int]]: ...
def cpu_limits(root: str | PathLike[str] = "/") -> tuple[int, float | None, int, int, list[int], str]: ...

spare_outputs: int

def assumed_cost(
    *, width: int, depth: int, mlp_width: int, target: str, merging: tuple[int, int, int] = (0, 0, 0)
) -> tuple[float, float, float]: ...
def complexity(image: npt.NDArray[np.uint8] | Pixels, alpha: str, background: tuple[int, int, int]) -> float: ...
def choose_grids(
    bundle: str,
    engine: str,
    policy: Policy,
    images: list[npt.NDArray[np.uint8] | Pixels | tuple[int, int]],
    *,
    max_tokens_per_image: int,
    waiting_us: float,
    together: int,
) -> list[tuple[tuple[int, int], int, str]]: ...
def map_on_image(
    result: Result, values: npt.NDArray[np.float32], filter: str, fill: float, size: tuple[int, int]
) -> npt.NDArray[np.float32]: ...
def resize(
    image: npt.NDArray[np.uint8] | Pixels, size: tuple[int, int], filter: str = "bilinear", processor: str = "pillow"
) -> npt.NDArray[np.uint8]: ...
def open_jpeg_library(path: str) -> tuple[str, str]:
    """(the path of the library that decodes JPEG files, ""), or ("", why there is none). The first call decides."""

def open_png_library(path: str) -> tuple[str, str]:
    """The same of PNG files; "", or a library that cannot be used: the system's libpng."""

def decode_jpeg(
    file: bytes,
    size: tuple[int, int],
    resize: tuple[int, int] | None = None,
    filter: str = "bilinear",
    processor: str = "pillow",
    decode: str = "exact",
) -> Pixels:
    """Gray or RGB pixels of a file of ``size`` (height_px, width_px), resized row by row. Raises InvalidInputError."""

def decode_png(
    file: bytes,
    size: tuple[int, int],
    resize: tuple[int, int] | None = None,
    filter: str = "bilinear",
    processor: str = "pillow",
    alpha: str = "drop",
    background: tuple[int, int, int] = ...,
) -> tuple[Pixels, bool]:
    """(gray, RGB or RGBA pixels of a file of ``size`` (height_px, width_px), resized row by row and then without alpha;
    whether any pixel is not opaque). Raises InvalidInputError."""

def has_late_png_metadata(file: bytes) -> bool:
    """Whether chunks behind the pixels say anything of the image. Raises InvalidInputError."""

def jpeg_scale(size: tuple[int, int], target: tuple[int, int]) -> int:
    """By what scaled decoding divides the sides of an image (height_px, width_px) that is resized to ``target``."""

def decode_file_source(file: bytes, orientation: str, icc: str) -> Pixels:
    """What C++ callers get of a file (file_source of image_source.h), for tests."""

def check_jpeg_scans(file: bytes) -> None: ...
def to_rgb(
    image: npt.NDArray[np.uint8] | Pixels, alpha: str, background: tuple[int, int, int]
) -> npt.NDArray[np.uint8]: ...
