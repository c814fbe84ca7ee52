"""What memory a process holds once its session has seen enough shapes: measured, as CPU and model decide it.

``measure`` starts a process that runs images of ever new shapes until its memory no longer grows (docs/memory.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.errors import BackendError
from navit_edge.machine.process_memory import resident_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from navit_edge.session import Session

_EVERY = 100  # packs between two looks
_LEAST, _MOST = 2000, 6000  # packs
_MOST_S = 120.0
_FLAT = 0.01  # growth over two looks below which nothing more is expected
_UNCAPPED_TOKENS = 1024  # of images, if the sizing rule has no cap


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Resident memory of a process that does nothing but run one session.

    engine: Id of the engine.
    packs: So many were run.
    opened_bytes: When the session was open: Python, NumPy, OpenVINO, the engine's file.
    plateau_bytes: At the end: the same, and weights as the CPU wants them, activations, what is kept for shapes.
    closed_bytes: When the session was closed again.
    """

    engine: str
    packs: int
    opened_bytes: int
    plateau_bytes: int
    closed_bytes: int


def measure(bundle: str | Path, engine: str, *, options: Mapping[str, str] | None = None) -> Plateau:
    """Runs `engine`, of a CPU, in a process of its own until its memory is flat: seconds for a small model.

    Raises BackendError: it cannot be run here, or the system does not say what memory a process has.
    """
    asked = json.dumps([str(bundle), engine, dict(options or {})])
    command = [sys.executable, "-m", "navit_edge.bench.plateau", asked]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        reason = (ran.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise BackendError(f"the memory of engine {engine} cannot be measured: {reason}")
    return Plateau(**json.loads(ran.stdout))


def batches(bundle: Path) -> Iterator[list[npt.NDArray[np.uint8]]]:
    """One to eight images of any size below the cap of the sizing rule, sides of up to 2 : 1."""
    import numpy as np

    from navit_edge.bundle.manifest import load

    preprocess = load(bundle).preprocess
    most = preprocess.sizing.max_tokens or _UNCAPPED_TOKENS
    side = int((2 * most) ** 0.5) + 1
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side * preprocess.patch_px, side * preprocess.patch_px, 3), np.uint8)
    while True:
        batch = []
        for _ in range(rng.integers(1, 9)):
            tokens, ratio = rng.uniform(1, most), np.exp(rng.uniform(np.log(0.5), np.log(2)))
            rows, columns = (max(1, int(value**0.5)) for value in (tokens * ratio, tokens / ratio))
            batch.append(noise[: rows * preprocess.patch_px, : columns * preprocess.patch_px])
        yield batch


def _until_flat(session: Session, bundle: Path) -> int:
    """How many packs it took."""
    end = time.monotonic() + _MOST_S
    packs, looks = 0, [resident_bytes() or 0]
    for turn, batch in enumerate(batches(bundle)):
        if turn % 2:
            packs += len({future.result().pack for future in [session.submit(image) for image in batch]})
        else:
            session.run(batch)
            packs += len(session.last_report["packs"])
        if packs < _EVERY * len(looks):
            continue
        looks.append(resident_bytes() or 0)
        flat = len(looks) > 2 and looks[-1] < (1 + _FLAT) * looks[-3]
        if packs >= _MOST or (packs >= _LEAST and flat) or time.monotonic() > end:
            break
    return packs


def _main() -> None:
    from navit_edge.session import Session

    bundle, engine, options = json.loads(sys.argv[1])
    session = Session(bundle, engine=engine, overflow="downscale", options=options)
    opened = resident_bytes() or 0
    packs = _until_flat(session, Path(bundle))
    plateau = resident_bytes() or 0
    session.close()
    found: dict[str, Any] = asdict(
        Plateau(
            engine=engine,
            packs=packs,
            opened_bytes=opened,
            plateau_bytes=plateau,
            closed_bytes=resident_bytes() or 0,
        )
    )
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
