"""Files of traces (``session.stop_trace()``), which https://ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(trace: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a trace as JSON, compressed where the name ends with ``.gz`` (Perfetto opens that, too).

    The file appears whole or not at all, in place of one that was there. Raises OSError.
    """
    target = Path(path)
    data = json.dumps(trace, separators=(",", ":")).encode()
    if target.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
