"""What a GPU's compute capability can compute, and the refusal of what it cannot, before anything is built."""

from __future__ import annotations

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import FLOATS

#: Compute capabilities that TensorRT-RTX compiles for ahead of time.
COMPUTE_CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
#: RTX cards of the generations Ampere, Ada and Blackwell: one engine runs on all of them.
DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
NATIVE = "native"
TURING = "sm75"

_BF16_FROM = 80  # Ampere
_FP8_FROM = 89  # Ada


def number(target: str) -> int:
    """ "sm86" -> 86."""
    return int(target.removeprefix("sm"))


def precisions_of(backend: str, target: str) -> tuple[str, ...]:
    """What ``target`` computes under ``backend``, best first.

    bf16 comes first, since its range is that of float32, so that no checkpoint overflows. TensorRT-RTX compiles no
    float32 matrix product for sm75.
    """
    capability = number(target)
    found = ["bf16"] if capability >= _BF16_FROM else []
    found.append("fp16")
    if not (backend == "tensorrt-rtx" and target == TURING):
        found.append("fp32")
    found.append("int8")
    if capability >= _FP8_FROM:
        found.append("fp8")
    return tuple(found)


def check_precision(backend: str, precision: str, targets: tuple[str, ...]) -> None:
    """Raises InvalidInputError where one of ``targets`` ("sm86") cannot compute in ``precision``.

    The message says what the target can do.
    """
    for target in targets:
        able = precisions_of(backend, target)
        if precision not in able:
            since = {"bf16": "; bf16 needs sm80 or later", "fp8": "; fp8 needs sm89 or later"}.get(precision, "")
            remedy = (
                f"leave {target} out of --target, or --precision out for the best of each target"
                if backend == "tensorrt-rtx"
                else "leave out --precision for the best"
            )
            raise InvalidInputError(f"precision {precision} for {target}; it can do {', '.join(able)}{since}; {remedy}")


def float_precision(precision: str, targets: tuple[str, ...]) -> str:
    """What computes beside the quantized layers of an int8 or fp8 engine: the 16-bit type that all ``targets`` have.

    Other precisions are what they say.
    """
    if precision in FLOATS:
        return precision
    return "bf16" if all(number(target) >= _BF16_FROM for target in targets) else "fp16"


def check_fp32_trunk(backend: str, targets: tuple[str, ...]) -> None:
    """Raises InvalidInputError where one of ``targets`` computes no float32 products."""
    for target in targets:
        if "fp32" not in precisions_of(backend, target):
            raise InvalidInputError(
                f"--fp32-trunk for {target}, for which {backend} compiles no float32 products; leave out one of them"
            )
