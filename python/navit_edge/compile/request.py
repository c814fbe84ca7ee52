"""What the caller asks for, checked as far as it can be without the bundle and without a vendor's library."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from navit_edge.compile import targets as gpu_targets
from navit_edge.compile.compiler_options import CompilerOptions
from navit_edge.compile.lowering import LOWERINGS
from navit_edge.compile.targets import COMPUTE_CAPABILITIES, NATIVE
from navit_edge.errors import InvalidInputError
from navit_edge.options import whole
from navit_edge.vocabulary import PRECISIONS, QUANTIZED

#: Backend -> the module of this package that builds for it.
BACKENDS = {
    "openvino": "navit_edge.compile.openvino",
    "tensorrt-rtx": "navit_edge.compile.tensorrt_rtx",
    "tensorrt": "navit_edge.compile.tensorrt",
}
#: No engine is built for packs above this: positions and sizes are int32 and activations grow with it.
MAX_TOKENS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Options of a build. What is left empty gets the backend's default.

    backend: "openvino", "tensorrt-rtx" or "tensorrt".
    token_budgets: Most tokens in a pack, one optimization profile each (OpenVINO: the largest counts).
    max_images: Most images in a pack: one number for all budgets, or one for each.
    precision: "fp32", "fp16", "bf16", "int8" and "fp8", in order of preference; the last two need a quantized
        graph.
    targets: "cpu" for OpenVINO; "sm75" … "sm121", or "native", for TensorRT-RTX; "native" for TensorRT.
    lowering: "auto", or "masked", "padded", "packed".
    memory_bytes: The largest budget whose engine runs in a process of so much memory (OpenVINO only); 0: no limit.
    force: Build even if the bundle holds an engine built from the same graph with the same options.

    For TensorRT and TensorRT-RTX only:
        engine_per_budget: One engine for each budget instead of one that holds them all.
        strict: fp32 without 16-bit attention.
        fp32_trunk: Only attention in the 16-bit precision that is named; all else of the trunk in float32.
        require_fused: Fail if attention is not proven to be one fused kernel.
        timing_cache: File of the builder's timings, read and written (TensorRT only).
        compiler: Options of the vendor's compiler.
    """

    backend: str
    token_budgets: tuple[int, ...] = ()
    max_images: tuple[int, ...] = ()
    precision: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    lowering: str = "auto"
    memory_bytes: int = 0
    force: bool = False
    engine_per_budget: bool = False
    strict: bool = False
    fp32_trunk: bool = False
    require_fused: bool = False
    timing_cache: Path | None = None
    compiler: CompilerOptions = field(default_factory=CompilerOptions)

    def __post_init__(self) -> None:
        """Raises InvalidInputError, naming what is known."""
        for name in ("token_budgets", "max_images"):  # numpy's numbers become Python's: reports are made of them
            counts = tuple(whole(name, one, "whole numbers") for one in getattr(self, name))
            object.__setattr__(self, name, counts)
        if self.backend not in BACKENDS:
            raise InvalidInputError(f"unknown backend {self.backend!r}; known: {', '.join(BACKENDS)}")
        for precision in self.precision:
            if precision not in PRECISIONS:
                raise InvalidInputError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        if self.lowering not in LOWERINGS:
            raise InvalidInputError(f"unknown lowering {self.lowering!r}; known: {', '.join(LOWERINGS)}")
        known = known_targets(self.backend)
        for target in self.targets:
            if target not in known:
                raise InvalidInputError(f"unknown target {target!r} for {self.backend}; known: {', '.join(known)}")
        if NATIVE in self.targets and len(self.targets) > 1:
            raise InvalidInputError(f"targets {_join(self.targets)}; expected native alone, or names such as sm86")
        self.compiler.check()
        self._check_backend()
        self._check_precisions()
        for budget in self.token_budgets:
            if not 1 <= budget <= MAX_TOKENS:
                raise InvalidInputError(f"token budget {budget}; expected 1 to {MAX_TOKENS} tokens")
        for name in ("token_budgets", "precision", "targets"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InvalidInputError(f"{name.replace('_', ' ')} {_join(values)} repeats itself; expected each once")
        for images in self.max_images:
            if images < 1:
                raise InvalidInputError(f"max images {images}; expected 1 and up")
        if len(self.max_images) > 1 and len(self.max_images) != len(self.token_budgets):
            raise InvalidInputError(
                f"{len(self.max_images)} values of max images ({_join(self.max_images)}) for {len(self.token_budgets)} "
                "token budgets; expected one for all or one for each"
            )

    def _check_backend(self) -> None:
        """Options that a backend has no notion of."""
        if self.backend == "openvino":
            given = {
                "--engine-per-budget": self.engine_per_budget,
                "--strict": self.strict,
                "--fp32-trunk": self.fp32_trunk,
                "--require-fused": self.require_fused,
                "--timing-cache": self.timing_cache is not None,
                **dict.fromkeys(self.compiler.given(), True),
            }
            wrong = [name for name, is_given in given.items() if is_given]
            if wrong:
                raise InvalidInputError(
                    f"{', '.join(wrong)} with openvino, which has no such option; "
                    "leave it out, or build for tensorrt-rtx or tensorrt"
                )
            if self.lowering == "packed":
                raise InvalidInputError(
                    "lowering packed for openvino, which has no such kernel; it can do padded, masked"
                )
        elif self.memory_bytes:
            raise InvalidInputError(
                f"--memory with {self.backend}, whose activations only its builder knows; it is for openvino; take "
                "--workspace and smaller --token-budgets"
            )
        elif self.lowering == "padded":
            raise InvalidInputError(
                f"lowering padded for {self.backend}: its gathers to the longest image need a third extent beside "
                "tokens and images, which its profiles here do not have; it can do masked; padded is for openvino"
            )
        if self.backend == "tensorrt-rtx":
            if self.timing_cache is not None:
                raise InvalidInputError(
                    "--timing-cache with tensorrt-rtx, which times nothing ahead of time and ignores it; leave it out"
                )
            if self.compiler.hardware_compatibility != "none":
                raise InvalidInputError(
                    "--hardware-compatibility-level with tensorrt-rtx, which does not support it; name all the GPUs "
                    "instead: --target sm86,sm89,sm120"
                )

    def _check_precisions(self) -> None:
        """What no machine can do; what this machine cannot do, the backend's module refuses."""
        if self.backend == "openvino":
            for precision in self.precision:
                if precision == "fp8":
                    raise InvalidInputError(
                        "precision fp8 for openvino, which computes fp8 graphs in float on a CPU: the error of fp8 "
                        "without its speed; it can do int8, fp32, and bf16 if the CPU can"
                    )
                if precision == "fp16":
                    raise InvalidInputError(
                        f"precision {precision} for openvino; it can do fp32, int8, and bf16 if the CPU has it"
                    )
        if self.backend == "tensorrt-rtx" and NATIVE not in self.targets:
            named = self.targets or gpu_targets.DEFAULT_TARGETS
            for precision in self.precision:
                gpu_targets.check_precision(self.backend, precision, named)
            if self.fp32_trunk:
                gpu_targets.check_fp32_trunk(self.backend, named)
        if self.strict and self.precision != ("fp32",):
            raise InvalidInputError(
                f"--strict with precision {_join(self.precision) or 'left to the target'}; expected --precision fp32, "
                "of which it is the form without 16-bit attention"
            )
        if self.strict and self.require_fused:
            raise InvalidInputError(
                "--strict with --require-fused; attention in float32 is never one fused kernel; leave out one of them"
            )
        quantized = [precision for precision in self.precision if precision in QUANTIZED]
        if self.fp32_trunk and quantized:
            raise InvalidInputError(
                f"--fp32-trunk with precision {_join(tuple(quantized))}, whose layers are not in float32; leave out "
                "one; navit-edge quantize --skip-layers leaves single layers in float"
            )
        if self.fp32_trunk and "fp32" in self.precision:
            raise InvalidInputError(
                "--fp32-trunk with precision fp32, which keeps all of the trunk in float32 as it is; leave out one"
            )


def known_targets(backend: str) -> tuple[str, ...]:
    return {
        "openvino": ("cpu",),
        "tensorrt-rtx": (*COMPUTE_CAPABILITIES, NATIVE),
        "tensorrt": (NATIVE,),
    }[backend]


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
