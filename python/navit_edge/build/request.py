"""What the caller asks for, checked as far as it can be without the bundle and without a vendor's library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from navit_edge.errors import InvalidInputError

#: Backend -> the module of this package that builds for it.
BACKENDS = {
    "openvino": "navit_edge.build.openvino",
    "tensorrt-rtx": "navit_edge.build.tensorrt_rtx",
    "tensorrt": "navit_edge.build.tensorrt",
}
PRECISIONS = ("fp32", "fp16", "bf16")
#: Compute capabilities that TensorRT-RTX compiles for ahead of time.
COMPUTE_CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
#: No engine is built for packs above this: positions and sizes are int32 and activations grow with it.
MAX_TOKENS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Options of a build. What is left empty gets the backend's default.

    Attributes:
        backend: "openvino", "tensorrt-rtx" or "tensorrt".
        token_budgets: Most tokens in a pack, one optimization profile each (OpenVINO: the largest counts).
        max_images: Most images in a pack: one number for all budgets, or one for each.
        precision: "fp32", "fp16" and "bf16", in order of preference.
        targets: "cpu" for OpenVINO; "sm75" … "sm121" for TensorRT-RTX; "native" for TensorRT.
        force: Build even where the bundle holds an engine built from the same graph with the same options.
    """

    backend: str
    token_budgets: tuple[int, ...] = ()
    max_images: tuple[int, ...] = ()
    precision: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    force: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidInputError, naming what is known."""
        if self.backend not in BACKENDS:
            raise InvalidInputError(f"unknown backend {self.backend!r}; known: {', '.join(BACKENDS)}")
        for precision in self.precision:
            if precision not in PRECISIONS:
                raise InvalidInputError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        known = known_targets(self.backend)
        for target in self.targets:
            if target not in known:
                raise InvalidInputError(f"unknown target {target!r} for {self.backend}; known: {', '.join(known)}")
        self._check_precisions()
        for budget in self.token_budgets:
            if not 1 <= budget <= MAX_TOKENS:
                raise InvalidInputError(f"token budget {budget}; expected 1 to {MAX_TOKENS} tokens")
        for field in ("token_budgets", "precision", "targets"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise InvalidInputError(f"{field.replace('_', ' ')} {_join(values)} repeats itself; expected each once")
        for images in self.max_images:
            if images < 1:
                raise InvalidInputError(f"max images {images}; expected 1 and up")
        if len(self.max_images) > 1 and len(self.max_images) != len(self.token_budgets):
            raise InvalidInputError(
                f"{len(self.max_images)} values of max images ({_join(self.max_images)}) for {len(self.token_budgets)} "
                "token budgets; expected one for all or one for each"
            )

    def _check_precisions(self) -> None:
        """What no machine can do; what this machine cannot do, the backend's module refuses."""
        if self.backend == "openvino" and "fp16" in self.precision:
            raise InvalidInputError("precision fp16 for openvino; it can do fp32, and bf16 where the CPU can")
        if self.backend == "tensorrt-rtx" and "sm75" in self.targets:
            for precision in self.precision:
                if precision != "fp16":
                    raise InvalidInputError(
                        f"precision {precision} for sm75; it can do fp16; leave sm75 out of --target, or --precision "
                        "out for the best of each target"
                    )


def known_targets(backend: str) -> tuple[str, ...]:
    return {"openvino": ("cpu",), "tensorrt-rtx": COMPUTE_CAPABILITIES, "tensorrt": ("native",)}[backend]


def parse_numbers(text: str, *, what: str) -> tuple[int, ...]:
    """Reads 256,1024,4096. Raises InvalidInputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InvalidInputError(f"{what} {text!r}; expected whole numbers with commas between, such as 256,1024,4096")
    return tuple(int(part) for part in parts)


def parse_words(text: str) -> tuple[str, ...]:
    """Reads words with commas between, in any case: SM86,sm89 are sm86 and sm89."""
    return tuple(part.strip().lower() for part in text.split(","))


def _join(values: tuple[object, ...]) -> str:
    return ",".join(str(value) for value in values)
