"""Files of traces (``session.metrics.stop_trace()``), which https://ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from typing import Any

from navit_edge.place import write_file


def write(trace: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a trace as JSON, compressed if the name ends with ``.gz`` (Perfetto opens that, too).

    The file appears whole or not at all, in place of one that was there; a pipe or a device is written to. Raises
    OutputError.
    """
    data = json.dumps(trace, separators=(",", ":")).encode()
    write_file(path, gzip.compress(data, mtime=0) if os.fspath(path).endswith(".gz") else data)
