"""trtexec's options, if they mean the same here: what the user may set, and setting it on a builder's config.

Each feature is looked for in the installed library before it is used; what a version lacks is refused with its name.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from navit_edge.errors import BackendError, InvalidInputError

#: As trtexec spells them -> the member of the library's enumeration.
HARDWARE_LEVELS = {"none": "NONE", "ampere+": "AMPERE_PLUS", "sameComputeCapability": "SAME_COMPUTE_CAPABILITY"}
VERBOSITIES = ("layer_names_only", "detailed", "none")
MAX_OPTIMIZATION_LEVEL = 5
_UNITS = {"": 20, "B": 0, "K": 10, "M": 20, "G": 30}  # as trtexec: MiB if no unit is given


class CompilerOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decides an engine beside its graph, its target and its budgets. The defaults are the library's own."""

    optimization_level: int | None = None  # 0 to 5
    workspace_bytes: int | None = None  # most scratch memory of one layer
    max_aux_streams: int | None = None  # streams of its own beside the session's; 0 if not given
    version_compatible: bool = False
    hardware_compatibility: str = "none"  # a key of HARDWARE_LEVELS
    profiling_verbosity: str | None = None  # one of VERBOSITIES
    strip_plan: bool = False

    def check(self) -> None:
        """Raises InvalidInputError, naming what is known."""
        level = self.optimization_level
        if level is not None and not 0 <= level <= MAX_OPTIMIZATION_LEVEL:
            raise InvalidInputError(f"builder optimization level {level}; expected 0 to {MAX_OPTIMIZATION_LEVEL}")
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise InvalidInputError("workspace 0; expected a size such as 512M or 2G")
        if self.max_aux_streams is not None and self.max_aux_streams < 0:
            raise InvalidInputError(f"max aux streams {self.max_aux_streams}; expected 0 and up")
        if self.hardware_compatibility not in HARDWARE_LEVELS:
            raise InvalidInputError(
                f"unknown hardware compatibility level {self.hardware_compatibility!r}; "
                f"known: {', '.join(HARDWARE_LEVELS)}"
            )
        if self.profiling_verbosity is not None and self.profiling_verbosity not in VERBOSITIES:
            raise InvalidInputError(
                f"unknown profiling verbosity {self.profiling_verbosity!r}; known: {', '.join(VERBOSITIES)}"
            )

    def given(self) -> dict[str, str]:
        """What differs from the defaults, by the option's name on the command line."""
        values = {
            "--builder-optimization-level": self.optimization_level,
            "--workspace": None if self.workspace_bytes is None else f"{self.workspace_bytes}B",
            "--max-aux-streams": self.max_aux_streams,
            "--version-compatible": self.version_compatible or None,
            "--hardware-compatibility-level": None
            if self.hardware_compatibility == "none"
            else self.hardware_compatibility,
            "--profiling-verbosity": self.profiling_verbosity,
            "--strip-plan": self.strip_plan or None,
        }
        return {name: "true" if value is True else str(value) for name, value in values.items() if value is not None}


def parse_size(text: str) -> int:
    """Bytes of 512, 512M, 2G, 64K or 1048576B; without a unit in MiB, as trtexec counts. Raises InvalidInputError."""
    match = re.fullmatch(r"([0-9]{1,9})([.][0-9]{1,3})?([BKMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidInputError(f"workspace {text!r}; expected a size such as 512 (MiB), 512M or 2G")
    return int(float(match[1] + (match[2] or "")) * (1 << _UNITS[match[3].upper()]))


def apply(trt: Any, config: Any, options: CompilerOptions, *, library: str) -> None:
    """Sets the options on a builder's config. Raises BackendError where the installed library has no such feature."""

    def lacking(option: str, feature: str) -> BackendError:
        return BackendError(
            f"{library} {trt.__version__} has no {feature}; {option} needs a version that has it; leave it out or "
            "upgrade the library"
        )

    def set_attribute(option: str, name: str, value: Any) -> None:
        if not hasattr(config, name):
            raise lacking(option, name)
        setattr(config, name, value)

    def member(option: str, enum: str, name: str) -> Any:
        found = getattr(getattr(trt, enum, None), name, None)
        if found is None:
            raise lacking(option, f"{enum}.{name}")
        return found

    # Streams of their own cost memory each; the session runs packs side by side instead.
    if options.max_aux_streams is not None or hasattr(config, "max_aux_streams"):
        set_attribute("--max-aux-streams", "max_aux_streams", options.max_aux_streams or 0)
    if options.optimization_level is not None:
        set_attribute("--builder-optimization-level", "builder_optimization_level", options.optimization_level)
    if options.workspace_bytes is not None:
        pool = member("--workspace", "MemoryPoolType", "WORKSPACE")
        config.set_memory_pool_limit(pool, options.workspace_bytes)
    if options.version_compatible:
        config.set_flag(member("--version-compatible", "BuilderFlag", "VERSION_COMPATIBLE"))
        # A plan with a runtime inside is code to be executed; the lean runtime of the target takes its place.
        config.set_flag(member("--version-compatible", "BuilderFlag", "EXCLUDE_LEAN_RUNTIME"))
    if options.hardware_compatibility != "none":
        option, name = "--hardware-compatibility-level", HARDWARE_LEVELS[options.hardware_compatibility]
        set_attribute(option, "hardware_compatibility_level", member(option, "HardwareCompatibilityLevel", name))
    if options.profiling_verbosity is not None:
        option, name = "--profiling-verbosity", options.profiling_verbosity.upper()
        set_attribute(option, "profiling_verbosity", member(option, "ProfilingVerbosity", name))
    if options.strip_plan:
        config.set_flag(member("--strip-plan", "BuilderFlag", "STRIP_PLAN"))


def explain_refusal(message: str, options: CompilerOptions, *, library: str) -> str:
    """What the user may change, if one of these options is known to make the compiler fail; "" otherwise."""
    if options.strip_plan:
        return (
            f"; {library} strips weights only with a GPU of the target at hand; leave out --strip-plan or build on the "
            "target"
        )
    if options.workspace_bytes is not None and re.search(r"OutOfMemory|workspace|Requested size", message):
        return f"; --workspace allows {options.workspace_bytes} bytes; raise it or lower --token-budgets"
    return ""
