"""Step "pixels": from files to a model's rate: decoding, preprocessing, the copy to the device, and what overlaps.

Which of them is the slowest is the limit of a service that keeps one device busy. The model is PyTorch's stand-in for
an engine (proof/packing.py), so the limit is where an engine of that speed would meet it.
"""

from __future__ import annotations

import io
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.machine.cores import usable_cores
from proof.packing import SIZES, TINY, Blocks, Load, form_of
from proof.results import Results
from proof.settings import Settings
from proof.timing import Call, captured, median_us

PATCH_PX = 16
#: A pack: images of this many pixels become grids of so many patches.
PIXELS, GRID = (480, 640), (12, 16)


def run(settings: Settings, results: Results) -> None:
    """All stages, and which of them is the slowest."""
    cuda = settings.device == "cuda"
    count = 42 if cuda else 4 if settings.quick else 16
    rounds = 15 if cuda else 3
    cores = usable_cores()
    results.put("cores", cores)
    images = _photographs(count)
    rates = {"decode": _decoding(images, cores, rounds)}
    packer = _core.Packer.of(
        inputs=["patches"], patch_px=PATCH_PX, sizing=to_json(Sizing(rule="native")), threads=cores
    )
    grids = [GRID] * count
    patches = packer.write(list(images), grids)["patches"]
    rates["preprocess"] = count / _seconds(lambda: packer.write(list(images), grids), rounds)

    host = torch.from_numpy(np.array(patches))
    host = host.pin_memory() if cuda else host
    there = torch.empty_like(host, device=settings.device)
    copy_us = median_us(lambda: there.copy_(host, non_blocking=True), settings.device, rounds=rounds)
    rates["copy"] = count / copy_us * 1e6
    results.put("copy", {
        "gigabytes_per_s": host.numel() / copy_us / 1e3, "bytes": host.numel(),
        "what": "page-locked memory to the device" if cuda else "memory to memory, in place of the copy to a device",
    })  # fmt: skip
    results.check("the copy holds the packer's bytes", bool(np.array_equal(there.cpu().numpy(), patches)))

    size = SIZES[0] if cuda else TINY
    load = Load(name="pixels", lengths=(GRID[0] * GRID[1],) * count)
    with torch.inference_mode():
        blocks = Blocks(size, device=settings.device, dtype=torch.bfloat16 if cuda else torch.float32)
        x = torch.randn(load.tokens, size.width, device=settings.device).to(blocks.dtype)
        call, kernel = form_of("varlen", blocks, load, x)
        model_us = median_us(call, settings.device, rounds=rounds)
        rates["model"] = count / model_us * 1e6
        results.put("model", {"size": size.name, "kernel": kernel, "us": model_us, "tokens": load.tokens})
        if cuda:
            results.put("overlap", _overlap(call, x, blocks, load, host, there, model_us, copy_us, rounds))
        else:
            results.put("overlap", "left out: no CUDA")
    results.put("images_per_s", rates)
    results.put("slowest", min(rates, key=lambda stage: rates[stage]))
    results.check("every stage has a rate", all(0 < rate < float("inf") for rate in rates.values()))


def _overlap(
    call: Call, x: Tensor, blocks: Blocks, load: Load, host: Tensor, there: Tensor, model_us: float, copy_us: float,
    rounds: int,
) -> dict[str, Any]:  # fmt: skip
    """A copy beside a pass, and two passes on two streams, as two slots of a session have them."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    second, _ = form_of("varlen", blocks, load, x.clone())

    def beside(other: Call) -> Call:
        def both() -> None:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                other()
            call()
            torch.cuda.current_stream().wait_stream(side)

        return both

    with_copy = median_us(beside(lambda: there.copy_(host, non_blocking=True)), "cuda", rounds=rounds)
    two = median_us(beside(second), "cuda", rounds=rounds)
    told = {
        "copy_us": copy_us, "model_us": model_us, "both_us": with_copy,
        "two_slots_us": two, "two_slots_gain": 2 * model_us / two,
    }  # fmt: skip
    try:
        one_graph = median_us(captured(call), "cuda", rounds=rounds)
        two_graphs = median_us(captured(beside(second)), "cuda", rounds=rounds)
        told |= {
            "graph_us": one_graph,
            "two_slots_graph_us": two_graphs,
            "two_slots_graph_gain": 2 * one_graph / two_graphs,
        }
    except Exception as error:
        return {**told, "cuda_graph": f"{type(error).__name__}: {error}"}
    return told


def _decoding(images: list[npt.NDArray[np.uint8]], cores: int, rounds: int) -> float:
    """JPEG files a second, Pillow on a thread for each core."""
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    with ThreadPoolExecutor(cores) as pool:
        return len(files) / _seconds(
            lambda: list(pool.map(lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), files)), rounds
        )


def _photographs(count: int) -> list[npt.NDArray[np.uint8]]:
    """Smooth colours with some noise, by seed: a JPEG of noise alone would be slower to decode than photographs are."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(one).resize(PIXELS[::-1], Image.Resampling.BICUBIC)) for one in coarse]
    return [np.clip(one + generator.normal(0, 4, one.shape), 0, 255).astype(np.uint8) for one in smooth]


def _seconds(call: Call, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
