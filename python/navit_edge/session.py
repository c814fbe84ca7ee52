"""Running a bundle from Python: images of any size in, one result per image out.

Python arranges, C++ computes: ``pixels.py`` turns arrays, PIL images and paths into pixels that C++ borrows; planning,
packing, the engine and unpacking are in ``csrc/src/session/session.cc``.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from navit_edge import _core
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.decode.options import given_options, within
from navit_edge.decode.recall import Recall
from navit_edge.errors import InvalidInputError
from navit_edge.future import Delivery
from navit_edge.machine.libraries import package_directories, tensorrt_directories
from navit_edge.metrics import SessionMetrics
from navit_edge.options import (
    checked_bytes,
    checked_deadline_us,
    checked_devices,
    checked_float,
    checked_int,
    checked_options,
    checked_text,
)
from navit_edge.pixels import Given, checked_layout, checked_list, gathered, is_one_image
from navit_edge.policy import Policy, checked
from navit_edge.streaming import Still, Stream
from navit_edge.submitting import Submitting
from navit_edge.text import without_halves
from navit_edge.vocabulary import DROPS, Decode, Device, Drop, EnginePrecision, Layout, OnError, Overflow, Strategy, Use

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike
    from navit_edge.profile import Profile

Result = _core.Result


class Session(Submitting):
    """An open bundle: ``run`` takes lists, ``submit`` single images, ``stream`` images without end. Thread-safe; all
    callers share the engine. A context manager, which closes it.

    bundle: the ``.navit`` directory.
    device: "auto" (a GPU if an engine can use one, else the CPU), "cpu", "gpu" or "npu".
    devices: several of a kind, each with engines of its own: GPUs by their numbers, [0, 1]; cores of a CPU or NUMA
        nodes, ["cpu:0-3", "cpu:4-7"] or ["numa:0", "numa:1"]. They share one queue; each pack goes to the one that is
        predicted to end it first; one that fails is left out (docs/runtime.md). (): one device.
    engine: the id of one engine of the bundle, or of a group of engines (one for each token budget); never replaced by
        another.
    precision: "auto" or "fp32", "fp16", "bf16", "int8", "fp8": only engines of that precision.
    threads: CPU threads in all, 1 to 1024; 0 takes every core that this process can keep busy, by its affinity or
        by the CPU quota of its container.
    slots: packs in flight at once, 1 to 64; an engine that cannot open so many is an error. 0, the default: on a GPU
        two, or one if two do not open (``candidates`` then says why); on a CPU one with all cores, and two while two
        packs wait.
    max_tokens_per_image: most patches of an image; lowers what the bundle's sizing rule gives, never raises it
        (docs/preprocessing.md); 0 leaves the rule as it is.
    strategy: which images share a pack: "auto" (the least predicted time), or a name of ``navit_edge.plan``.
    overflow: what becomes of an image that is longer than every budget: "error" (it fails with OverBudgetError) or
        "downscale" (it is resized to the largest grid that fits; ``result.reason`` says so).
    policy: how many tokens an image gets, if a call says nothing else.
    decode: how files and PIL images are decoded: formats, limits, and what goes before the bundle's own orientation and
        colour profile (docs/inputs.md). "scaled" is ``DecodeOptions(jpeg="scaled")``.
    decoders: threads that decode the files of ``submit`` and ``stream``, 1 to 256; 0: as many as ``threads``, half of
        them where the engine computes on the same cores.
    queue_limit: submitted images that may wait at once; ``submit`` waits while so many do. A higher priority has places
        of its own beyond them, up to twice as many (docs/runtime.md).
    queue_bytes: the same of the bytes of their pixels; one image is always let in; 0: no limit.
    cache_bytes: results are remembered, as long as they take no more than so many bytes, and an image that was seen
        before gets them again, without a run (docs/cache.md); 0, the default: none are.
    max_memory: bytes, or a text such as "512MiB", that the process stays under, engine included: slots, packs and
        caches are chosen so, or BackendError has the numbers (docs/memory.md). 0, the default: no limit.
    aging_ms: what has waited for longer, an image or a run, gets at least every fourth pack, whatever its priority, 0
        to 3600000.
    batch_wait_ms: how long an idle engine waits for more images after the oldest waiting one came, so that they share a
        pack, 0 to 3600000; 0: not at all. Never past a deadline.
    stall_timeout_s: a pack that the engine holds for longer is given up, and the session with it, 0.001 to 604800; 0:
        never.
    profile, use: what `navit-edge tune` wrote; the engine, threads, slots, policy and limit of memory that it
        recommends for "balanced", "fast" or "best", if they are not given here (docs/tune.md).
    backend_dirs: searched for backend libraries before the usual places.
    options: of the engine's backend, name to value; names and values that it does not have are refused. For OpenVINO
        "device", "CPU_RUNTIME_CACHE_CAPACITY" and "shape_quantum" (docs/memory.md); for TensorRT those of
        docs/tensorrt-backend.md.

    Raises BundleError if the bundle is missing, altered or of another schema, and BackendError if no engine can
    run here; the message lists each engine with its reason.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        device: Device = "auto",
        devices: Sequence[int | str] = (),
        engine: str = "",
        precision: EnginePrecision = "auto",
        threads: int = 0,
        slots: int = 0,
        max_tokens_per_image: int = 0,
        strategy: Strategy = "auto",
        overflow: Overflow = "error",
        policy: Policy | None = None,
        decode: DecodeOptions | Decode | None = None,
        decoders: int = 0,
        queue_limit: int = 1024,
        queue_bytes: int = 1 << 30,
        cache_bytes: int = 0,
        max_memory: int | str = 0,
        aging_ms: float = 1000.0,
        batch_wait_ms: float = 0.0,
        stall_timeout_s: float = 60.0,
        profile: str | os.PathLike[str] | Profile | None = None,
        use: Use | None = None,
        backend_dirs: Sequence[str | os.PathLike[str]] = (),
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        if isinstance(backend_dirs, (str, bytes, os.PathLike)):
            raise InvalidInputError(f"backend_dirs is {backend_dirs!r}; expected a list of folders")
        if profile is not None or use is not None:
            from navit_edge.profile import applied_to_session  # not without: it asks what the machine is

            by_engine = {"engine": engine, "precision": precision, "device": device, "devices": devices}
            applied = applied_to_session(profile, use, bundle, threads, slots, max_memory, **by_engine)
            engine, threads, slots, max_memory = applied.engine, applied.threads, applied.slots, applied.max_memory
            policy = policy or Policy.parse(applied.policy)
        decoding = given_options(decode)
        self._core = _core.Session(
            os.fspath(bundle),
            device=checked_text("device", device),
            devices=checked_devices(devices),
            engine=without_halves(checked_text("engine", engine)),
            precision=checked_text("precision", precision),
            threads=checked_int("threads", threads),
            slots=checked_int("slots", slots),
            max_tokens_per_image=checked_int("max_tokens_per_image", max_tokens_per_image),
            strategy=checked_text("strategy", strategy),
            overflow=checked_text("overflow", overflow),
            backend_dirs=[os.fspath(path) for path in backend_dirs],
            vendor_dirs=[os.fspath(place / "libs") for place in package_directories("openvino")],
            options={"tensorrt_wheels": ":".join(map(os.fspath, tensorrt_directories()))} | checked_options(options),
            queue_limit=checked_int("queue_limit", queue_limit),
            queue_bytes=checked_int("queue_bytes", queue_bytes),
            decoders=checked_int("decoders", decoders),
            decode_bytes=decoding.max_bytes_in_flight,
            decode=decoding.jpeg,
            cache_bytes=checked_int("cache_bytes", cache_bytes),
            max_memory_bytes=checked_bytes("max_memory", max_memory),
            aging_us=checked_float("aging_ms", aging_ms) * 1000.0,
            batch_wait_us=checked_float("batch_wait_ms", batch_wait_ms) * 1000.0,
            stall_timeout_s=checked_float("stall_timeout_s", stall_timeout_s),
            policy=checked(policy),
        )
        #: What the session has done so far: numbers, Prometheus text, traces (docs/metrics.md).
        self.metrics = SessionMetrics(self._core)
        self._delivery = Delivery(self._core)
        left = self.engine_report["memory"]["left_bytes"] if checked_bytes("max_memory", max_memory) else None
        self._decoder = Decoder(within(decoding, left), Recorded(**self._core.decoding))
        #: Most bytes of remembered results; 0: none are.
        self.cache_bytes = checked_int("cache_bytes", cache_bytes)
        self._recall = Recall.of(self._core, self._decoder)
        #: What the last ``run`` did: {"packs": [...], "most_in_flight": ..., "total_us": ..., "predicted_us": ...,
        #: "cost_measured": ..., "decode": {"jpeg": "exact"}}; of each pack also the engine, the device (its index) and
        #: the slot that ran it.
        self.last_report: dict[str, Any] = {"packs": [], "most_in_flight": 0, "total_us": 0.0, "predicted_us": 0.0}
        self.last_report |= {"cost_measured": False, "decode": {"jpeg": self._decoder.recorded.decode}}
        self._budgets_seen: set[int] = set()
        self._warned: set[str] = set()

    @property
    def decoder(self) -> Decoder:
        """What decodes files for this session: by the bundle, and by ``decode``."""
        return self._decoder

    def run(
        self,
        images: Sequence[ImageLike],
        *,
        on_error: OnError = "raise",
        progress: Callable[[int, int], object] | None = None,
        policy: Policy | None = None,
        layout: Layout | None = None,
    ) -> list[Result]:
        """Runs images of any size; returns one result per image, in input order.

        images: numpy uint8 arrays [height_px, width_px, 3] (RGB), [height_px, width_px, 4] (RGBA) or
            [height_px, width_px] (gray), of any row stride; tensors and arrays of other libraries in CPU memory
            (DLPack, numpy's protocols); ``navit_edge.Pixels`` for BGR, NV12 and other formats; PIL images of any
            mode; paths, the bytes of image files, and open binary files, read to their end. Arrays are read in place.
            Files and PIL images are decoded before anything runs and held until the end: for more of them than
            ``DecodeOptions.max_run_bytes`` take ``stream``.
        on_error: "raise" raises the first failing image's error; "return" sets ``result.error`` for it alone and
            completes the rest.
        progress: called in this thread with (images done, images in all) after each pack. What it raises ends the run
            when the packs in flight are done.
        policy: how many tokens an image gets; None: the session's.
        layout: of arrays and tensors of three dimensions: "hwc", or "chw" (PyTorch's; copied into rows). None: "hwc";
            tensors of which the shape says no more are then refused.

        Each result has ``logits`` [classes], ``embedding`` [D] and ``tokens`` [rows * cols, D] (float32, read-only;
        None if the bundle does not offer it; [rows * cols / 4, D] of a model that merges 2 x 2 patches),
        ``grid`` (rows, cols), ``token_count``, ``pack``, ``latency_ms``, and
        ``reason``: what was done to the image, "" if nothing was. It is made of ``decoding`` (turned upright,
        reduced to 8 bits, converted to sRGB, first of several frames, alpha composited) and ``sizing`` (why it has
        fewer tokens than the sizing rule gives, by a policy or to fit a budget).
        The image's point (y, x), in pixels, lies at (y, x) * ``scale`` + ``offset`` on the grid * patch pixels.
        Raises InvalidInputError, OverBudgetError or BackendError.
        """
        images = checked_list(images, "run", "session.stream(images)")
        _check_on_error(on_error)
        checked_layout(layout)
        if len(images) == 0:
            raise InvalidInputError("images is empty; expected at least one image; skip the call if there is none")
        chosen = checked(policy)
        began = time.perf_counter()
        look = self._recall.for_list(chosen) if self._recall else None
        decoder = self._decoder.toward(self._core, chosen)
        given, refused = gathered(images, decoder, layout, on_error=on_error, look=look)
        pixels = [one.pixels if isinstance(one, Given) else one for one in given]
        contents = [one.content if isinstance(one, Given) else None for one in given] if look else []
        spent_us = (time.perf_counter() - began) * 1e6  # decoding: a latency target counts it
        results, self.last_report = self._core.run(pixels, progress, chosen, contents, spent_us)
        self.last_report["decode"] = {"jpeg": self._decoder.recorded.decode}
        self._warn_of_fallbacks()
        _say_what_decoding_did(results, given)
        for index, refusal in refused.items():
            results[index] = _core.Result.failed(refusal, index)
        if on_error == "raise":
            first = next((result.error for result in results if result.error is not None), None)
            if first is not None:
                try:
                    raise first
                finally:  # its traceback holds this frame, which would hold the results, and they the session
                    del first, results, refused
        return results

    def stream(
        self,
        images: Iterable[ImageLike | tuple[ImageLike, Any]],
        *,
        ordered: bool = True,
        capacity: int = 0,
        drop: Drop = "block",
        deadline_ms: float | None = None,
        priority: int = 0,
        policy: Policy | None = None,
        layout: Layout | None = None,
        on_error: OnError = "return",
        still: Still | None = None,
    ) -> Stream:
        """Results of images that come one after the other, however many; an iterator.

        images: any iterable of what ``run`` takes, or of pairs (image, tag): a list, a generator, a camera's loop. Read
            by another thread, a bounded number of images ahead, from the first ``next`` on. An array is read where it
            lies: leave it unchanged until its result comes (a camera that writes each frame into the same array needs
            a ``copy``).
        ordered: results in the order of the images; False: as they are ready.
        capacity: most images between the source and you; 0: the images of the largest budget times slots + 2. Their
            pixels take at most ``DecodeOptions.max_bytes_in_flight``, 256 MiB; the session's threads decode files.
        drop: what happens if that many are there. "block": the source is read no further. For live sources:
            "drop-newest" leaves the new image out; "drop-oldest" cancels the oldest that is not in a pack yet (if
            there is none, the oldest result you have not fetched; else the new image). Dropped images give no result;
            ``stream.dropped`` counts them.
        deadline_ms, priority, policy, layout: of each image, as in ``submit``.
        on_error: "return" sets ``result.error`` of an image that failed; "raise" raises the first one and ends the
            stream.
        still: of one camera's frames, arrays or ``Pixels``: those that are as an earlier one was get its result again
            (``result.cached``). The session has to remember results: ``Session(cache_bytes=64 << 20)``.

        ``result.index`` is the position in the source, ``result.tag`` the tag of the pair, else None. What the source
        raises is raised after the results before it. Leaving the loop, or ``close()``, cancels what waits. Raises
        InvalidInputError, and while it runs CancelledError if the session is closed and BackendError if it is
        broken.
        """
        if is_one_image(images) or not isinstance(images, Iterable):
            kind = type(images).__name__
            raise InvalidInputError(f"images is of type {kind}; expected an iterable of images: stream([image])")
        if drop not in DROPS:
            raise InvalidInputError(f"drop is {drop!r}; expected one of {', '.join(DROPS)}")
        _check_on_error(on_error)
        chosen = checked(policy)
        return Stream(
            self._delivery,
            images,
            ordered=bool(ordered),
            capacity=checked_int("capacity", capacity),
            drop=drop,
            decoder=self._decoder_of(chosen),
            recall=self._recall,
            deadline_us=checked_deadline_us(deadline_ms),
            priority=checked_int("priority", priority),
            policy=chosen,
            layout=checked_layout(layout),
            on_error=on_error,
            still=_checked_still(still),
        )

    def close(self) -> None:
        """Takes no more images: packs in flight finish, images that wait get CancelledError, and every future is done
        when this returns, its callbacks called. May be called again; the interpreter does it at exit. In a forked child
        it does nothing."""
        self._delivery.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def broken(self) -> str:
        """The first cause if the session takes no more images, since three packs in a row failed or one stalled;
        else empty."""
        return self._core.broken

    def _warn_of_fallbacks(self) -> None:
        """A RuntimeWarning, once, if the engine does otherwise than it was meant to; the first pack of each budget
        shows it."""
        budgets = {int(pack["budget_tokens"]) for pack in self.last_report["packs"]}
        if budgets <= self._budgets_seen:
            return
        self._budgets_seen |= budgets
        for text in self.engine_report.get("warnings", []):
            if text not in self._warned:
                self._warned.add(text)
                warnings.warn(f"engine {self.engine}: {text}", RuntimeWarning, stacklevel=3)

    @property
    def engine_report(self) -> dict[str, Any]:
        """What the opened engine says of itself: library, device, slots, for TensorRT the arena and the CUDA graph of
        each budget ("captured", "not yet", "off: ...", "fallback: ..."), for OpenVINO precisions, streams and threads;
        ``cpu``: how many threads, and why; ``choice``: why this engine; ``decode``: how files are decoded; ``memory``:
        docs/memory.md; ``warnings``: what it does otherwise than meant. Of a group {"engines": {id: ...}}, of devices
        {"devices": {name: ...}}."""
        report: dict[str, Any] = json.loads(self._core.engine_report().decode("utf-8", "replace"))
        return report

    @property
    def engine(self) -> str:
        """Id of the engine or the group of engines in use."""
        return self._core.engine

    @property
    def precision(self) -> str:
        """Precision of the engine in use."""
        return self._core.precision

    @property
    def threads(self) -> int:
        """CPU threads that the session takes; ``engine_report["cpu"]["why"]`` says why so many."""
        return self._core.threads

    @property
    def slots(self) -> int:
        """How many packs may be in flight at once."""
        return self._core.slots

    @property
    def device(self) -> str:
        """What runs it, in words; of several devices all."""
        return self._core.device

    @property
    def devices(self) -> list[dict[str, Any]]:
        """What each device has done, as ``metrics.stats()["devices"]``: ``name`` ("gpu:1"), ``device`` (in words),
        ``lost`` (why it takes no more packs; "" if it does), ``slots``, ``in_flight``, ``packs``, ``packs_failed``,
        ``images``, ``tokens``, ``busy_s``."""
        devices: list[dict[str, Any]] = self._core.metrics()["devices"]
        return devices

    @property
    def labels(self) -> list[str]:
        """Class names, if the bundle has any."""
        return self._core.labels

    @property
    def candidates(self) -> list[tuple[str, bool, str]]:
        """(engine or group id, usable, the device or why not) of all that were considered, in order.

        If the one in use has one slot because two did not open, that follows the device.
        """
        return self._core.candidates

    def __repr__(self) -> str:
        return f"<navit_edge.Session engine={self.engine!r} device={self.device!r}>"


def _say_what_decoding_did(results: list[_core.Result], given: list[Given | Result | None]) -> None:
    for result, one in zip(results, given, strict=True):
        if isinstance(one, Given) and one.done:
            result.decoding = one.done


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "return"):
        raise InvalidInputError(f'on_error is {on_error!r}; expected "raise" or "return"')


def _checked_still(still: object) -> Still | None:
    if still is None or isinstance(still, Still):
        return still and Still(
            levels=checked_int("still_levels", still.levels),
            share=checked_float("still_share", still.share),
            every=checked_int("still_every", still.every),
        )
    raise InvalidInputError(f"still is {still!r}; expected navit_edge.Still(), or None")
