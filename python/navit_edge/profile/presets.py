"""Boards that nobody has tuned for us: what they limit. Nothing here is measured, nor was it compared with data sheets
one by one.

A preset has no engine and no times: it says what to build and how to tune.
"""

from __future__ import annotations

import msgspec

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Backend, Precision

NOT_MEASURED = "not measured"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """memory_gib: of the board; shared: CPU and GPU have it together, so that an engine's memory counts twice over for
    nothing else. cores: None if they differ. power_modes: as nvpmodel names them, if it does. precisions: the first is
    to be tried first. limits: sentences on what binds first."""

    name: str
    title: str
    memory_gib: int | None
    shared: bool
    cores: int | None
    gpu: str
    backend: Backend
    precisions: tuple[Precision, ...]
    power_modes: tuple[str, ...]
    limits: tuple[str, ...]
    status: str = NOT_MEASURED

    def commands(self) -> list[str]:
        """From a bundle to a profile on that board."""
        memory = "" if self.memory_gib is None else f" --memory {max(1, self.memory_gib // 4)}GiB"
        power = f" --power {self.power_modes[-1]}" if self.power_modes else ""
        return [
            f"navit-edge build-engine model.navit --backend {self.backend} --precision {','.join(self.precisions)}",
            f"navit-edge tune model.navit --images folder/{memory}{power} -o profile.json",
        ]


_ORIN: tuple[Precision, ...] = ("fp16", "int8", "bf16")

PRESETS: tuple[Preset, ...] = (
    Preset(
        name="orin-nano-8gb",
        title="Jetson Orin Nano 8 GB",
        memory_gib=8,
        shared=True,
        cores=6,
        gpu="Ampere, sm87",
        backend="tensorrt",
        precisions=_ORIN,
        power_modes=("7W", "15W", "25W", "MAXN_SUPER"),
        limits=(
            "CPU and GPU share 8 GB: the system and a camera take a part of it, so keep the engine, its arenas and the "
            "images well below half",
            "7W stops two of the six cores; 25W and MAXN_SUPER need JetPack 6.2 or later",
            "no fp8 in hardware",
        ),
    ),
    Preset(
        name="orin-nx",
        title="Jetson Orin NX, 8 or 16 GB",
        memory_gib=16,
        shared=True,
        cores=8,
        gpu="Ampere, sm87",
        backend="tensorrt",
        precisions=_ORIN,
        power_modes=("10W", "15W", "25W", "40W", "MAXN_SUPER"),
        limits=(
            "the module of 8 GB has six cores, and 20W in the place of 25W",
            "10W stops half of the cores, so decoding may bind before the GPU does",
            "no fp8 in hardware",
        ),
    ),
    Preset(
        name="agx-orin",
        title="Jetson AGX Orin, 32 or 64 GB",
        memory_gib=64,
        shared=True,
        cores=12,
        gpu="Ampere, sm87",
        backend="tensorrt",
        precisions=_ORIN,
        power_modes=("15W", "30W", "50W", "MAXN"),
        limits=(
            "the module of 32 GB has eight cores, and 40W in the place of 50W",
            "15W leaves four cores, 30W eight",
            "no fp8 in hardware",
        ),
    ),
    Preset(
        name="thor",
        title="Jetson AGX Thor (T5000)",
        memory_gib=128,
        shared=True,
        cores=14,
        gpu="Blackwell, sm110",
        backend="tensorrt",
        precisions=("fp16", "fp8", "int8", "bf16"),
        power_modes=("120W", "MAXN"),
        limits=(
            "memory does not bind a vision transformer; its bandwidth, 273 GB/s, may",
            "fp8 needs TensorRT of JetPack 7",
        ),
    ),
    Preset(
        name="rtx-laptop",
        title="laptop with a GeForce RTX (30, 40 or 50)",
        memory_gib=None,
        shared=False,
        cores=None,
        gpu="Ampere to Blackwell, sm86 to sm120",
        backend="tensorrt-rtx",
        precisions=("fp16", "bf16", "int8"),
        power_modes=(),
        limits=(
            "6 to 24 GB of the card's own memory, in which weights, arenas and contexts must fit",
            "the power limit of the GPU differs between laptops, and falls on battery: tune as you will run",
            "fp8 from sm89 on",
        ),
    ),
    Preset(
        name="x86-2-cores",
        title="x86 with 2 cores: a small server, a container",
        memory_gib=4,
        shared=True,
        cores=2,
        gpu="",
        backend="openvino",
        precisions=("fp32", "int8", "bf16"),
        power_modes=(),
        limits=(
            "compute binds: token caps and policies gain more than threads",
            "bf16 pays with avx512_bf16 or amx_bf16, int8 with VNNI; `navit-edge doctor` says what this CPU has",
            "a CPU quota counts as fewer cores",
        ),
    ),
    Preset(
        name="arm-4-cores",
        title="64-bit Arm with 4 cores: a single-board computer",
        memory_gib=4,
        shared=True,
        cores=4,
        gpu="",
        backend="openvino",
        precisions=("fp32", "fp16", "int8"),
        power_modes=(),
        limits=(
            "compute and memory bandwidth bind: begin with a small model and 64 to 256 tokens an image",
            "fp16 pays with asimdhp, int8 with asimddp or i8mm; bf16 is rare on such boards",
            "without a fan the clock falls after minutes: tune for 10 minutes or more",
        ),
    ),
)


def preset(name: str) -> Preset:
    """Raises InvalidInputError if there is none of that name."""
    for one in PRESETS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in PRESETS)
    raise InvalidInputError(f"there is no preset {name!r} and no such file; expected a profile, or one of {names}")
